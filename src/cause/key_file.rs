//! What is wrong with the file of a service account's key. What is said of it quotes nothing that could be secret.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// Where JSON is wrong. What its reader says about it would quote the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JsonPlace {
    line: usize,
    column: usize,
}

impl JsonPlace {
    /// Where this error was found.
    pub(crate) fn of(error: &serde_json::Error) -> Self {
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

/// Why a file is no key file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
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
    Missing(Cow<'static, str>),
    /// A field holds something else than it should.
    #[error("its `{field}` is not {expected}")]
    Field {
        /// Which.
        field: Cow<'static, str>,
        /// What it should hold.
        expected: Cow<'static, str>,
    },
    /// A field is of another type.
    #[error("its `{0}` is not a text: download the key anew, and leave the file as it is")]
    NotText(Cow<'static, str>),
    /// The private key is of another kind.
    #[error(
        "its `private_key` is {0}, and Google's service accounts have RSA keys: create a key of type JSON there"
    )]
    OtherKey(Cow<'static, str>),
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
