//! Who holds which agent, as the database remembers it, and a secret per agent for credential files: agents that use
//! one are not known by a mount.
//!
//! A secret stays the same over restarts, because Google's libraries read the file once in a process's life, and it ends
//! with the agent: one that is removed and comes back has another, and so has one that is given to another holder, also
//! while no daemon ran.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{id::AgentName, manifest::Holder, store::HolderRecord};

/// The holders' own part of the broker.
pub(in crate::broker) struct Holders {
    /// False where no credential files are written: then there are no secrets.
    pub(super) has_secrets: bool,
    /// Agents whose row may have to change.
    pub(super) touched: Mutex<BTreeSet<AgentName>>,
    pub(super) changed: Notify,
    /// What the database held at the start, as far as it has not been settled since.
    pub(super) stored: Mutex<BTreeMap<AgentName, HolderRecord>>,
    /// The rows that were settled since the start.
    pub(super) rows: tokio::sync::Mutex<BTreeMap<AgentName, Row>>,
    pub(super) keys: RandomState,
}

/// What a row says. Of the holder a hash: the manifest is in memory already, and so is the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) holder: u64,
    pub(super) has_secret: bool,
}

impl Holders {
    pub(in crate::broker) fn new(has_secrets: bool, records: Vec<HolderRecord>) -> Self {
        Self {
            has_secrets,
            touched: Mutex::new(records.iter().map(|record| record.agent.clone()).collect()),
            changed: Notify::new(),
            stored: Mutex::new(
                records
                    .into_iter()
                    .map(|record| (record.agent.clone(), record))
                    .collect(),
            ),
            rows: tokio::sync::Mutex::default(),
            keys: RandomState::new(),
        }
    }

    /// An agent came, went, or has its directory to itself now.
    pub(in crate::broker) fn touch(&self, agent: &AgentName) {
        self.touch_all([agent.clone()]);
    }

    pub(super) fn touch_all(&self, agents: impl IntoIterator<Item = AgentName>) {
        lock(&self.touched).extend(agents);
        self.changed.notify_one();
    }

    /// Who held the agent when a daemon ran last, as far as that has not been settled since.
    pub(in crate::broker) fn held_before(&self, agent: &AgentName) -> Before {
        lock(&self.stored).get(agent).map_or(Before::Nobody, Before::of)
    }

    /// The agents that a daemon knew before and of which nothing was settled since, and who held each.
    pub(in crate::broker) fn unsettled(&self) -> Vec<(AgentName, Before)> {
        let stored = lock(&self.stored);
        let held = stored
            .values()
            .map(|record| (record.agent.clone(), Before::of(record)));
        held.collect()
    }

    /// The row of an agent says by now that it is nobody's.
    pub(in crate::broker) async fn was_disowned(&self, agent: &AgentName) {
        if let Some(row) = self.rows.lock().await.get_mut(agent) {
            row.holder = self.keys.hash_one(String::new());
        }
    }

    /// An agent went: what the database holds of it is no other's.
    pub(in crate::broker) fn disown(&self, agent: &AgentName) {
        if let Some(record) = lock(&self.stored).get_mut(agent) {
            record.secret = None;
            record.holder = Some(String::new());
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change under these locks is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who held an agent before.
pub(in crate::broker) enum Before {
    /// Nobody, or nobody wrote it down.
    Nobody,
    /// Somebody, and it cannot be read who.
    Somebody,
    /// This one.
    Holder(Holder),
}

impl Before {
    fn of(record: &HolderRecord) -> Self {
        record.holder.as_deref().map_or(Self::Nobody, |text| {
            Holder::from_json(text).map_or(Self::Somebody, Self::Holder)
        })
    }
}
