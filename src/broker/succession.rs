//! An agent is given to another holder. That is a removal and a new agent, in that order: what the one before had ends
//! (streams, connections, secret, directory) before the new one is told anything.
//!
//! Whoever held the agent is taken out of the world at once, so nothing that is open gives out anything more. The new one
//! is in the world, and is not found by anybody but the operator, until the delivery side has cleared the directory and
//! the database remembers whose the agent is now.

use std::{sync::Arc, time::Duration};

use super::{
    AgentHandle, AgentSnapshot, Broker, EventKind,
    choice::the_account,
    snapshot::{AgentState, Feed},
    world::{AgentEntry, Standing, World},
};
use crate::{
    agent::{Holder, Manifest},
    catalog::IntegrationKind,
    id::AgentName,
};

/// The manifest's fields that make `after` another holder than `before`; none when it is the same.
pub(super) fn changes(world: &World, before: &Holder, after: &Holder) -> Vec<&'static str> {
    before.differences(after, |kind| {
        let used = |holder: &Holder| {
            let account = the_account(world, holder.owner(), kind, holder.account(kind))?;
            Some(account.record.id.clone())
        };
        // One account may have several addresses, and needs none where the owner has no other.
        used(before).is_some_and(|account| Some(account) == used(after))
    })
}

/// What an agent is told that is gone.
pub(super) fn farewell(manifest: &Arc<Manifest>) -> AgentSnapshot {
    without_token(manifest, format!("The agent `{}` was removed.", manifest.agent))
}

/// What is so of an agent that is given to another holder, until the one before has nothing left.
pub(super) fn arriving(manifest: &Arc<Manifest>) -> AgentSnapshot {
    let message = format!(
        "The agent `{}` was given to another holder. What the one before had is taken away first.",
        manifest.agent
    );
    without_token(manifest, message)
}

/// An agent's situation when it has no token, for what is to be done to its manifest.
pub(super) fn without_token(manifest: &Arc<Manifest>, message: String) -> AgentSnapshot {
    AgentSnapshot {
        manifest: manifest.clone(),
        state: AgentState::Misconfigured,
        message,
        action_url: None,
        capabilities: Arc::default(),
        main: Feed::empty(IntegrationKind::Google, None),
        beside: None,
    }
}

impl Broker {
    /// Somebody held this agent while a daemon ran last, and it is another's now: the delivery side clears what it finds.
    pub(super) fn take_out_of_before(&self, world: &mut World, manifest: &Arc<Manifest>) {
        let before = AgentHandle::new(manifest.agent.clone(), farewell(manifest));
        before.mark_removed(farewell(manifest), true);
        world.leaving.add(&before);
        self.holders.disown(&manifest.agent);
        self.changes.changed(&before);
    }

    /// Nothing is left of an agent that is gone.
    pub(super) fn cleared(&self, agent: &Arc<AgentHandle>) {
        if self.world().leaving.remove(agent) {
            self.holders.touch(agent.name());
        }
    }

    /// Publishes an agent whose name is its own by now. False when it was published before, or is gone.
    pub(super) fn arrive(&self, agent: &Arc<AgentHandle>) -> bool {
        let mut world = self.world();
        let name = agent.name();
        let waits = |entry: &&mut AgentEntry| entry.is_arriving() && Arc::ptr_eq(&entry.handle, agent);
        let Some(entry) = world.agents.get_mut(name).filter(waits) else {
            return false;
        };
        entry.standing = Standing::Settled;
        self.republish(&mut world, [name.clone()]);
        drop(world);
        tracing::info!(agent = %name, "the agent has its new holder");
        self.tell_of_agent(EventKind::AgentPut, name);
        true
    }

    /// Waits until the agent of this name is published, at most so long.
    pub(super) async fn until_arrived(&self, name: &AgentName, patience: Duration) {
        let waiting = {
            let world = self.world();
            let entry = world.agents.get(name).filter(|entry| entry.is_arriving());
            // What is said of it changes with its arrival, which takes the same lock.
            entry.map(|entry| (entry.handle.clone(), entry.handle.snapshot()))
        };
        if let Some((handle, seen)) = waiting {
            let _ = tokio::time::timeout(patience, handle.next_snapshot(&seen)).await;
        }
    }
}
