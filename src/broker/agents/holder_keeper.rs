//! Keeps the rows of holders in step with the agents that there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::BuildHasher,
    sync::Arc,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    changes::Agents,
    holders::{Holders, Row, lock},
};
use crate::{
    entropy::SharedEntropy,
    id::AgentName,
    manifest::Holder,
    registry::{
        handle::{AgentHandle, ChangeSender},
        state::SharedRegistry,
        time::BrokerClock,
    },
    renewal::services::Services,
    secret::AgentSecret,
    store::{HolderRecord, SharedStore, StoreError},
    vault::{Binding, Vault},
};

/// How long after the database failed the next attempt is made.
const RETRY: Duration = Duration::from_secs(5);

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

/// Keeps in the database who holds which agent, with each agent's secret.
pub struct HolderKeeper {
    changes: ChangeSender,
    clock: Arc<BrokerClock>,
    entropy: SharedEntropy,
    holders: Arc<Holders>,
    registry: Arc<SharedRegistry>,
    store: SharedStore,
    vault: Arc<Vault>,
    agents: Arc<Agents>,
}

impl HolderKeeper {
    /// With what it needs of the parts before it.
    pub(in crate::broker) fn new(services: &Services, agents: &Arc<Agents>) -> Arc<Self> {
        Arc::new(Self {
            changes: services.changes.clone(),
            clock: services.clock.clone(),
            entropy: services.entropy.clone(),
            holders: agents.holders.clone(),
            registry: services.registry.clone(),
            store: services.store.clone(),
            vault: services.vault.clone(),
            agents: agents.clone(),
        })
    }

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
            if !self.agents.arrive(&handle) && is_new {
                self.changes.changed(&handle);
            }
        }
        Ok(())
    }

    fn plan(&self, touched: &BTreeSet<AgentName>, rows: &BTreeMap<AgentName, Row>) -> Plan {
        let mut plan = Plan::default();
        for name in touched {
            let present = {
                let registry = self.registry.lock();
                if registry.leaving.contains(name) {
                    // Until then the row says whose things are still there. It is touched again.
                    continue;
                }
                if registry.spared.contains(name) {
                    continue;
                }
                registry.agents.get(name).map(|entry| Present {
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
    pub(in crate::broker) async fn run_holders(&self, shutdown: CancellationToken) {
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
                        self.clock.sleep_until(self.clock.uptime().after(RETRY)).await;
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
