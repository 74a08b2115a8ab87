//! Files with credentials that cannot be used, as data. What is said of them quotes nothing that could be secret.

use crate::{cause::JsonPlace, id::ProviderId};

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
