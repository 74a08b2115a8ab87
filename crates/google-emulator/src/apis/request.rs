//! What requests to the APIs have in common: JSON bodies, limits, pages.

use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::access::ApiError;
use crate::message::Call;

/// The JSON body of a call.
pub(crate) fn read_json<T: DeserializeOwned>(call: &Call) -> Result<T, ApiError> {
    serde_json::from_slice(&call.body)
        .map_err(|error| ApiError::bad(format!("Invalid JSON payload received. {error}"), "badRequest"))
}

/// A parameter that holds a number from 1 to `most`, or `default`.
pub(crate) fn limit(call: &Call, name: &str, default: usize, most: usize) -> Result<usize, ApiError> {
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
pub(crate) fn page<T: Clone>(
    call: &Call,
    items: &[T],
    size: usize,
) -> Result<(Vec<T>, Option<Value>), ApiError> {
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

/// The answer to a path that the emulator does not serve.
pub(crate) fn no_method(call: &Call) -> ApiError {
    let message = format!("The emulator does not serve {} {}.", call.method, call.path);
    ApiError::Request(StatusCode::NOT_FOUND, message, "notFound")
}
