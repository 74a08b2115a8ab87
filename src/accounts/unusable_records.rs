//! Records of the database that are left alone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{id::AgentName, store::UnusableRecord};

/// Those that somebody has to do something about.
#[derive(Default)]
pub(crate) struct Unusable(Mutex<Vec<UnusableRecord>>);

impl Unusable {
    pub(super) fn list(&self) -> MutexGuard<'_, Vec<UnusableRecord>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of all of them, and remembers those that somebody has to do something about.
    pub(crate) fn note(&self, records: Vec<UnusableRecord>) {
        for UnusableRecord { problem, .. } in &records {
            tracing::error!(%problem, "a record was left alone");
        }
        self.list()
            .extend(records.into_iter().filter(|record| record.lasts));
    }

    /// The names of all that may be agents.
    pub(crate) fn agents(&self) -> Vec<AgentName> {
        let list = self.list();
        list.iter()
            .filter_map(|record| record.name.parse().ok())
            .collect()
    }

    /// The record of this name was replaced or removed.
    pub(crate) fn forget(&self, name: &str) {
        self.list().retain(|record| record.name != name);
    }
}
