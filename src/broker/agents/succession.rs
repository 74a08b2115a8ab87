//! An agent is given to another holder. That is a removal and a new agent, in that order: what the one before had ends
//! (streams, connections, secret, directory) before the new one is told anything.
//!
//! Whoever held the agent is taken out of the registry at once, so nothing that is open gives out anything more. The new one
//! is in the registry, and is not found by anybody but the operator, until the delivery side has cleared the directory and
//! the database remembers whose the agent is now.

use std::sync::Arc;

use super::{changes::Agents, holder_change::farewell};
use crate::{
    accounts::disconnect::DELIVERY_PATIENCE,
    id::AgentName,
    manifest::Manifest,
    registry::{
        events::{Event, EventKind},
        handle::AgentHandle,
        state::{AgentEntry, Registry, Standing},
    },
};

impl Agents {
    /// Somebody held this agent while a daemon ran last, and it is another's now: the delivery side clears what it finds.
    pub(in crate::broker) fn take_out_of_before(&self, registry: &mut Registry, manifest: &Arc<Manifest>) {
        let before = AgentHandle::new(manifest.agent.clone(), farewell(&self.context, manifest));
        before.mark_removed(farewell(&self.context, manifest), true);
        registry.leaving.add(&before);
        self.holders.disown(&manifest.agent);
        self.changes.changed(&before);
    }

    /// Nothing is left of an agent that is gone.
    pub(in crate::broker) fn cleared(&self, agent: &Arc<AgentHandle>) {
        if self.registry.lock().leaving.remove(agent) {
            self.holders.touch(agent.name());
        }
    }

    /// Publishes an agent whose name is its own by now. False when it was published before, or is gone.
    pub(in crate::broker) fn arrive(&self, agent: &Arc<AgentHandle>) -> bool {
        let mut registry = self.registry.lock();
        let name = agent.name();
        let waits = |entry: &&mut AgentEntry| entry.is_arriving() && Arc::ptr_eq(&entry.handle, agent);
        let Some(entry) = registry.agents.get_mut(name).filter(waits) else {
            return false;
        };
        entry.standing = Standing::Settled;
        let owner = entry.manifest.owner.clone();
        self.publisher.republish(&mut registry, [name.clone()]);
        drop(registry);
        tracing::info!(agent = %name, "the agent has its new holder");
        self.tell_of_agent(EventKind::AgentPut, name, Some(owner));
        true
    }

    /// Waits until whoever mounts the directory of this agent finds in it what was declared: the agent is published, it has
    /// its secret, and its files and socket are there, or could not be written. At most [`DELIVERY_PATIENCE`].
    pub(in crate::broker) async fn until_in_place(&self, name: &AgentName) {
        let in_place = async {
            self.until_arrived(name).await;
            let Some(handle) = self
                .agent_list
                .handle(name)
                .filter(|_| self.changes.is_followed())
            else {
                return;
            };
            if self.holders.has_secrets {
                handle.has_secret().await;
            }
            handle.delivered(handle.revision()).await;
        };
        let _ = tokio::time::timeout(DELIVERY_PATIENCE, in_place).await;
    }

    /// Waits until the agent of this name is published.
    async fn until_arrived(&self, name: &AgentName) {
        let waiting = {
            let registry = self.registry.lock();
            let entry = registry.agents.get(name).filter(|entry| entry.is_arriving());
            // What is said of it changes with its arrival, which takes the same lock.
            entry.map(|entry| (entry.handle.clone(), entry.handle.snapshot()))
        };
        if let Some((handle, seen)) = waiting {
            handle.next_snapshot(&seen).await;
        }
    }

    /// The delivery side reports that `revision` is on disk, or why it is not.
    pub fn note_delivered(&self, agent: &Arc<AgentHandle>, revision: u64, problem: Option<String>) {
        let snapshot = agent.snapshot();
        let event = Event {
            time: self.clock.now(),
            kind: EventKind::AgentDelivered,
            owner: Some(snapshot.manifest.owner.clone()),
            agent: Some(agent.name().clone()),
            integration: snapshot
                .main()
                .token
                .as_ref()
                .map(|token| token.integration.clone()),
            state: Some(snapshot.state),
            message: problem.clone().unwrap_or_default(),
            capabilities: snapshot.granted().cloned().collect(),
            expires_at: self.publisher.shown_end(snapshot.main().token.as_deref()),
        };
        let is_cleared = agent.is_gone_by(revision) && problem.is_none();
        agent.set_delivered(revision, problem);
        if is_cleared {
            self.cleared(agent);
        }
        self.events.emit(event);
    }
}
