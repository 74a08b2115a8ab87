//! Whether a grant is bound to a key of this broker's (RFC 9449).

use crate::{
    cause::GrantCause,
    provider::Provider,
    store::{Health, IntegrationRecord},
};

/// Whether a refresh token is worth anything without a key of this broker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantBinding {
    /// It is not.
    Bound,
    /// It is.
    Unbound {
        /// New grants of the provider's are bound: connecting the account again would bind this one.
        would_bind: bool,
    },
}

/// How the grant of a record is bound. `None` for accounts of keys, and where it is not known: the grant was altered.
pub(crate) fn of(record: &IntegrationRecord, provider: Option<&Provider>) -> Option<GrantBinding> {
    let altered = matches!(&record.health, Health::Misconfigured(cause) if matches!(**cause, GrantCause::Altered { .. }));
    if altered || provider.is_some_and(|provider| provider.keys().is_some()) {
        return None;
    }
    let consent = provider.and_then(Provider::consent);
    Some(match &record.proof_key {
        Some(_) => GrantBinding::Bound,
        None => GrantBinding::Unbound {
            would_bind: consent.is_some_and(|consent| consent.binds_grants()),
        },
    })
}
