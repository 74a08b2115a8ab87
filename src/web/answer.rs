//! Answers, and the headers that keep a page to itself.

use axum::body::Body;
use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    header::{self, HeaderValue},
};

/// An answer: a page at once, or events as they come.
pub(super) type Answer = Response<Body>;

/// What a page may load and do that says nothing else: no script, no form, nothing of others.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

pub(super) fn text(status: StatusCode, body: &str) -> Answer {
    typed(status, "text/plain; charset=utf-8", body.to_owned())
}

pub(super) fn html(status: StatusCode, page: Result<String, askama::Error>) -> Answer {
    match page {
        Ok(html) => typed(status, "text/html; charset=utf-8", html),
        Err(error) => {
            tracing::error!(%error, "a page could not be made");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the page cannot be shown\n")
        }
    }
}

pub(super) fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Body::from(body.into()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// Sends the browser to another page, by GET.
pub(super) fn redirect(url: &str) -> Answer {
    let mut answer = text(StatusCode::SEE_OTHER, "");
    match HeaderValue::from_str(url) {
        Ok(location) => {
            answer.headers_mut().insert(header::LOCATION, location);
            answer
        }
        Err(_) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the address to go on to cannot be sent\n",
        ),
    }
}

pub(super) fn wrong_method(allowed: &'static str) -> Answer {
    let sentence = format!("only {} is served here\n", allowed.replace(", ", " and "));
    let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, &sentence);
    refused
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allowed));
    refused
}

/// No script, no frame, no referrer (the callback's address holds a code), unless the page said otherwise.
pub(super) fn protect(answer: &mut Answer) {
    let headers = answer.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(POLICY);
    headers
        .entry(header::REFERRER_POLICY)
        .or_insert(HeaderValue::from_static("no-referrer"));
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    let own = HeaderValue::from_static("same-origin");
    headers.insert("cross-origin-opener-policy", own.clone());
    headers.insert("cross-origin-resource-policy", own);
}
