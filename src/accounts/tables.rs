//! What several parts of this folder share, and nobody else.

use std::sync::Arc;

use super::{asks::Asks, consents::Consents, unusable_records::Unusable};
use crate::revocation::provider_accounts::ProviderAccounts;

/// The tables in memory that accounts are dealt with by.
#[derive(Default)]
pub(crate) struct AccountTables {
    /// One security event is acted on at a time.
    pub(crate) announcing: Arc<tokio::sync::Mutex<()>>,
    pub(crate) asks: Arc<Asks>,
    pub(crate) consents: Arc<Consents>,
    pub(crate) provider_accounts: Arc<ProviderAccounts>,
    pub(crate) unusable: Arc<Unusable>,
}
