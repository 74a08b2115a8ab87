//! The HTTP client: one bounded request at a time. Nothing here follows a redirect, waits for ever or reads without end.

pub(crate) mod authorities;
mod client;
mod connections;
pub(crate) mod encoding;
mod error;
mod limits;
mod message;
pub(crate) mod own_certificate;
pub mod proxy;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod tls_connect;

pub use error::TransportError;
pub use limits::Limits;
pub use proxy::{Egress, InvalidProxy};

pub(crate) use client::{Http, JSON};
pub(crate) use error::innermost;
pub(crate) use message::{Form, Repeat, Reply, http_date};
