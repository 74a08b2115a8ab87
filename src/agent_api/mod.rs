//! The socket of an agent: HTTP, gRPC, streams, and what Google's own libraries ask.

pub(crate) mod answer;
pub(crate) mod answer_cache;
pub(crate) mod audit_dedup;
pub(crate) mod body;
pub(crate) mod common;
pub(crate) mod endpoint;
pub mod google_compat;
pub(crate) mod grpc;
pub(crate) mod holder;
pub mod holding;
pub(crate) mod http;
pub(crate) mod listener;
pub(crate) mod named;
pub(crate) mod refusal;
pub(crate) mod service;
pub(crate) mod socket;
pub(crate) mod view_watch;
pub(crate) mod watch;
