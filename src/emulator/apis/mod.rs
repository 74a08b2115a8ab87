//! Small answers of Gmail, Calendar and Drive, which check bearer and scope as Google does.

mod calendar;
mod drive;
mod gmail;

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    core::Core,
    fault::Endpoint,
    message::{Call, Reply, api_error, json},
    scope::{PREFIX, ScopeSet},
    state::AccountId,
    workspace::Workspace,
};

/// Why an API does not do what it was asked.
#[derive(Debug)]
pub(super) enum ApiError {
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
    pub(super) fn bad(message: impl Into<String>, reason: &'static str) -> Self {
        Self::Request(StatusCode::BAD_REQUEST, message.into(), reason)
    }

    pub(super) fn not_found() -> Self {
        Self::Request(StatusCode::NOT_FOUND, "Not Found".into(), "notFound")
    }

    pub(super) fn reply(&self) -> Reply {
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
                json(*status, &api_error(*status, message, Some(reason)))
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
    let mut reply = json(StatusCode::UNAUTHORIZED, &body);
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
    let mut reply = json(StatusCode::FORBIDDEN, &body);
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
pub(super) fn admit(
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

/// Answers a call of one of the APIs.
pub(super) fn answer(core: &Core, call: &Call, endpoint: Endpoint) -> Reply {
    let segments = call.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let result = match endpoint {
        Endpoint::Gmail => gmail::answer(core, call, &segments),
        Endpoint::Calendar => calendar::answer(core, call, &segments),
        _ => drive::answer(core, call, &segments),
    };
    if matches!(result, Err(ApiError::NoToken | ApiError::BadToken)) {
        core.stats.count(|stats| &stats.api_unauthorized);
    }
    match result {
        Ok(value) => json(StatusCode::OK, &value),
        Err(error) => error.reply(),
    }
}

/// Works on what an account keeps at Google.
fn with_workspace<T>(core: &Core, account: AccountId, work: impl FnOnce(&mut Workspace, &str) -> T) -> T {
    let now = core.now();
    let mut state = core.state();
    let account = state.account_mut(account);
    let email = account.identity.email.clone();
    let workspace = account
        .workspace
        .get_or_insert_with(|| Box::new(Workspace::new(&email, now)));
    work(workspace, &email)
}

/// The JSON body of a call.
fn read_json<T: DeserializeOwned>(call: &Call) -> Result<T, ApiError> {
    serde_json::from_slice(&call.body)
        .map_err(|error| ApiError::bad(format!("Invalid JSON payload received. {error}"), "badRequest"))
}

/// A parameter that holds a number from 1 to `most`, or `default`.
fn limit(call: &Call, name: &str, default: usize, most: usize) -> Result<usize, ApiError> {
    let Some(text) = call.query.get(name) else {
        return Ok(default);
    };
    match text.parse() {
        Ok(0) | Err(_) => Err(ApiError::bad(
            format!("Invalid value '{text}' for {name}."),
            "invalidParameter",
        )),
        Ok(number) => Ok(usize::min(number, most)),
    }
}

/// A page of `items`: those after `pageToken`, and the token of the next page.
fn page<T: Clone>(call: &Call, items: &[T], size: usize) -> Result<(Vec<T>, Option<Value>), ApiError> {
    let start: usize = match call.query.get("pageToken") {
        None => 0,
        Some(text) => text
            .parse()
            .map_err(|_| ApiError::bad("Invalid pageToken value", "invalid"))?,
    };
    let end = items.len().min(start.saturating_add(size));
    let next = (end < items.len()).then(|| Value::from(end.to_string()));
    Ok((items.get(start..end).unwrap_or_default().to_vec(), next))
}

fn full(scope: &str) -> String {
    match scope {
        "openid" => scope.to_owned(),
        _ if scope.starts_with("https://") => scope.to_owned(),
        _ => format!("{PREFIX}{scope}"),
    }
}

/// The answer to a path that the emulator does not serve.
fn no_method(call: &Call) -> ApiError {
    let message = format!("The emulator does not serve {} {}.", call.method, call.path);
    ApiError::Request(StatusCode::NOT_FOUND, message, "notFound")
}
