//! Agents that were there when a daemon ran last, and whose manifests cannot be read now.
//!
//! A mistake in a file does not take away what its agent has, whether the daemon was restarted meanwhile or not. What the
//! agent may use is in the manifest alone, so it has no token; directory, socket and secret are as they were, and its files
//! say what is wrong.

use std::{path::Path, sync::Arc};

use super::{
    AgentHandle, AgentSnapshot, AgentSource, Broker,
    holders::Before,
    succession::without_token,
    world::{AgentEntry, Keys, Standing, World},
};
use crate::{
    agent::{Holder, Manifest},
    id::AgentName,
    text,
};

impl Broker {
    /// Keeps the agents that a daemon knew before and that nothing declares, because any of the files that cannot be read
    /// may be theirs.
    pub(super) fn keep_undeclared(&self, world: &mut World, folder: &Arc<Path>) {
        for (name, before) in self.undeclared(world) {
            match before {
                Before::Holder(holder) => {
                    self.keep_as_it_was(world, &name, &holder, AgentSource::File(folder.clone()));
                }
                // Only a version that did not write holders down leaves this. Whose it is shows when it is declared.
                Before::Nobody => _ = world.spared.insert(name),
                // It is another's by now.
                Before::Somebody => {}
            }
        }
    }

    /// Everything that was declared could be read: what is not declared is gone.
    pub(super) fn spare_nobody(&self, world: &mut World) {
        for name in std::mem::take(&mut world.spared) {
            self.holders.touch(&name);
        }
    }

    /// Keeps an agent of the API whose record cannot be used, where it is known who held it.
    pub(super) fn keep_unusable(&self, world: &mut World, name: &AgentName) {
        if let Before::Holder(holder) = self.holders.held_before(name) {
            self.keep_as_it_was(world, name, &holder, AgentSource::Api);
        }
    }

    fn keep_as_it_was(&self, world: &mut World, name: &AgentName, holder: &Holder, source: AgentSource) {
        let manifest = Arc::new(holder.undeclared(name.clone()));
        let handle = AgentHandle::new(name.clone(), kept(&manifest));
        self.changes.changed(&handle);
        world.insert_agent(AgentEntry {
            handle,
            manifest,
            source,
            standing: Standing::Kept,
            keys: Keys::default(),
        });
        self.holders.touch(name);
        tracing::warn!(agent = %name, "what the agent declares cannot be read; it keeps its directory, without a token");
    }

    /// The agents that a daemon knew before and that nothing has declared since.
    pub fn undeclared_agents(&self) -> Vec<AgentName> {
        let held = self.undeclared(&self.world()).into_iter();
        held.filter(|(_, before)| !matches!(before, Before::Somebody))
            .map(|(name, _)| name)
            .collect()
    }

    fn undeclared(&self, world: &World) -> Vec<(AgentName, Before)> {
        let is_declared = |name: &AgentName| world.agents.contains_key(name) || world.leaving.contains(name);
        let mut held = self.holders.unsettled();
        held.retain(|(name, _)| !is_declared(name));
        held
    }

    /// Agents of which nothing is touched before everything that is declared could be read.
    pub fn spared_agents(&self) -> Vec<AgentName> {
        self.world().spared.iter().cloned().collect()
    }
}

fn kept(manifest: &Arc<Manifest>) -> AgentSnapshot {
    let message = format!(
        "What the agent `{}` declares cannot be read since the daemon was started. It keeps its directory, without a \
         token, until it can: `token-broker status` tells the operator what is wrong.",
        manifest.agent
    );
    without_token(manifest, message)
}

/// Which agents are kept because of manifests that cannot be read, in a sentence.
pub(super) fn told(world: &World) -> Option<String> {
    let is_kept = |entry: &&AgentEntry| entry.is_kept() && matches!(entry.source, AgentSource::File(_));
    let kept = world
        .agents
        .values()
        .filter(is_kept)
        .map(|entry| entry.handle.name());
    let names: Vec<&str> = kept.chain(&world.spared).map(AgentName::as_str).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{}: known from before the start and declared by no manifest that can be read; each keeps its \
             directory and its secret, without a token, until all manifests can be read",
            text::few(&names)
        )
    })
}
