//! Security events as a test orders them, and what became of them.

use serde::{Deserialize, Serialize};

/// How a `token-revoked` event names its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenForm {
    /// The SHA-512 of its SHA-512, in base64.
    #[default]
    Hash,
    /// Its first 16 characters.
    Prefix,
}

/// An event to be signed, and perhaps pushed. The default is nothing that a receiver would take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecurityEvent {
    /// `tokens-revoked`, `token-revoked`, `sessions-revoked`, `account-disabled`, `account-enabled`,
    /// `account-credential-change-required`, `verification`, or any other name.
    pub event: String,
    /// Whom it concerns: an address or a `sub`. For `token-revoked`: whose newest refresh token.
    pub account: Option<String>,
    /// How `token-revoked` names that token.
    pub form: TokenForm,
    /// `reason` of `account-disabled`.
    pub reason: Option<String>,
    /// `state` of `verification`.
    pub state: Option<String>,
    /// The audiences instead of all of the project's clients.
    pub audience: Option<Vec<String>>,
    /// The issuer instead of Google's.
    pub issuer: Option<String>,
    /// `jti` instead of a new one.
    pub id: Option<String>,
    /// Seconds that `iat` lies back.
    pub age: u32,
    /// Signs with a key that is not published.
    pub foreign_key: bool,
    /// Only signs it.
    pub hold_back: bool,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// The signed event.
    pub set: String,
    /// The receiver's status, where it was pushed and somebody answered.
    pub status: Option<u16>,
    /// The receiver's answer.
    pub body: String,
}
