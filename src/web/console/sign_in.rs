//! Signing in with a one-time link, and out.

use std::sync::Arc;

use askama::Template;
use axum::{
    Extension, Router,
    extract::State,
    routing::{get, post},
};
use http::{StatusCode, Uri, header};

use super::{
    asked::Sent,
    form::Fields,
    layout::{Layout, Tab},
    notice::Notice,
    site::Site,
};
use crate::{
    broker::SignIn as Way,
    secret::LinkToken,
    session::{Admission, Session, Sessions, Viewer, is_page},
    text::sentence::capitalized,
    web::{
        answer::{Answer, html, redirect},
        auth::Auth,
    },
};

#[derive(Template)]
#[template(path = "web/console/sign_in.html")]
struct SignInPage<'a> {
    layout: Layout<'a>,
    /// What people connect here.
    account: &'a str,
    /// The page that was asked for.
    page: &'a str,
}

#[derive(Template)]
#[template(path = "web/console/invitation.html")]
struct InvitationPage<'a> {
    layout: Layout<'a>,
    link: &'a str,
    page: &'a str,
    /// What an owner may connect here, as a sentence begins.
    any_account: String,
    /// Whom the link signs in; `None` for the operator.
    owner: Option<&'a str>,
    /// Who is signed in already.
    signed_in: String,
}

/// A page of the console by its path, as a link may name it. Anything else leads to the first page.
fn named_page(page: &str) -> &str {
    if is_page(page) { page } else { "" }
}

/// Says how to sign in, and lets nobody see the page that was asked for.
pub(super) fn show_sign_in(site: &Site, path: &str) -> Answer {
    let layout = site.layout(None, Tab::None, "Sign in");
    let connected = site.broker.providers().common();
    let page = SignInPage {
        layout,
        account: connected.map_or("account", |profile| &profile.account),
        page: named_page(path),
    };
    html(StatusCode::UNAUTHORIZED, page.render())
}

/// Signs people in and out.
pub(super) struct SignIn {
    pub(super) site: Site,
    pub(super) sessions: Arc<Sessions>,
    pub(super) auth: Arc<Auth>,
}

impl SignIn {
    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/sign-in", get(ask).post(open))
            .route("/sign-out", post(close))
            .with_state(Arc::new(self))
    }

    fn link_is_gone(&self, session: Option<&Session>) -> Answer {
        let notice = Notice::new("This link is no longer good")
            .says("Each link signs one browser in, once, within five minutes.")
            .says("Ask for a new one where you got this one.");
        let notice = match session {
            Some(_) => notice.leads_to("integrations", "You are signed in already: go on"),
            None => notice,
        };
        notice.show(StatusCode::GONE, self.site.paths.prefix(), session)
    }
}

/// Says whom the link signs in, and asks. Whatever fetches the address ahead of the person uses nothing up, and
/// nobody is signed in as somebody else without seeing it.
async fn ask(
    State(pages): State<Arc<SignIn>>,
    Extension(session): Extension<Option<Session>>,
    address: Uri,
) -> Answer {
    let query = Fields::of_query(&address);
    let link = query.get("link");
    let Some(admission) = pages.sessions.invited(&LinkToken::from(link)) else {
        return pages.link_is_gone(session.as_ref());
    };
    let Admission { viewer, .. } = &*admission;
    let signed_in = pages.site.layout(session.as_ref(), Tab::None, "").who();
    let connected = pages.site.broker.providers().common();
    let page = InvitationPage {
        layout: pages.site.layout(None, Tab::None, "Sign in"),
        link,
        page: named_page(query.get("page")),
        any_account: capitalized(connected.map_or("an account", |profile| &profile.any_account)),
        owner: match viewer {
            Viewer::Operator => None,
            Viewer::Owner(owner) => Some(owner.as_str()),
        },
        signed_in,
    };
    html(StatusCode::OK, page.render())
}

/// Opens a session, always a new one: whatever cookie the browser had is worth nothing from then on.
async fn open(
    State(pages): State<Arc<SignIn>>,
    Extension(session): Extension<Option<Session>>,
    Extension(form): Extension<Fields>,
) -> Answer {
    let Some((token, opened)) = pages.sessions.open(&LinkToken::from(form.get("link"))) else {
        return pages.link_is_gone(session.as_ref());
    };
    if let Some(before) = session {
        pages.sessions.close(before.id);
    }
    let journal = &pages.site.broker.journal;
    journal.note_sign_in(&opened.admission, Way::Link);
    let page = named_page(form.get("page"));
    let mut answer = redirect(&pages.site.paths.console(page));
    if let Some(cookie) = pages.auth.cookie(&token) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}

async fn close(State(pages): State<Arc<SignIn>>, sent: Sent) -> Answer {
    pages.sessions.close(sent.session.id);
    let notice = Notice::new("You are signed out").says("You can close this window.");
    let mut answer = notice.show(StatusCode::OK, pages.site.paths.prefix(), None);
    if let Some(cookie) = pages.auth.no_cookie() {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}
