//! What happened when a provider was asked.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::InvalidKeyFile;
use crate::http_client::TransportError;

/// What was asked of the provider: the same code means different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// A person's consent, answered by a redirect.
    Authorize,
    /// A code for tokens.
    Exchange,
    /// An access token for a refresh token.
    Refresh,
    /// An access token for a service account's assertion.
    Assertion {
        /// It speaks for a person (domain-wide delegation).
        delegated: bool,
    },
    /// Whose an access token is.
    Userinfo,
    /// The end of a grant.
    Revoke,
    /// The keys that id tokens are signed with.
    Keys,
}

/// What happened when a provider was asked. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderCause {
    /// No answer came.
    NoAnswer {
        /// From whom.
        host: String,
        /// Why not.
        error: TransportError,
    },
    /// It refused.
    Refused(Refusal),
    /// It led a person's browser back without a code.
    ConsentRefused {
        /// Its `error`.
        error: String,
        /// Its words.
        description: Option<String>,
    },
    /// Its answer cannot be used.
    Unusable(UnusableAnswer),
    /// An id token, or what takes the place of one, proves nothing.
    IdToken(IdTokenFault),
    /// It has no endpoint that revokes grants.
    NoRevocationEndpoint,
    /// A key that worked when it was added does not sign.
    KeyUnusable {
        /// Whose key.
        account: String,
        /// What is wrong with it.
        fault: InvalidKeyFile,
    },
    /// What it says of itself cannot be used.
    Discovery(DiscoveryFault),
}

/// An answer that refuses, free of secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What was asked.
    pub call: Call,
    /// The HTTP status.
    pub status: u16,
    /// `error`; `None` where the answer has none.
    pub error: Option<String>,
    /// `error_subtype`.
    pub subtype: Option<String>,
    /// What an API gives as reasons: `status`, and each `reason`.
    pub reasons: Vec<String>,
    /// The provider's words.
    pub description: Option<String>,
}

impl Refusal {
    /// Its code, with the reason that an API gives beside it: what people look up.
    pub fn codes(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        let more = self.reasons.iter().find(|reason| *reason != error);
        Some(more.map_or_else(|| error.clone(), |reason| format!("{error}, {reason}")))
    }
}

/// An answer that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnusableAnswer {
    /// The token endpoint's.
    Token {
        /// Who answered.
        host: String,
        /// What is wrong with it.
        fault: TokenAnswerFault,
    },
    /// It does not say whose the grant is.
    NoOwner {
        /// Who answered.
        host: String,
    },
    /// It is not what a revocation endpoint answers.
    NoRevocation {
        /// Who answered.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// It is not a set of signing keys.
    NoKeys {
        /// Who answered.
        host: String,
    },
    /// It does not name an issuer of security events with its keys.
    NoEventIssuer {
        /// Who answered.
        host: String,
    },
    /// It is not the document in which a server says where it is.
    NoDiscovery {
        /// The document's address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The published keys were not read to the end.
    KeysCutOff,
    /// The key is not among those that were read, and it is too soon to read them again.
    KeyTooSoon,
    /// There is no such provider to ask.
    NoProvider {
        /// Its key.
        provider: String,
    },
}

impl UnusableAnswer {
    /// Whether it is an access token that is bound to the broker's key (RFC 9449, section 5): no agent could use it.
    pub fn is_bound_token(&self) -> bool {
        match self {
            Self::Token {
                fault: TokenAnswerFault::TokenType(kind),
                ..
            } => kind.eq_ignore_ascii_case("dpop"),
            _ => false,
        }
    }
}

/// What is wrong with an answer of the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenAnswerFault {
    /// It is not a JSON object.
    NoObject,
    /// It has no `access_token`.
    NoAccessToken,
    /// Its `access_token` has not the form of one.
    AccessToken,
    /// Its `token_type` is this.
    TokenType(String),
    /// Its `expires_in` is this.
    Life(String),
}

/// Why an id token, or what takes the place of one, proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdTokenFault {
    /// It is not one that can be read.
    Unreadable(IdTokenForm),
    /// The signature is wrong.
    Signature,
    /// It lacks this claim.
    MissingClaim(String),
    /// It was made for another consent.
    OtherConsent,
    /// It does not say whose it is.
    NoSubject,
    /// It comes from another issuer.
    OtherIssuer {
        /// From whom.
        found: String,
        /// Who it has to come from: one of these.
        expected: Vec<String>,
        /// The setting to check.
        setting: String,
    },
    /// It is meant for another OAuth client.
    OtherClient {
        /// For whom.
        found: String,
        /// Whom it has to be meant for.
        expected: String,
        /// The setting to check.
        setting: String,
    },
    /// It has expired.
    Expired {
        /// When, in seconds of Unix time.
        at: i64,
        /// What time it is here.
        now: Timestamp,
    },
    /// It was issued in the future.
    IssuedLater {
        /// When, in seconds of Unix time.
        at: i64,
        /// What time it is here.
        now: Timestamp,
    },
    /// It is signed with a key that is not published.
    UnknownKey {
        /// Whose keys.
        provider: String,
        /// The setting to check.
        setting: String,
    },
    /// It is signed with a key that is too short.
    ShortKey {
        /// How long the key is.
        bits: usize,
        /// How long it has to be.
        needed: usize,
        /// The setting that names the server.
        setting: String,
    },
    /// The redirect came from another server, or from one that does not say which it is.
    OtherServer {
        /// From whom.
        found: Option<String>,
        /// Who it has to come from: one of these.
        expected: Vec<String>,
    },
    /// There is no id token, and no endpoint that says whose an access token is.
    NoUserinfoEndpoint,
}

/// Why an id token cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdTokenForm {
    /// It is longer than any provider's.
    TooLong,
    /// It is not a JWT.
    NoJwt,
    /// It is not signed.
    Unsigned,
    /// It is signed in another way than RS256.
    Algorithm,
    /// It demands an extension.
    Critical,
    /// It does not name its key.
    NoKey,
    /// It holds no claims.
    NoClaims,
}

/// Why what a server says of itself cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscoveryFault {
    /// The document is not one.
    Document {
        /// Its address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It is another issuer's document.
    OtherIssuer {
        /// Whose document was asked for.
        issuer: String,
        /// Whose it is.
        found: String,
    },
    /// It does not say that the server takes proofs of a key, which are to be sent there.
    NoProofs {
        /// Whose document it is.
        issuer: String,
    },
    /// It names an endpoint that others could listen to.
    OpenEndpoint {
        /// Whose document it is.
        issuer: String,
        /// The endpoint.
        endpoint: String,
    },
}
