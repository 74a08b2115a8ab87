//! Who is let in to what, and for how long.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use subtle::ConstantTimeEq;

use super::digest::{Digest, digest};
use crate::{
    id::OwnerId,
    secret::{BrowserToken, FormToken, LinkToken},
    telemetry::audit::Actor,
};

/// What a session may see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Viewer {
    /// Everything.
    Operator,
    /// What is this owner's.
    Owner(OwnerId),
}

impl Viewer {
    /// True where what is this owner's may be seen and changed.
    pub fn may_see(&self, owner: &OwnerId) -> bool {
        match self {
            Self::Operator => true,
            Self::Owner(own) => own == owner,
        }
    }

    /// The owner that it is restricted to.
    pub fn owner(&self) -> Option<&OwnerId> {
        match self {
            Self::Operator => None,
            Self::Owner(owner) => Some(owner),
        }
    }
}

/// What a link or a proxy admits to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// What may be seen.
    pub viewer: Viewer,
    /// Who the audit trail says it was.
    pub actor: Actor,
    /// Where the platform's own pages are.
    pub return_url: Option<String>,
}

impl Admission {
    /// Whom its sessions are charged to: one person, for what that person may see.
    pub fn principal(&self) -> Principal {
        Principal {
            viewer: self.viewer.clone(),
            actor: self.actor.clone(),
        }
    }
}

/// One person, as budgets tell people apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    viewer: Viewer,
    actor: Actor,
}

/// A one-time link.
pub struct Link {
    /// What it carries.
    pub token: LinkToken,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// Names a session without being able to open it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub(super) Digest);

/// An open session.
#[derive(Clone)]
pub struct Session {
    /// Names it.
    pub id: SessionId,
    /// What it may see, and for whom it acts.
    pub admission: Arc<Admission>,
    /// What every form of its pages carries, so that no other page can send one (CSRF).
    pub form_token: FormToken,
}

impl Session {
    /// True when a form carries this session's token. Takes the same time whatever it resembles.
    pub fn sent(&self, form_token: &str) -> bool {
        self.form_token
            .expose()
            .as_bytes()
            .ct_eq(form_token.as_bytes())
            .into()
    }
}

/// Names a browser, in which perhaps nobody is signed in, by a cookie of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrowserId(Digest);

impl BrowserId {
    /// The browser that sends this token.
    pub fn of(token: &BrowserToken) -> Self {
        Self(digest(token.expose()))
    }
}

/// A browser that comes back from the provider.
#[derive(Clone, Copy)]
pub struct Visit<'a> {
    /// What it has open in the console.
    pub session: Option<&'a Session>,
    /// The browser itself.
    pub browser: BrowserId,
}

/// How long sessions last.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Without a look at any page.
    pub idle: Duration,
    /// In all.
    pub whole: Duration,
}

/// What was ended at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Sessions that were open.
    pub sessions: usize,
    /// Links that nobody had used yet.
    pub links: usize,
}

/// More of them than anybody can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many links to the console are open; wait until some have ended")]
pub struct TooManyLinks;
