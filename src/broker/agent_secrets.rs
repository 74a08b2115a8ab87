//! A secret per agent, for credential files: agents that use one are not known by a mount.
//!
//! It stays the same over restarts, because Google's libraries read the file once in a process's life, and it ends
//! with the agent: one that is removed and comes back has another.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    AgentHandle, Broker,
    repeats::{Charged, shown},
};
use crate::{
    budget::Peer,
    clock::{self, Clock},
    id::AgentName,
    secret::AgentSecret,
    store::{AgentSecretRecord, StoreError},
    telemetry::audit::{Actor, AuditEvent, Concern, Decision},
    vault::{Binding, Sealed},
};

/// How long after the database failed the next attempt is made.
const RETRY: Duration = Duration::from_secs(5);

/// The secrets' own part of the broker.
pub(super) struct AgentSecrets {
    /// False where no credential files are written: then there are no secrets.
    wanted: bool,
    /// Agents that came or went since their secrets were last settled.
    touched: Mutex<BTreeSet<AgentName>>,
    changed: Notify,
    /// The rows there are. What an agent has in memory already is not kept here.
    rows: tokio::sync::Mutex<BTreeMap<AgentName, Option<Sealed>>>,
}

impl AgentSecrets {
    pub(super) fn new(wanted: bool, records: Vec<AgentSecretRecord>) -> Self {
        Self {
            wanted,
            touched: Mutex::new(records.iter().map(|record| record.agent.clone()).collect()),
            changed: Notify::new(),
            rows: tokio::sync::Mutex::new(
                records
                    .into_iter()
                    .map(|record| (record.agent, Some(record.secret)))
                    .collect(),
            ),
        }
    }

    /// An agent came or went.
    pub(super) fn touch(&self, agent: &AgentName) {
        if self.wanted {
            self.touch_all([agent.clone()]);
        }
    }

    fn touch_all(&self, agents: impl IntoIterator<Item = AgentName>) {
        lock(&self.touched).extend(agents);
        self.changed.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Each change under these locks is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is to be written, and what follows from it once it is.
#[derive(Default)]
struct Plan {
    records: Vec<AgentSecretRecord>,
    gone: Vec<AgentName>,
    given: Vec<(Arc<AgentHandle>, AgentSecret)>,
}

impl Broker {
    /// Gives every agent that has none a secret, and forgets those of agents that are gone. An agent learns its
    /// secret when it is on disk, so that none is in use that a restart would forget.
    ///
    /// # Errors
    /// When the database cannot be written. What was left undone is done next time.
    pub async fn settle_agent_secrets(&self) -> Result<(), StoreError> {
        let mut rows = self.agent_secrets.rows.lock().await;
        let touched = std::mem::take(&mut *lock(&self.agent_secrets.touched));
        let plan = self.plan(&touched, &rows);
        let gone = plan.gone.clone();
        if !plan.records.is_empty() || !gone.is_empty() {
            let written = self.store.change_agent_secrets(plan.records, plan.gone).await;
            if let Err(error) = written {
                self.agent_secrets.touch_all(touched);
                return Err(error);
            }
        }
        for agent in gone {
            rows.remove(&agent);
        }
        for (handle, secret) in plan.given {
            rows.insert(handle.name().clone(), None);
            handle.set_secret(secret);
            self.changes.changed(&handle);
        }
        Ok(())
    }

    fn plan(&self, touched: &BTreeSet<AgentName>, rows: &BTreeMap<AgentName, Option<Sealed>>) -> Plan {
        let mut plan = Plan::default();
        for name in touched {
            let handle = self.handle(name).filter(|_| self.agent_secrets.wanted);
            let Some(handle) = handle else {
                if rows.contains_key(name) {
                    plan.gone.push(name.clone());
                }
                continue;
            };
            if handle.secret().is_some() {
                continue;
            }
            let known = rows.get(name).and_then(Option::as_ref);
            let secret = known
                .and_then(|sealed| self.opened(name, sealed))
                .unwrap_or_else(|| {
                    let secret = AgentSecret::from(self.entropy.token());
                    plan.records.push(AgentSecretRecord {
                        agent: name.clone(),
                        secret: self
                            .vault
                            .seal(&Binding::AgentSecret(name), secret.expose().as_bytes()),
                    });
                    secret
                });
            plan.given.push((handle, secret));
        }
        plan
    }

    fn opened(&self, agent: &AgentName, sealed: &Sealed) -> Option<AgentSecret> {
        match self.vault.open(&Binding::AgentSecret(agent), sealed) {
            Ok(plain) => std::str::from_utf8(&plain).ok().map(AgentSecret::from),
            Err(error) => {
                tracing::error!(%agent, %error, "the agent gets another secret; its processes have to be restarted");
                None
            }
        }
    }

    /// Keeps the secrets in step with the agents that there are, until `shutdown`.
    pub(super) async fn run_agent_secrets(&self, shutdown: CancellationToken) {
        let mut failing = false;
        loop {
            let next = async {
                match self.settle_agent_secrets().await {
                    Ok(()) => {
                        failing = false;
                        self.agent_secrets.changed.notified().await;
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut failing, true) {
                            tracing::error!(%error, "agents' secrets could not be written; trying again");
                        }
                        self.clock
                            .sleep_until(clock::after(self.clock.now(), RETRY))
                            .await;
                    }
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = next => {}
            }
        }
    }

    /// The agent of this name that proves itself with `secret`. What is wrong goes into the audit trail, with where it
    /// came from.
    pub fn authenticate(
        &self,
        name: &str,
        secret: &AgentSecret,
        from: Option<Peer>,
    ) -> Option<Arc<AgentHandle>> {
        let handle = name.parse().ok().and_then(|name| self.handle(&name));
        let known = handle.filter(|handle| handle.secret().is_some_and(|own| own == secret));
        if known.is_none() {
            self.note_wrong_secret(from);
        }
        known
    }

    /// A name that is wrong may be a secret in the wrong place, so the trail does not repeat it.
    fn note_wrong_secret(&self, from: Option<Peer>) {
        const WHAT: &str = "a wrong name or secret at the agents' token endpoint";
        let event = AuditEvent {
            time: self.now(),
            actor: Actor::Daemon,
            action: "agent.refused",
            integration: None,
            capabilities: Vec::new(),
            decision: Decision::Denied,
            detail: format!("{WHAT}, from {}", shown(from)),
            concern: Concern::default(),
        };
        if self
            .recorder
            .record_repeatable(event, WHAT, &Charged::Unproven(from))
        {
            tracing::warn!(from = shown(from), "{WHAT}");
        }
    }
}
