//! Who may call an API: bearer and scope are checked as Google does, and refused in its words.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use serde_json::json;

use crate::{
    core::Core,
    ids::AccountId,
    message::{Call, Reply, api_error, json as reply_json},
    scope::{PREFIX, ScopeSet},
    workspace::Workspace,
};

/// Why an API does not do what it was asked.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// There is no bearer token.
    NoToken,
    /// The token is expired, revoked or not ours.
    BadToken,
    /// The token does not carry any of the scopes that the method takes.
    Scope {
        service: &'static str,
        scopes: &'static [&'static str],
    },
    /// The request is wrong: status, sentence, reason.
    Request(StatusCode, String, &'static str),
}

impl ApiError {
    pub(crate) fn bad(message: impl Into<String>, reason: &'static str) -> Self {
        Self::Request(StatusCode::BAD_REQUEST, message.into(), reason)
    }

    pub(crate) fn not_found() -> Self {
        Self::Request(StatusCode::NOT_FOUND, "Not Found".into(), "notFound")
    }

    pub(crate) fn reply(&self) -> Reply {
        match self {
            Self::NoToken => challenge(
                "Request is missing required authentication credential. Expected OAuth 2 access token, login \
                 cookie or other valid authentication credential.",
                ("Login Required.", "required"),
                "Bearer realm=\"https://accounts.google.com/\"",
            ),
            Self::BadToken => challenge(
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie \
                 or other valid authentication credential.",
                ("Invalid Credentials", "authError"),
                "Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\"",
            ),
            Self::Scope { service, scopes } => insufficient_scope(service, scopes),
            Self::Request(status, message, reason) => {
                reply_json(*status, &api_error(*status, message, Some(reason)))
            }
        }
    }
}

/// 401, which tells a client to get a new token.
fn challenge(message: &str, (short, reason): (&str, &str), header: &'static str) -> Reply {
    let mut body = api_error(StatusCode::UNAUTHORIZED, message, Some(reason));
    body["error"]["errors"][0]["message"] = short.into();
    body["error"]["errors"][0]["location"] = "Authorization".into();
    body["error"]["errors"][0]["locationType"] = "header".into();
    let mut reply = reply_json(StatusCode::UNAUTHORIZED, &body);
    reply
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static(header));
    reply
}

/// 403, which tells a client that no new token will help until more is granted.
fn insufficient_scope(service: &str, scopes: &[&str]) -> Reply {
    let message = "Request had insufficient authentication scopes.";
    let mut body = api_error(StatusCode::FORBIDDEN, message, Some("insufficientPermissions"));
    body["error"]["errors"][0]["message"] = "Insufficient Permission".into();
    body["error"]["details"] = json!([{
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
        "domain": "googleapis.com",
        "metadata": { "service": service },
    }]);
    let mut reply = reply_json(StatusCode::FORBIDDEN, &body);
    let wanted: Vec<String> = scopes.iter().map(|name| full(name)).collect();
    let header = format!(
        "Bearer realm=\"https://accounts.google.com/\", error=\"insufficient_scope\", scope=\"{}\"",
        wanted.join(" ")
    );
    if let Ok(header) = HeaderValue::from_str(&header) {
        reply.headers_mut().insert(WWW_AUTHENTICATE, header);
    }
    reply
}

/// Lets a call in whose token carries one of `scopes` (named without Google's prefix).
pub(crate) fn admit(
    core: &Core,
    call: &Call,
    service: &'static str,
    scopes: &'static [&'static str],
) -> Result<(AccountId, Arc<ScopeSet>), ApiError> {
    let token = call.bearer().ok_or(ApiError::NoToken)?;
    let claims = core.minter.read_access(token).ok_or(ApiError::BadToken)?;
    let (account, granted) = core
        .state()
        .check_access(claims, core.now())
        .ok_or(ApiError::BadToken)?;
    if scopes.iter().any(|name| granted.contains(&full(name))) {
        Ok((account, granted))
    } else {
        Err(ApiError::Scope { service, scopes })
    }
}

fn full(scope: &str) -> String {
    match scope {
        "openid" => scope.to_owned(),
        _ if scope.starts_with("https://") => scope.to_owned(),
        _ => format!("{PREFIX}{scope}"),
    }
}

/// Works on what an account keeps at Google.
pub(crate) fn with_workspace<T>(
    core: &Core,
    account: AccountId,
    work: impl FnOnce(&mut Workspace, &str) -> T,
) -> T {
    let now = core.now();
    let mut state = core.state();
    let account = state.account_mut(account);
    let email = account.identity.email.clone();
    let workspace = account
        .workspace
        .get_or_insert_with(|| Box::new(Workspace::new(&email, now)));
    work(workspace, &email)
}
