//! What follows from what is known: which account, which scopes, which state. No clock, no lock.

pub(super) mod context;
pub(super) mod credential_state;
pub(super) mod evaluate;
pub mod former_names;
pub(super) mod select_account;
