//! Files with credentials that cannot be used, as data. What is said of them quotes nothing that could be secret.

use std::fmt;

use crate::id::ProviderId;

/// Where JSON is wrong. What its reader says about it would quote the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonPlace {
    line: usize,
    column: usize,
}

impl JsonPlace {
    /// Where this error was found.
    pub(in crate::provider) fn of(error: &serde_json::Error) -> Self {
        Self {
            line: error.line(),
            column: error.column(),
        }
    }
}

impl fmt::Display for JsonPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why nothing in a file is a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableGrant {
    /// It has more bytes than these.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// It begins as JSON, and is none.
    #[error("the JSON is broken at {0}")]
    Json(JsonPlace),
    /// The field is of another type.
    #[error("its `refresh_token` is not a text")]
    NotText,
    /// The token is empty.
    #[error("there is no refresh token in it")]
    Empty,
    /// The token has characters that none has.
    #[error("what stands for the refresh token has white space or other characters in it that none has")]
    Characters,
}

/// What is wrong with a grant that somebody else holds: a refresh token by itself, or a file around it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGrantFile {
    /// Neither the one nor the other.
    #[error(
        "it is neither a refresh token (one line of visible characters) nor a JSON file that holds one: {0}"
    )]
    Unreadable(#[from] UnreadableGrant),
    /// Another kind of credentials.
    #[error("its `type` is `{found}`, not `authorized_user`{}", grant_hint(.found))]
    OtherKind {
        /// What it says.
        found: String,
    },
    /// It belongs to another OAuth client.
    #[error(
        "it belongs to the OAuth client {found}, and this daemon is configured for {configured}: a grant works with \
         its own client alone, so the owner has to connect here"
    )]
    OtherClient {
        /// What it says.
        found: String,
        /// The daemon's own.
        configured: String,
    },
    /// It belongs to another server.
    #[error("its `token_uri` is `{found}`, but this daemon asks {expected}")]
    OtherServer {
        /// What it says.
        found: String,
        /// What the daemon is configured for.
        expected: String,
    },
    /// No refresh token, where nothing else is taken.
    #[error("it is not a refresh token, which is one line of visible characters")]
    NotToken,
    /// The provider has keys in place of grants.
    #[error("`{0}` has no grants")]
    NoGrants(ProviderId),
}

fn grant_hint(found: &str) -> &'static str {
    if found == "service_account" {
        ": this is a service account's key, which `token-broker service-account add` takes"
    } else {
        ""
    }
}

/// Why a file is no key file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotKeyFile {
    /// It has more bytes than these.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// It is not text: what its reader said.
    #[error("{0}")]
    NotText(String),
    /// A field is of another type.
    #[error("a field is of the wrong type at {0}")]
    OtherType(JsonPlace),
    /// It is no JSON.
    #[error("the JSON is cut off or broken at {0}")]
    Json(JsonPlace),
}

/// What is wrong with the file of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeyFile {
    /// No JSON, or too much of it.
    #[error("it is not a key file as the Google Cloud console makes them: {0}")]
    NotJson(#[from] NotKeyFile),
    /// Another kind of credentials.
    #[error("its `type` is `{found}`, not `service_account`{}", key_hint(.found))]
    OtherKind {
        /// What it says.
        found: String,
    },
    /// A field is missing or empty.
    #[error("it has no `{0}`: download the key anew, and leave the file as it is")]
    Missing(&'static str),
    /// A field holds something else than it should.
    #[error("its `{field}` is not {expected}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
    /// A field is of another type.
    #[error("its `{0}` is not a text: download the key anew, and leave the file as it is")]
    NotText(&'static str),
    /// The private key is of another kind.
    #[error(
        "its `private_key` is {0}, and Google's service accounts have RSA keys: create a key of type JSON there"
    )]
    OtherKey(&'static str),
    /// The private key cannot be used.
    #[error(
        "its `private_key` is not an RSA key of at least 2048 bits in PEM (PKCS #8 or PKCS #1): it is cut off or was \
         changed; download the key anew"
    )]
    PrivateKey,
    /// The private key is too short.
    #[error(
        "its `private_key` is an RSA key of less than 2048 bits, which is too short to sign with: create a new key there"
    )]
    ShortKey,
    /// It is for another server.
    #[error(
        "its `token_uri` is {found}, but this daemon sends assertions to {expected} alone: a key file does not say where \
         they go"
    )]
    TokenUri {
        /// What it says, or that it says nothing.
        found: String,
        /// Where the daemon is configured to send them.
        expected: String,
    },
    /// Nobody takes keys.
    #[error("no provider is configured whose accounts have keys")]
    NoProvider,
}

fn key_hint(found: &str) -> &'static str {
    if found == "authorized_user" {
        ": these are a person's credentials, which `token-broker integrations import` takes"
    } else {
        ""
    }
}
