//! The health of an account's grant, in the database and in the registry.

use std::sync::Arc;

use crate::{
    accounts::tables::AccountTables,
    id::IntegrationId,
    registry::state::SharedRegistry,
    renewal::{parts::Renewing, publisher::Publisher, services::Services},
    store::{Health, IntegrationRecord, RenewalOutcome, SharedStore, StoreError},
    vault::{Binding, Vault},
};

/// Records what became of an account's grant, and takes disabled accounts back into use.
pub(crate) struct AccountHealth {
    /// One security event is acted on at a time.
    announcing: Arc<tokio::sync::Mutex<()>>,
    registry: Arc<SharedRegistry>,
    store: SharedStore,
    vault: Arc<Vault>,
    publisher: Arc<Publisher>,
}

impl AccountHealth {
    /// With what it needs of the parts before it.
    pub(crate) fn new(services: &Services, tables: &AccountTables, renewing: &Renewing) -> Arc<Self> {
        Arc::new(Self {
            announcing: tables.announcing.clone(),
            registry: services.registry.clone(),
            store: services.store.clone(),
            vault: services.vault.clone(),
            publisher: renewing.publisher.clone(),
        })
    }

    /// Commits what became of a grant, unless it was connected anew meanwhile.
    pub(crate) async fn keep_health(
        &self,
        record: &IntegrationRecord,
        health: Health,
        forget: bool,
    ) -> Result<(), StoreError> {
        let id = &record.id;
        loop {
            let Some(stored) = self.store.integration(id).await? else {
                return Ok(());
            };
            if stored.connected_at.as_microsecond() != record.connected_at.as_microsecond() {
                return Ok(());
            }
            let outcome = RenewalOutcome {
                // Nothing opens to nothing: whoever needs a grant finds none.
                rotated: forget.then(|| self.vault.seal(&Binding::RefreshToken(id), b"")),
                health: health.clone(),
                grant_expires_at: None,
                renewed_at: None,
                token: None,
            };
            match self.store.finish_renewal(id, stored.version, outcome).await {
                // A renewal ended in between.
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
                Ok(version) => {
                    if let Some(account) = self.registry.lock().accounts.get_mut(id) {
                        account.record.version = account.record.version.max(version);
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Takes a disabled account back into use; whether it works is found out by the next renewal.
    pub(crate) async fn restore(&self, id: &IntegrationId) -> Result<(), StoreError> {
        if self.disabled(id).is_none() {
            return Ok(());
        }
        let _alone = self.announcing.lock().await;
        match self.disabled(id) {
            Some(record) => self.restore_alone(&record).await,
            None => Ok(()),
        }
    }

    /// The account's record, if the provider disabled it.
    fn disabled(&self, id: &IntegrationId) -> Option<IntegrationRecord> {
        let registry = self.registry.lock();
        let record = &registry.accounts.get(id)?.record;
        matches!(record.health, Health::Disabled(_)).then(|| record.clone())
    }

    pub(crate) async fn restore_alone(&self, record: &IntegrationRecord) -> Result<(), StoreError> {
        // First where renewals read it.
        self.keep_health(record, Health::Active, false).await?;
        // It may have been connected anew, or disconnected, meanwhile.
        if self.disabled(&record.id).is_some() {
            self.publisher
                .change_health(&mut self.registry.lock(), &record.id, Health::Active);
            self.publisher.tell_health(record, &Health::Active);
        }
        Ok(())
    }
}
