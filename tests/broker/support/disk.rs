//! The delivery side of a scene: what the agents' directories hold.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use jiff::Timestamp;
use token_broker::broker::{AgentHandle, Broker, ChangeReceiver};

/// A token in a directory.
#[derive(Clone)]
struct Held {
    token: String,
    /// When it ends, as `env` says it.
    end: Timestamp,
}

/// What the agents' directories hold.
#[derive(Default)]
pub(crate) struct Disk {
    tokens: Mutex<BTreeMap<String, Option<Held>>>,
    stuck: Mutex<Vec<String>>,
    /// What could not be written meanwhile.
    waiting: Mutex<Vec<Arc<AgentHandle>>>,
}

impl Disk {
    /// The token in an agent's directory; `None` without one, or without a directory.
    pub(crate) fn token(&self, agent: &str) -> Option<String> {
        self.held(agent).map(|held| held.token)
    }

    /// When that token ends, as `env` says it.
    pub(crate) fn end(&self, agent: &str) -> Option<Timestamp> {
        self.held(agent).map(|held| held.end)
    }

    fn held(&self, agent: &str) -> Option<Held> {
        self.tokens.lock().unwrap().get(agent).cloned().flatten()
    }

    pub(crate) fn has_directory(&self, agent: &str) -> bool {
        self.tokens.lock().unwrap().contains_key(agent)
    }

    /// The agent's directory cannot be written.
    pub(crate) fn jam(&self, agent: &str) {
        self.stuck.lock().unwrap().push(agent.to_owned());
    }

    /// It can be written again, and what waited is.
    pub(crate) fn unjam(&self, broker: &Broker, agent: &str) {
        self.stuck.lock().unwrap().retain(|stuck| stuck != agent);
        let mut waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        waiting.dedup_by(|a, b| Arc::ptr_eq(a, b));
        for handle in &waiting {
            self.write(broker, handle);
        }
    }

    fn write(&self, broker: &Broker, agent: &Arc<AgentHandle>) {
        let name = agent.name().to_string();
        if self.stuck.lock().unwrap().contains(&name) {
            self.waiting.lock().unwrap().push(agent.clone());
            return;
        }
        let revision = agent.revision();
        let snapshot = agent.snapshot();
        let mut tokens = self.tokens.lock().unwrap();
        if agent.is_removed() {
            tokens.remove(&name);
        } else {
            let now = broker.moment();
            let held = snapshot.main().living_token(now.uptime).map(|token| Held {
                token: token.access_token.expose().to_owned(),
                end: now.wall_at(token.expires_at),
            });
            tokens.insert(name, held);
        }
        drop(tokens);
        broker.agents.note_delivered(agent, revision, None);
    }
}

pub(crate) async fn deliver(broker: Arc<Broker>, mut changes: ChangeReceiver, disk: Arc<Disk>) {
    while let Some(agent) = changes.next().await {
        disk.write(&broker, &agent);
    }
}
