//! Grants that were given up here and are to be revoked at the provider, and one at a time who deals with an account there.

pub(crate) mod fault;
pub(crate) mod provider_accounts;
pub(crate) mod revocations;
pub(crate) mod sentences;
