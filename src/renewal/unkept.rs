//! Grants that the provider has replaced, and whose successors are in memory alone: no place takes them yet.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::id::IntegrationId;

/// The accounts that they are of, by id, with their addresses.
#[derive(Default)]
pub(crate) struct Unkept(Mutex<BTreeMap<IntegrationId, String>>);

impl Unkept {
    fn list(&self) -> MutexGuard<'_, BTreeMap<IntegrationId, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses of the accounts.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.list().values().cloned().collect()
    }

    /// One more, until what is returned is dropped.
    pub(crate) fn note(&self, id: &IntegrationId, account: String) -> UnkeptGrant<'_> {
        self.list().insert(id.clone(), account);
        UnkeptGrant {
            unkept: self,
            id: id.clone(),
        }
    }
}

/// A grant that nothing keeps yet.
pub(crate) struct UnkeptGrant<'a> {
    unkept: &'a Unkept,
    id: IntegrationId,
}

impl Drop for UnkeptGrant<'_> {
    fn drop(&mut self) {
        self.unkept.list().remove(&self.id);
    }
}
