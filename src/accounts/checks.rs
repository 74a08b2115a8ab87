//! Asks the provider, on demand, whether a grant still works.

use std::{sync::Arc, time::Duration};

use crate::{
    accounts::{
        asks::{Asker, Asks},
        health::AccountHealth,
        list::{AccountError, AccountList, AccountView},
        tables::AccountTables,
    },
    id::OwnerId,
    policy::select_account::{AccountRef, find},
    registry::{keys::TokenKey, state::SharedRegistry, time::BrokerClock},
    renewal::{parts::Renewing, scheduler::Renewals, services::Services},
    store::Health,
};

/// Asks the provider whether an account's grant still works, as often as each may have that done.
pub struct AccountChecks {
    asks: Arc<Asks>,
    clock: Arc<BrokerClock>,
    registry: Arc<SharedRegistry>,
    account_list: Arc<AccountList>,
    health: Arc<AccountHealth>,
    renewals: Arc<Renewals>,
}

impl AccountChecks {
    /// With what it needs of the parts before it.
    pub(crate) fn new(
        services: &Services,
        tables: &AccountTables,
        renewing: &Renewing,
        account_list: &Arc<AccountList>,
        health: &Arc<AccountHealth>,
    ) -> Arc<Self> {
        Arc::new(Self {
            asks: tables.asks.clone(),
            clock: services.clock.clone(),
            registry: services.registry.clone(),
            account_list: account_list.clone(),
            health: health.clone(),
            renewals: renewing.renewals.clone(),
        })
    }

    /// Counts a request to the provider that an owner brings about.
    ///
    /// # Errors
    /// How long to wait, where that is one too many.
    pub fn count_request(&self, owner: &OwnerId) -> Result<(), Duration> {
        self.asks.count(owner, self.clock.uptime())
    }

    /// Like [`Broker::check_account`], as often as `asker` may have that done.
    ///
    /// # Errors
    /// [`AccountError::TooOften`], beside those of a check.
    pub async fn check_account_for(
        self: &Arc<Self>,
        which: &AccountRef,
        asker: Asker,
    ) -> Result<AccountView, AccountError> {
        let record = find(&self.registry.lock(), which)?.record.clone();
        let counted = self
            .asks
            .count_check((&record.id, &record.owner), asker, self.clock.uptime());
        counted.map_err(AccountError::TooOften)?;
        self.check_account(&AccountRef::Id(record.id)).await
    }

    /// Asks the provider now whether the grant still works; also that of an account which the provider disabled.
    pub async fn check_account(self: &Arc<Self>, which: &AccountRef) -> Result<AccountView, AccountError> {
        let id = find(&self.registry.lock(), which)?.record.id.clone();
        self.health.restore(&id).await?;
        let (key, healthy) = {
            let registry = self.registry.lock();
            let record = &find(&registry, &AccountRef::Id(id))?.record;
            let used = registry
                .entries_of(&record.id)
                .find(|(_, token_entry)| !token_entry.users.is_empty())
                .map(|(key, _)| key);
            // A token that agents use is worth more than one that nobody does; one request tells enough.
            let key = used.unwrap_or_else(|| TokenKey {
                integration: record.id.clone(),
                scopes: record.scopes.clone(),
            });
            (key, record.health == Health::Active)
        };
        if healthy {
            // What it finds out is in the account's view.
            let _ = self.renewals.renew(&key).await;
        }
        self.account_list.account(&AccountRef::Id(key.integration))
    }
}
