//! Records of the database that are left alone: they cannot be read, or somebody else wrote them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Broker;
use crate::{
    id::{AgentName, IntegrationId},
    store::{StoreError, UnusableRecord},
    telemetry::audit::{Actor, AuditEvent, Decision},
};

/// Those that somebody has to do something about.
#[derive(Default)]
pub(super) struct Unusable(Mutex<Vec<UnusableRecord>>);

impl Unusable {
    fn list(&self) -> MutexGuard<'_, Vec<UnusableRecord>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of all of them, and remembers those that somebody has to do something about.
    pub(super) fn note(&self, records: Vec<UnusableRecord>) {
        for UnusableRecord { problem, .. } in &records {
            tracing::error!(problem, "a record was left alone");
        }
        self.list()
            .extend(records.into_iter().filter(|record| record.lasts));
    }

    /// The names of all that may be agents.
    pub(super) fn agents(&self) -> Vec<AgentName> {
        let list = self.list();
        list.iter()
            .filter_map(|record| record.name.parse().ok())
            .collect()
    }

    /// The record of this name was replaced or removed.
    pub(super) fn forget(&self, name: &str) {
        self.list().retain(|record| record.name != name);
    }
}

impl Broker {
    /// What is wrong with the records of the database that are left alone, one sentence each.
    pub fn unusable_records(&self) -> Vec<String> {
        let list = self.unusable.list();
        list.iter().map(|record| record.problem.clone()).collect()
    }

    /// What is wrong with the record of this account, where that is why the account is not there.
    pub fn unusable_account(&self, id: &IntegrationId) -> Option<String> {
        if self.world().accounts.contains_key(id) {
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
        problem: String,
        actor: Actor,
    ) -> Result<(), StoreError> {
        let _keeping = self.keeping_accounts().await;
        let event = AuditEvent {
            integration: Some(id.clone()),
            detail: problem,
            ..AuditEvent::new(self.now(), actor, "integration.record_removed", Decision::Allowed)
        };
        self.store.delete_integration(id, Vec::new()).await?;
        self.store.settle_revocation(id, vec![event]).await?;
        self.unusable.forget(id.as_str());
        Ok(())
    }
}
