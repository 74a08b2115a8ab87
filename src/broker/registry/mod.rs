//! What is known: agents, accounts, tokens, and who uses which.

pub(super) mod ending;
pub(super) mod keys;
pub(super) mod leaving;
pub mod names;
pub(super) mod state;
pub(super) mod tokens;
