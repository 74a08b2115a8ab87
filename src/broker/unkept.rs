//! Grants that the provider has replaced, and whose successors are in memory alone: no place takes them yet.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::Broker;
use crate::id::IntegrationId;

/// The accounts that they are of, by id, with their addresses.
#[derive(Default)]
pub(super) struct Unkept(Mutex<BTreeMap<IntegrationId, String>>);

impl Unkept {
    fn list(&self) -> MutexGuard<'_, BTreeMap<IntegrationId, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, until what is returned is dropped.
    pub(super) fn note(&self, id: &IntegrationId, account: String) -> UnkeptGrant<'_> {
        self.list().insert(id.clone(), account);
        UnkeptGrant {
            unkept: self,
            id: id.clone(),
        }
    }
}

/// A grant that nothing keeps yet.
pub(super) struct UnkeptGrant<'a> {
    unkept: &'a Unkept,
    id: IntegrationId,
}

impl Drop for UnkeptGrant<'_> {
    fn drop(&mut self) {
        self.unkept.list().remove(&self.id);
    }
}

impl Broker {
    /// The addresses of the accounts whose grants are lost if the daemon ends now: the provider has replaced them, and the
    /// database has not taken the new ones.
    pub fn unkept_grants(&self) -> Vec<String> {
        self.unkept.list().values().cloned().collect()
    }
}
