//! Who holds which agent, as the database remembers it, and a secret per agent for credential files: agents that use
//! one are not known by a mount.
//!
//! A secret stays the same over restarts, because Google's libraries read the file once in a process's life, and it ends
//! with the agent: one that is removed and comes back has another, and so has one that is given to another holder, also
//! while no daemon ran.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{AgentHandle, Broker};
use crate::{
    agent::Holder,
    id::AgentName,
    secret::AgentSecret,
    store::{HolderRecord, StoreError},
    vault::Binding,
};

/// How long after the database failed the next attempt is made.
const RETRY: Duration = Duration::from_secs(5);

/// The holders' own part of the broker.
pub(super) struct Holders {
    /// False where no credential files are written: then there are no secrets.
    has_secrets: bool,
    /// Agents whose row may have to change.
    touched: Mutex<BTreeSet<AgentName>>,
    changed: Notify,
    /// What the database held at the start, as far as it has not been settled since.
    stored: Mutex<BTreeMap<AgentName, HolderRecord>>,
    /// The rows that were settled since the start.
    rows: tokio::sync::Mutex<BTreeMap<AgentName, Row>>,
    keys: RandomState,
}

/// What a row says. Of the holder a hash: the manifest is in memory already, and so is the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    holder: u64,
    has_secret: bool,
}

