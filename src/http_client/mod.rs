//! The HTTP client: one bounded request at a time. Nothing here follows a redirect, waits for ever or reads without end.

pub(crate) mod authorities;
mod client;
mod connections;
pub mod egress;
pub(crate) mod encoding;
mod error;
mod limits;
mod message;
#[cfg(test)]
pub(crate) mod testing;

pub use egress::{Egress, InvalidProxy};
pub use limits::Limits;

pub(crate) use client::{Http, JSON};
pub(crate) use error::{TransportError, certificate_reason, innermost};
pub(crate) use message::{Form, Repeat, Reply, http_date};
