//! What every request to the console passes: who asks, how much they ask for at once, and whether a page of theirs sent
//! the form.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
};
use http::{HeaderValue, Method, StatusCode, header, request::Parts};

use super::{
    form::{Fields, TOKEN_FIELD, is_of_own_page},
    notice::Notice,
    refusal::Refusal,
    shares::Shares,
    sign_in::show_sign_in,
    site::Site,
};
use crate::{
    broker::SignIn,
    session::Session,
    web::{
        answer::{Answer, wrong_method},
        auth::Auth,
    },
};

/// The console's own script and style sheet, and nothing inline; its forms lead to itself.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";
/// The page where people sign in.
const SIGN_IN: &str = "sign-in";
/// What is shown to people who are not signed in.
const OPEN: [&str; 3] = [SIGN_IN, "style.css", "script.js"];

/// Stands before the pages.
pub(super) struct Gate {
    pub(super) site: Site,
    pub(super) auth: Arc<Auth>,
    pub(super) shares: Arc<Shares>,
    /// Where the forms come from.
    pub(super) origin: String,
}

/// The page's address below the console's.
fn page(request: &Parts) -> &str {
    let path = request.uri.path();
    path.strip_prefix('/').unwrap_or(path)
}

impl Gate {
    /// Answers one request, by the page behind where it passes.
    pub(super) async fn pass(State(gate): State<Arc<Self>>, request: Request, page: Next) -> Answer {
        let (request, body) = request.into_parts();
        let asked_by = gate.auth.authenticate(&request);
        let session = asked_by.session;
        if let Some(session) = session.as_ref().filter(|_| asked_by.arrived) {
            let journal = &gate.site.broker.journal;
            journal.note_sign_in(&session.admission, SignIn::Proxy);
        }
        // Held until the answer is made.
        let share = session
            .as_ref()
            .map(|session| gate.shares.request(session))
            .transpose();
        let mut answer = if share.is_err() {
            gate.too_much_at_once(session.as_ref())
        } else {
            gate.answer(session, request, body, page).await
        };
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        // Without any, a browser names no origin with the forms that it sends.
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        if let Some(cookie) = asked_by.cookie {
            headers.entry(header::SET_COOKIE).or_insert(cookie);
        }
        answer
    }

    async fn answer(&self, session: Option<Session>, mut request: Parts, body: Body, page: Next) -> Answer {
        let refused = match request.method {
            Method::GET | Method::HEAD => self.refuse_look(session.as_ref(), &request),
            Method::POST => self.refuse_form(session.as_ref(), &mut request, body).await,
            _ => Some(wrong_method("GET, HEAD, POST")),
        };
        if let Some(refused) = refused {
            return refused;
        }
        request.extensions.insert(session.clone());
        let mut answer = page.run(Request::from_parts(request, Body::empty())).await;
        match answer.extensions_mut().remove::<Refusal>() {
            Some(refusal) => refusal.show(self.site.paths.prefix(), session.as_ref()),
            None => answer,
        }
    }

    /// Asks people to sign in first.
    fn refuse_look(&self, session: Option<&Session>, request: &Parts) -> Option<Answer> {
        let page = page(request);
        let passes = session.is_some() || OPEN.contains(&page);
        (!passes).then(|| show_sign_in(&self.site, page))
    }

    /// Reads a form, and leaves it with the request where a page of this session sent it.
    async fn refuse_form(
        &self,
        session: Option<&Session>,
        request: &mut Parts,
        body: Body,
    ) -> Option<Answer> {
        let say = |status, notice: &Notice| Some(notice.show(status, self.site.paths.prefix(), session));
        if !is_of_own_page(request, &self.origin) {
            let notice = Notice::new("This form was sent by another site")
                .says("Nothing was changed. Open the console itself, and do it there.");
            return say(StatusCode::FORBIDDEN, &notice);
        }
        let Some(form) = Fields::read(&request.headers, body).await else {
            let notice = Notice::new("The form did not arrive")
                .says("It is too large, or the connection broke off. Nothing was changed.");
            return say(StatusCode::BAD_REQUEST, &notice);
        };
        if page(request) != SIGN_IN {
            let Some(session) = session else {
                return Some(show_sign_in(&self.site, ""));
            };
            if !session.sent(form.get(TOKEN_FIELD)) {
                let notice = Notice::new("This page was out of date").says(
                    "It was opened before you signed in last. Nothing was changed: open it again, and repeat what you did.",
                );
                return say(StatusCode::FORBIDDEN, &notice);
            }
        }
        request.extensions.insert(form);
        None
    }

    fn too_much_at_once(&self, session: Option<&Session>) -> Answer {
        let notice = Notice::new("Too much at once")
            .says("You have as many requests under way as one person may. Nothing was changed: wait until some have ended.");
        let mut answer = notice.show(StatusCode::TOO_MANY_REQUESTS, self.site.paths.prefix(), session);
        let headers = answer.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        answer
    }
}
