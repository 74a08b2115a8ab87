//! What the OAuth endpoints share: the shapes of their errors and of a token answer, the name of a grant type.

use http::StatusCode;
use serde::Serialize;

use crate::{
    core::Core,
    ids::AccountId,
    message::{Reply, json},
    scope::ScopeSet,
};

/// The grant type of a service account's assertion (RFC 7523).
pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// An error in the shape of RFC 6749, section 5.2.
#[derive(Debug)]
pub(crate) struct OAuthError {
    status: StatusCode,
    error: &'static str,
    description: String,
}

impl OAuthError {
    /// An error with status 400.
    pub(crate) fn bad(error: &'static str, description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
            description: description.into(),
        }
    }

    /// An error with status 401.
    pub(crate) fn unauthorized(error: &'static str, description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            error,
            description: description.into(),
        }
    }

    pub(crate) fn reply(&self) -> Reply {
        error_reply(self.status, self.error, Some(&self.description), None)
    }
}

/// An error in the shape of the token endpoint.
pub(crate) fn error_reply(
    status: StatusCode,
    error: &str,
    description: Option<&str>,
    subtype: Option<&str>,
) -> Reply {
    #[derive(Serialize)]
    struct Body<'a> {
        error: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        error_description: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error_subtype: Option<&'a str>,
    }
    json(
        status,
        &Body {
            error,
            error_description: description,
            error_subtype: subtype,
        },
    )
}

/// What the endpoint gives.
#[derive(Serialize)]
pub(crate) struct TokenAnswer {
    pub(crate) access_token: String,
    pub(crate) expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token_expires_in: Option<u64>,
}

impl TokenAnswer {
    /// A new access token and nothing else.
    pub(crate) fn bare(core: &Core, account: AccountId, scopes: &ScopeSet) -> Self {
        let (token, expires_in) = core.issue_access(account, scopes);
        Self {
            access_token: token,
            expires_in,
            refresh_token: None,
            scope: None,
            token_type: "Bearer",
            id_token: None,
            refresh_token_expires_in: None,
        }
    }
}
