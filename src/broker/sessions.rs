//! Tells the trail who was let into the console. The links and sessions themselves are kept by [`crate::session`].

use jiff::Timestamp;

use super::Broker;
use crate::{
    id::OwnerId,
    session::{Admission, Ended, Viewer},
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

impl Broker {
    /// Notes that `actor` made a one-time link for this viewer.
    pub fn note_invitation(&self, actor: Actor, viewer: &Viewer, until: Timestamp) {
        let whom = called(viewer);
        let detail = format!("a link that signs {whom} in once, until {until:.0}");
        self.note_session(actor, "session.invited", viewer.owner(), detail);
    }

    /// Notes that somebody signed in.
    pub fn note_sign_in(&self, admission: &Admission, how: SignIn) {
        let Admission { viewer, actor, .. } = admission;
        let how = match how {
            SignIn::Link => "with a one-time link",
            SignIn::Proxy => "by the header of the trusted proxy",
        };
        let detail = format!("as {}, {how}", called(viewer));
        self.note_session(actor.clone(), "session.opened", viewer.owner(), detail);
    }

    /// Notes that `actor` ended the sessions and links of an owner, or (`None`) everybody's.
    pub fn note_sessions_ended(&self, actor: Actor, owner: Option<&OwnerId>, ended: Ended) {
        let whose = owner.map_or_else(|| "everybody".to_owned(), |owner| format!("owner {owner}"));
        let Ended { sessions, links } = ended;
        let detail = format!("of {whose}: {sessions} open, and {links} links that were not used");
        self.note_session(actor, "session.ended", owner, detail);
    }

    fn note_session(&self, actor: Actor, action: &'static str, owner: Option<&OwnerId>, detail: String) {
        tracing::info!(%actor, action, detail, "console");
        self.recorder.record(AuditEvent {
            time: self.now(),
            actor,
            action,
            integration: None,
            capabilities: Vec::new(),
            decision: Decision::Allowed,
            detail,
            concern: owner.map(Concern::owner).unwrap_or_default(),
        });
    }
}

fn called(viewer: &Viewer) -> String {
    match viewer {
        Viewer::Operator => "the operator".to_owned(),
        Viewer::Owner(owner) => format!("owner {owner}"),
    }
}
