//! What a scene tells the provider to do, and what it can ask it afterwards.

use std::time::Duration;

use jiff::SignedDuration;
use token_broker::{capability::ScopeSet, provider::Remedy};

/// Part of every secret that a scene makes: it must turn up nowhere but where tokens belong.
pub(crate) const CANARY: &str = "CANARY";

/// How a refresh or revocation ends instead of well.
#[derive(Clone)]
pub(crate) struct Fault {
    pub(crate) kind: Remedy,
    pub(crate) code: &'static str,
    pub(crate) retry_after: Option<Duration>,
    /// The grant was rotated, and the answer holds the new one beside what is wrong with it.
    pub(crate) rotates: bool,
}

impl Fault {
    pub(crate) fn new(kind: Remedy, code: &'static str) -> Self {
        Self {
            kind,
            code,
            retry_after: None,
            rotates: false,
        }
    }

    pub(crate) fn unavailable() -> Self {
        Self::new(Remedy::Retry, "http_503")
    }

    pub(crate) fn invalid_grant() -> Self {
        Self::new(Remedy::Reconnect, "invalid_grant")
    }

    /// An answer that is no token, with a new grant in it.
    pub(crate) fn rotating() -> Self {
        Self {
            rotates: true,
            ..Self::new(Remedy::Retry, "malformed_answer")
        }
    }

    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(seconds)),
            ..self
        }
    }
}

/// What a person does on the consent page.
#[derive(Clone)]
pub(crate) struct Person {
    /// `alice@example.com`; the account's id is made from it.
    pub(crate) email: String,
    /// The address that it had before, where that is another: its id is made from that one.
    pub(crate) formerly: Option<String>,
    /// What is ticked; `None` for all that was asked for.
    pub(crate) ticks: Option<ScopeSet>,
    /// Google gives a refresh token.
    pub(crate) lasting: bool,
    /// What is wrong with the answer to the exchange, apart from its refresh token.
    pub(crate) spoilt: Option<Fault>,
    /// The answer to the exchange says whose it is.
    pub(crate) named: bool,
}

impl Person {
    pub(crate) fn named(email: &str) -> Self {
        Self {
            email: email.to_owned(),
            formerly: None,
            ticks: None,
            lasting: true,
            spoilt: None,
            named: true,
        }
    }

    /// The account has another address by now.
    pub(crate) fn renamed(self, email: &str) -> Self {
        Self {
            formerly: Some(self.email),
            email: email.to_owned(),
            ..self
        }
    }

    pub(crate) fn ticking(self, scopes: ScopeSet) -> Self {
        Self {
            ticks: Some(scopes),
            ..self
        }
    }
}

/// A refresh that was asked for.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) email: String,
    pub(crate) refresh_token: String,
    pub(crate) scopes: ScopeSet,
    pub(crate) at: jiff::Timestamp,
}

/// An assertion that was presented.
#[derive(Clone)]
pub(crate) struct Asserted {
    pub(crate) email: String,
    pub(crate) key: String,
    pub(crate) subject: Option<String>,
    pub(crate) scopes: ScopeSet,
    pub(crate) now: jiff::Timestamp,
}

/// What a consent was begun with.
#[derive(Clone)]
pub(crate) struct Begun {
    pub(crate) scopes: ScopeSet,
    pub(crate) granted: Option<ScopeSet>,
    pub(crate) login_hint: Option<String>,
}

/// How it behaves throughout a scene.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit by itself")]
pub(crate) struct Habits {
    /// Consents make a key that their grants are bound to.
    pub(crate) binds: bool,
    pub(crate) lifetime: Duration,
    /// Each refresh replaces the refresh token.
    pub(crate) rotates: bool,
    /// A consent's answer tells of what was granted before as well, as for a web client.
    pub(crate) cumulative: bool,
    /// A spent refresh token is still taken.
    pub(crate) leeway: bool,
    /// A consent's grant ends by itself after so long.
    pub(crate) grant_life: Option<Duration>,
    /// Answers to refreshes tell that the grant ends after so long.
    pub(crate) grant_rest: Option<Duration>,
    /// How far its clock is ahead; `None` when it does not say.
    pub(crate) date: Option<SignedDuration>,
    /// How far ahead the clock is that it judges proofs and assertions by, where what it says is a proxy's.
    pub(crate) judges_by: Option<SignedDuration>,
}
