//! Small answers of Gmail, Calendar and Drive, which check bearer and scope as Google does.

pub(crate) mod access;
mod calendar;
mod drive;
mod gmail;
mod request;

use http::StatusCode;

use self::access::ApiError;
use crate::{
    core::Core,
    fault::Endpoint,
    message::{Call, Reply, json},
};

/// Answers a call of one of the APIs.
pub(crate) fn answer(core: &Core, call: &Call, endpoint: Endpoint) -> Reply {
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
