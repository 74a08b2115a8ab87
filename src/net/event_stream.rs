//! What every stream of server-sent events says of itself.

use http::{HeaderMap, HeaderName, HeaderValue, header};

const KIND: HeaderValue = HeaderValue::from_static("text/event-stream");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// nginx, and what has learned it from there, keeps answers until a buffer is full unless it is told not to.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const NO: HeaderValue = HeaderValue::from_static("no");

/// Says that events follow, each to be passed on as it comes.
pub fn mark(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_TYPE, KIND);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(BUFFERING, NO);
}

/// True for the head of such a stream.
pub(crate) fn is_marked(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(KIND.as_bytes()))
}
