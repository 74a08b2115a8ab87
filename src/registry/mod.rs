//! What is known: agents, accounts, tokens, and who uses which.

pub mod agent_state;
pub(crate) mod agent_uses;
pub(crate) mod ending;
pub mod events;
pub mod handle;
pub(crate) mod keys;
pub(crate) mod leaving;
pub mod names;
pub mod problem;
pub(crate) mod refreshes;
pub(crate) mod renewal_fault;
pub mod snapshot;
pub(crate) mod state;
pub(crate) mod time;
pub(crate) mod tokens;
