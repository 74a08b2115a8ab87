//! Requests as handlers see them, and the answers they give.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, PRAGMA, REFERRER_POLICY,
    },
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

/// The largest body that is read: Gmail's own limit for a message.
const BODY_LIMIT: usize = 35 * 1024 * 1024;

/// An answer.
pub(crate) type Reply = Response<Full<Bytes>>;

/// The connection is closed without an answer, or within one.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed")]
pub(crate) struct Dropped;

/// Why a request could not be read.
pub(crate) enum Unread {
    /// Its body is larger than anything that Google takes.
    TooLarge,
    /// The client went away.
    Gone,
}

/// The connection that a request came on has carried one before.
#[derive(Clone, Copy)]
pub(crate) struct Reused;

/// Decoded `application/x-www-form-urlencoded` parameters.
#[derive(Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The first value of a parameter; an empty one counts as absent (RFC 6749, section 3.1).
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).find(|value| !value.is_empty())
    }

    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A parameter that occurs more than once where OAuth allows one only.
    pub(crate) fn repeated<'a>(&self, single: &[&'a str]) -> Option<&'a str> {
        single
            .iter()
            .copied()
            .find(|name| self.all(name).nth(1).is_some())
    }
}

/// A request, read whole.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Params,
    pub(crate) form: Params,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The connection has carried a request before.
    pub(crate) reused: bool,
}

impl Call {
    /// Reads a request to its end.
    pub(crate) async fn read(request: Request<Incoming>) -> Result<Self, Unread> {
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, BODY_LIMIT).collect().await;
        let body = body.map_err(|e| {
            if e.is::<LengthLimitError>() {
                Unread::TooLarge
            } else {
                Unread::Gone
            }
        })?;
        let body = body.to_bytes();
        let is_form = header(&parts.headers, CONTENT_TYPE.as_str())
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        Ok(Self {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: Params::parse(parts.uri.query().unwrap_or_default().as_bytes()),
            form: if is_form {
                Params::parse(&body)
            } else {
                Params::default()
            },
            headers: parts.headers,
            body,
            reused: parts.extensions.get::<Reused>().is_some(),
        })
    }

    /// The decoded segments of the path.
    pub(crate) fn segments(&self) -> Vec<String> {
        let path = self.path.trim_start_matches('/');
        path.split('/')
            .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
            .collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The bearer token (RFC 6750, section 2.1 and the query parameter that Google still takes).
    pub(crate) fn bearer(&self) -> Option<&str> {
        match self
            .header("authorization")
            .and_then(|value| value.split_once(' '))
        {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
            _ => self.query.get("access_token"),
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A JSON answer that no cache may keep (RFC 6749, section 5.1).
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    // The answers are plain structs and maps with string keys: they always serialise.
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, max-age=0, must-revalidate"),
    );
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    reply
}

/// A page that loads nothing from elsewhere and cannot be framed.
pub(crate) fn html(status: StatusCode, page: String) -> Reply {
    let mut reply = Response::new(Full::new(page.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // No `form-action`: browsers would hold the redirect back to the client against it.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    reply
}

/// Sends the browser on.
pub(crate) fn redirect(location: &Url) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::FOUND;
    let headers = reply.headers_mut();
    let location =
        HeaderValue::from_str(location.as_str()).expect("a serialised URL is visible ASCII (WHATWG URL)");
    headers.insert(LOCATION, location);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    reply
}

/// An error in the shape of Google's APIs, without details.
pub(crate) fn problem(status: StatusCode, message: &str) -> Reply {
    json(status, &api_error(status, message, None))
}

/// The answer to a method that the path does not have.
pub(crate) fn wrong_method(allowed: &'static str) -> Reply {
    let mut reply = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("This address takes {allowed}."),
    );
    reply
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    reply
}

/// Google's JSON error (AIP-193, with the older `errors` list where a `reason` is given).
pub(crate) fn api_error(status: StatusCode, message: &str, reason: Option<&str>) -> Value {
    let mut error = json!({ "code": status.as_u16(), "message": message, "status": canonical(status) });
    if let Some(reason) = reason {
        error["errors"] = json!([{ "message": message, "domain": "global", "reason": reason }]);
    }
    json!({ "error": error })
}

/// The name that `google.rpc.Code` has for an HTTP status.
fn canonical(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        501 => "UNIMPLEMENTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500..=599 => "INTERNAL",
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_decode_and_repeat() {
        let params = Params::parse(b"scope=a+b&scope=c%2Fd&empty=");
        assert_eq!(params.get("scope"), Some("a b"));
        assert_eq!(params.all("scope").collect::<Vec<_>>(), ["a b", "c/d"]);
        assert_eq!(params.get("empty"), None);
        assert_eq!(params.repeated(&["empty", "scope"]), Some("scope"));
    }

    #[test]
    fn errors_look_like_googles() {
        let error = api_error(StatusCode::FORBIDDEN, "No.", Some("insufficientPermissions"));
        assert_eq!(error["error"]["status"], "PERMISSION_DENIED");
        assert_eq!(error["error"]["errors"][0]["reason"], "insufficientPermissions");
    }
}
