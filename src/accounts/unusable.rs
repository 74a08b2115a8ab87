//! Records of the database that are left alone: they cannot be read, or somebody else wrote them.

use std::sync::Arc;

use crate::{
    accounts::{commit_grant::Grants, tables::AccountTables, unusable_records::Unusable},
    id::IntegrationId,
    registry::{state::SharedRegistry, time::BrokerClock},
    renewal::services::Services,
    store::{SharedStore, StoreError},
    telemetry::audit::{Actor, AuditEvent, Decision},
};

/// Tells of records that are left alone, and removes those of accounts.
pub struct UnusableAccounts {
    clock: Arc<BrokerClock>,
    registry: Arc<SharedRegistry>,
    store: SharedStore,
    unusable: Arc<Unusable>,
    grants: Arc<Grants>,
}

impl UnusableAccounts {
    /// With what it needs of the parts before it.
    pub(crate) fn new(services: &Services, tables: &AccountTables, grants: &Arc<Grants>) -> Arc<Self> {
        Arc::new(Self {
            clock: services.clock.clone(),
            registry: services.registry.clone(),
            store: services.store.clone(),
            unusable: tables.unusable.clone(),
            grants: grants.clone(),
        })
    }

    /// What is wrong with the records of the database that are left alone, one sentence each.
    pub fn unusable_records(&self) -> Vec<String> {
        let list = self.unusable.list();
        list.iter().map(|record| record.problem.to_string()).collect()
    }

    /// What is wrong with the record of this account, where that is why the account is not there.
    pub fn unusable_account(&self, id: &IntegrationId) -> Option<StoreError> {
        if self.registry.lock().accounts.contains_key(id) {
            return None;
        }
        let list = self.unusable.list();
        let found = list.iter().find(|record| record.name == id.as_str())?;
        Some(found.problem.clone())
    }

    /// Removes the record of an account that is not there because of it. Nothing is asked of the provider: whose grant it
    /// is, nobody knows.
    pub async fn remove_unusable_account(
        &self,
        id: &IntegrationId,
        problem: &StoreError,
        actor: Actor,
    ) -> Result<(), StoreError> {
        let _keeping = self.grants.keeping_accounts().await;
        let event = AuditEvent {
            integration: Some(id.clone()),
            detail: problem.to_string(),
            ..AuditEvent::new(
                self.clock.now(),
                actor,
                "integration.record_removed",
                Decision::Allowed,
            )
        };
        self.store.delete_integration(id, Vec::new()).await?;
        self.store.complete_revocation(id, vec![event]).await?;
        self.unusable.forget(id.as_str());
        Ok(())
    }
}
