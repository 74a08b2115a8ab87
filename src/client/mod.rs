//! Clients of a running daemon: its admin socket (gRPC), an agent's socket (HTTP), and why either was of no use.
//!
//! What they tell is for whoever asked, so a failure says what to do and carries the exit code of a command that ends
//! by it.

pub(crate) mod admin;
pub(crate) mod agent;
pub(crate) mod agent_status;
pub(crate) mod agent_token;
mod deadline;
pub(crate) mod environment;
pub(crate) mod exit;
#[cfg(test)]
pub(crate) mod testing;
