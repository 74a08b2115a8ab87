//! The revocation endpoint (RFC 7009), as Google means it: the account leaves the whole project.

use http::{Method, StatusCode};
use serde_json::json;

use crate::{
    core::Core,
    message::{Call, Reply, json, wrong_method},
    oauth::OAuthError,
};

/// Answers `/revoke`. Any living token of an account, access or refresh, ends everything that the account
/// granted, on every client of the project. The caller does not have to say who it is.
pub(crate) fn answer(core: &Core, call: &Call) -> Reply {
    if call.method != Method::POST {
        return wrong_method("POST");
    }
    let Some(token) = token(call) else {
        return OAuthError::bad("invalid_request", "Missing required parameter: token").reply();
    };
    let Some(account) = core.account_of_token(token) else {
        return OAuthError::bad("invalid_token", "Token expired or revoked").reply();
    };
    core.state().revoke(account);
    json(StatusCode::OK, &json!({}))
}

/// The token to revoke: in the body, or in the query as Google's own examples have it.
pub(crate) fn token(call: &Call) -> Option<&str> {
    call.form.get("token").or_else(|| call.query.get("token"))
}
