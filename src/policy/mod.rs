//! What follows from what is known: which account, which scopes, which state. No clock, no lock.

pub(crate) mod context;
pub(crate) mod credential_state;
pub(crate) mod evaluate;
pub(crate) mod fault_sentences;
pub mod former_names;
pub(crate) mod grant_binding;
pub(crate) mod grant_sentences;
pub(crate) mod select_account;
