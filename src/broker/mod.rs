//! Keeps every agent's token fresh.

pub mod problem;
pub mod snapshot;

pub use problem::{Problem, ProblemCode};
pub use snapshot::{AgentSnapshot, AgentState, CapabilityStatus, IssuedToken};