impl Holders {
    pub(super) fn new(has_secrets: bool, records: Vec<HolderRecord>) -> Self {
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
    pub(super) fn touch(&self, agent: &AgentName) {
        self.touch_all([agent.clone()]);
    }

    fn touch_all(&self, agents: impl IntoIterator<Item = AgentName>) {
        lock(&self.touched).extend(agents);
        self.changed.notify_one();
    }

    /// Who held the agent when a daemon ran last, as far as that has not been settled since.
    pub(super) fn held_before(&self, agent: &AgentName) -> Before {
        lock(&self.stored).get(agent).map_or(Before::Nobody, Before::of)
    }

    /// The agents that a daemon knew before and of which nothing was settled since, and who held each.
    pub(super) fn unsettled(&self) -> Vec<(AgentName, Before)> {
        let stored = lock(&self.stored);
        let held = stored
            .values()
            .map(|record| (record.agent.clone(), Before::of(record)));
        held.collect()
    }

    /// The row of an agent says by now that it is nobody's.
    pub(super) async fn was_disowned(&self, agent: &AgentName) {
        if let Some(row) = self.rows.lock().await.get_mut(agent) {
            row.holder = self.keys.hash_one(String::new());
        }
    }

    /// An agent went: what the database holds of it is no other's.
    pub(super) fn disown(&self, agent: &AgentName) {
        if let Some(record) = lock(&self.stored).get_mut(agent) {
            record.secret = None;
            record.holder = Some(String::new());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change under these locks is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who held an agent before.
pub(super) enum Before {
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

/// What is to be written, and what follows from it once it is.
#[derive(Default)]
struct Plan {
    records: Vec<HolderRecord>,
    gone: Vec<AgentName>,
    settled: Vec<Settled>,
}

/// An agent whose row says what it should, once the plan is carried out.
struct Settled {
    handle: Arc<AgentHandle>,
    row: Row,
    /// The secret that the agent has to be given.
    secret: Option<AgentSecret>,
}

/// An agent as it is now.
struct Present {
    handle: Arc<AgentHandle>,
    holder: Holder,
    /// It is not published yet, because somebody else held the name before.
    is_arriving: bool,
}

impl Broker {
    /// Remembers who holds which agent, gives every agent that has none a secret, and forgets agents that are gone. An
    /// agent learns its secret when it is on disk, so that none is in use that a restart would forget; and one that was
    /// given to another holder is published when that is on disk.
    ///
    /// # Errors
    /// When the database cannot be written. What was left undone is done next time.
    pub async fn settle_holders(&self) -> Result<(), StoreError> {
        let mut rows = self.holders.rows.lock().await;
        let touched = std::mem::take(&mut *lock(&self.holders.touched));
        let plan = self.plan(&touched, &rows);
        let gone = plan.gone.clone();
        if !plan.records.is_empty() || !gone.is_empty() {
            let written = self.store.change_holders(plan.records, plan.gone).await;
            if let Err(error) = written {
                self.holders.touch_all(touched);
                return Err(error);
            }
        }
        for agent in gone {
            rows.remove(&agent);
            lock(&self.holders.stored).remove(&agent);
        }
        for Settled { handle, row, secret } in plan.settled {
            rows.insert(handle.name().clone(), row);
            lock(&self.holders.stored).remove(handle.name());
            let is_new = secret.is_some();
            if let Some(secret) = secret {
                handle.set_secret(secret);
            }
            // Whoever arrives is announced with that, and nobody else before.
            if !self.arrive(&handle) && is_new {
                self.changes.changed(&handle);
            }
        }
        Ok(())
    }

    fn plan(&self, touched: &BTreeSet<AgentName>, rows: &BTreeMap<AgentName, Row>) -> Plan {
        let mut plan = Plan::default();
        for name in touched {
            let present = {
                let world = self.world();
                if world.leaving.contains(name) {
                    // Until then the row says whose things are still there. It is touched again.
                    continue;
                }
                if world.spared.contains(name) {
                    continue;
                }
                world.agents.get(name).map(|entry| Present {
                    handle: entry.handle.clone(),
                    holder: Holder::of(&entry.manifest),
                    is_arriving: entry.is_arriving(),
                })
            };
            let stored = lock(&self.holders.stored).get(name).cloned();
            let Some(present) = present else {
                if stored.is_some() || rows.contains_key(name) {
                    plan.gone.push(name.clone());
                }
                continue;
            };
            self.plan_one(&mut plan, present, stored, rows.get(name));
        }
        plan
    }

    fn plan_one(&self, plan: &mut Plan, present: Present, stored: Option<HolderRecord>, row: Option<&Row>) {
        let Present {
            handle,
            holder,
            is_arriving,
        } = present;
        let holder = holder.to_json();
        let wanted = Row {
            holder: self.holders.keys.hash_one(&holder),
            has_secret: self.holders.has_secrets,
        };
        if row == Some(&wanted) && (handle.secret().is_some() || !wanted.has_secret) {
            plan.settled.push(Settled {
                handle,
                row: wanted,
                secret: None,
            });
            return;
        }
        let name = handle.name();
        let known = stored
            .as_ref()
            .filter(|_| wanted.has_secret && !is_arriving && handle.secret().is_none())
            .and_then(|record| self.opened(record));
        let is_stored = stored.is_some_and(|record| {
            record.holder.as_ref() == Some(&holder)
                && record.secret.is_some() == wanted.has_secret
                && known.is_some() == wanted.has_secret
        });
        let secret = (wanted.has_secret && handle.secret().is_none())
            .then(|| known.unwrap_or_else(|| AgentSecret::from(self.entropy.token())));
        if !is_stored {
            let binding = Binding::AgentSecret {
                agent: name,
                holder: Some(&holder),
            };
            let in_force = secret.as_ref().or_else(|| handle.secret());
            let in_force = in_force.filter(|_| wanted.has_secret);
            plan.records.push(HolderRecord {
                agent: name.clone(),
                secret: in_force.map(|secret| self.vault.seal(&binding, secret.expose().as_bytes())),
                holder: Some(holder),
            });
        }
        plan.settled.push(Settled {
            handle,
            row: wanted,
            secret,
        });
    }

    fn opened(&self, record: &HolderRecord) -> Option<AgentSecret> {
        let agent = &record.agent;
        let binding = Binding::AgentSecret {
            agent,
            holder: record.holder.as_deref(),
        };
        match self.vault.open(&binding, record.secret.as_ref()?) {
            Ok(plain) => std::str::from_utf8(&plain).ok().map(AgentSecret::from),
            Err(error) => {
                tracing::error!(%agent, %error, "the agent gets another secret; its processes have to be restarted");
                None
            }
        }
    }

    /// Keeps the rows in step with the agents that there are, until `shutdown`.
    pub(super) async fn run_holders(&self, shutdown: CancellationToken) {
        let mut failing = false;
        loop {
            let next = async {
                match self.settle_holders().await {
                    Ok(()) => {
                        failing = false;
                        self.holders.changed.notified().await;
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut failing, true) {
                            tracing::error!(
                                %error,
                                "who holds which agent could not be written; trying again, and until then no agent is \
                                 given to another holder"
                            );
                        }
                        self.clock.sleep_until(self.uptime().after(RETRY)).await;
                    }
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = next => {}
            }
        }
    }
}
