//! The socket of an agent: HTTP, gRPC, streams, and what Google's own libraries ask.

pub(crate) mod answer_cache;
pub(crate) mod body;
pub(crate) mod common;
pub mod google_compat;
pub(crate) mod grpc;
pub mod holding;
pub(crate) mod http;
pub(crate) mod refusal;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod socket;
pub(crate) mod watch;
