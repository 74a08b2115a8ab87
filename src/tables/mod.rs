//! The tables that both databases have alike, and what rows of the others say: of accounts, their grants and access tokens.

pub(crate) mod accounts;
pub(crate) mod agents;
pub(crate) mod grants;
mod health;
pub(crate) mod holders;
pub(crate) mod keyed;
pub(crate) mod keyring;
pub(crate) mod revocations;
pub(crate) mod security_events;
pub(crate) mod tokens;
