//! Clients of a running daemon: its admin socket (gRPC, on this machine or over TLS), an agent's socket (HTTP), and why
//! each was of no use.
//!
//! A failure is told to the person who asked: it says what to do, and carries the exit code of a command that ends by it.

pub(crate) mod admin;
pub(crate) mod agent;
pub(crate) mod agent_status;
pub(crate) mod agent_token;
mod deadline;
pub(crate) mod environment;
pub(crate) mod exit;
pub(crate) mod remote;
#[cfg(test)]
pub(crate) mod testing;
