//! Who is let into the console, and the trail of it. The links and sessions themselves are kept by [`crate::session`].

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    audit::{journal::Journal, repeats::Charged},
    id::OwnerId,
    session::{Admission, Ended, Link, SIGN_IN, Sessions, TooManyLinks, Viewer},
    telemetry::audit::{Actor, AuditEvent, Concern, Decision},
};

/// How somebody signed in to the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignIn {
    /// With a one-time link.
    Link,
    /// A trusted proxy named them.
    Proxy,
}

/// A one-time link, whole.
pub struct Invitation {
    /// Where a browser has to go. Secret until it was used.
    pub url: String,
    /// When it stops working.
    pub expires_at: Timestamp,
}

impl Journal {
    /// A one-time link that leads to this page of the console, for whomever `actor` means it. The trail tells of it.
    ///
    /// # Errors
    /// When too many are open.
    pub fn invite(
        &self,
        sessions: &Sessions,
        actor: Actor,
        admission: Admission,
        life: Duration,
        page: &str,
    ) -> Result<Invitation, TooManyLinks> {
        let viewer = admission.viewer.clone();
        let Link { token, expires_at } = sessions.invite(admission, life)?;
        let detail = format!(
            "a link that signs {} in once, until {expires_at:.0}",
            called(&viewer)
        );
        self.note_session(actor, "session.invited", viewer.owner(), detail);
        // What the token and the page are made of stands for itself in a query.
        let mut url = format!("{}{SIGN_IN}?link={}", self.context.public_url, token.expose());
        if !page.is_empty() {
            url.push_str("&page=");
            url.push_str(page);
        }
        Ok(Invitation { url, expires_at })
    }

    /// Notes that somebody signed in.
    pub fn note_sign_in(&self, admission: &Admission, how: SignIn) {
        let Admission { viewer, actor, .. } = admission;
        let (how, repeats) = match how {
            SignIn::Link => ("with a one-time link", false),
            SignIn::Proxy => ("by the header of the trusted proxy", true),
        };
        let detail = format!("as {}, {how}", called(viewer));
        let event = self.session_event(actor.clone(), "session.opened", viewer.owner(), detail);
        if repeats {
            // A browser without cookies signs in with each request that the proxy passes on.
            let party = actor.to_string();
            self.audit
                .record_repeatable(event, "sign-ins by the trusted proxy", &Charged::Known(&party));
        } else {
            self.audit.record(event);
        }
    }

    /// Notes that `actor` ended the sessions and links of an owner, or (`None`) everybody's.
    pub fn note_sessions_ended(&self, actor: Actor, owner: Option<&OwnerId>, ended: Ended) {
        let whose = owner.map_or_else(|| "everybody".to_owned(), |owner| format!("owner {owner}"));
        let Ended { sessions, links } = ended;
        let detail = format!("of {whose}: {sessions} open, and {links} links that were not used");
        self.note_session(actor, "session.ended", owner, detail);
    }

    fn note_session(&self, actor: Actor, action: &'static str, owner: Option<&OwnerId>, detail: String) {
        let event = self.session_event(actor, action, owner, detail);
        tracing::info!(actor = %event.actor, action, detail = event.detail, "console");
        self.audit.record(event);
    }

    fn session_event(
        &self,
        actor: Actor,
        action: &'static str,
        owner: Option<&OwnerId>,
        detail: String,
    ) -> AuditEvent {
        AuditEvent {
            detail,
            concern: owner.map(Concern::owner).unwrap_or_default(),
            ..AuditEvent::new(self.clock.now(), actor, action, Decision::Allowed)
        }
    }
}

fn called(viewer: &Viewer) -> String {
    match viewer {
        Viewer::Operator => "the operator".to_owned(),
        Viewer::Owner(owner) => format!("owner {owner}"),
    }
}
