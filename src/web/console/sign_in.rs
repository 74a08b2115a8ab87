//! Signing in with a one-time link, and out.

use askama::Template;
use http::{StatusCode, header};

use super::{Answer, Console, Form, Frame, Message, Session, Tab, html, redirect};
use crate::{
    broker::SignIn,
    secret::LinkToken,
    session::{Admission, Viewer, is_page},
};

#[derive(Template)]
#[template(path = "web/console/sign_in.html")]
struct SignInPage<'a> {
    frame: Frame<'a>,
    /// The page that was asked for.
    page: &'a str,
}

#[derive(Template)]
#[template(path = "web/console/invitation.html")]
struct InvitationPage<'a> {
    frame: Frame<'a>,
    link: &'a str,
    page: &'a str,
    /// Whom the link signs in; `None` for the operator.
    owner: Option<&'a str>,
    /// Who is signed in already.
    signed_in: String,
}

/// A page of the console by its path, as a link may name it. Anything else leads to the first page.
fn named_page(page: &str) -> &str {
    if is_page(page) { page } else { "" }
}

impl Console {
    /// Says how to sign in.
    pub(super) fn show_sign_in(&self, path: &str) -> Answer {
        let frame = self.frame(None, Tab::None, "Sign in");
        let page = named_page(path);
        html(StatusCode::UNAUTHORIZED, SignInPage { frame, page }.render())
    }

    /// Says whom the link signs in, and asks. Whatever fetches the address ahead of the person uses nothing up, and
    /// nobody is signed in as somebody else without seeing it.
    pub(super) fn show_invitation(&self, session: Option<&Session>, query: &Form) -> Answer {
        let link = query.get("link");
        let Some(admission) = self.visitors.sessions().invited(&LinkToken::from(link)) else {
            return self.link_is_gone(session);
        };
        let Admission { viewer, .. } = &*admission;
        let frame = self.frame(None, Tab::None, "Sign in");
        let signed_in = self.frame(session, Tab::None, "").who();
        let page = InvitationPage {
            frame,
            link,
            page: named_page(query.get("page")),
            owner: match viewer {
                Viewer::Operator => None,
                Viewer::Owner(owner) => Some(owner.as_str()),
            },
            signed_in,
        };
        html(StatusCode::OK, page.render())
    }

    /// Opens a session, always a new one: whatever cookie the browser had is worth nothing from then on.
    pub(super) fn sign_in(&self, session: Option<&Session>, form: &Form) -> Answer {
        let sessions = self.visitors.sessions();
        let Some((token, opened)) = sessions.open(&LinkToken::from(form.get("link"))) else {
            return self.link_is_gone(session);
        };
        if let Some(before) = session {
            sessions.close(before.id);
        }
        self.broker.journal.note_sign_in(&opened.admission, SignIn::Link);
        let mut answer = redirect(&self.address(named_page(form.get("page"))));
        if let Some(cookie) = self.visitors.cookie(&token) {
            answer.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        answer
    }

    pub(super) fn sign_out(&self, session: &Session) -> Answer {
        self.visitors.sessions().close(session.id);
        let message = Message::new("You are signed out").says("You can close this window.");
        let mut answer = self.show_message(StatusCode::OK, None, message);
        if let Some(cookie) = self.visitors.no_cookie() {
            answer.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        answer
    }

    fn link_is_gone(&self, session: Option<&Session>) -> Answer {
        let message = Message::new("This link is no longer good")
            .says("Each link signs one browser in, once, within five minutes.")
            .says("Ask for a new one where you got this one.");
        let message = match session {
            Some(_) => message.leads_to("integrations", "You are signed in already: go on"),
            None => message,
        };
        self.show_message(StatusCode::GONE, session, message)
    }
}
