//! Agents that were there when a daemon ran last, and whose manifests cannot be read now.
//!
//! A mistake in a file does not take away what its agent has, whether the daemon was restarted meanwhile or not. What the
//! agent may use is in the manifest alone, so it has no token; directory, socket and secret are as they were, and its files
//! say what is wrong.

use std::{path::Path, sync::Arc};

use super::{changes::Agents, holder_change::without_token, holders::Before};
use crate::{
    id::AgentName,
    manifest::{Holder, Manifest},
    policy::context::PolicyContext,
    registry::{
        handle::AgentHandle,
        keys::Keys,
        snapshot::AgentSnapshot,
        state::{AgentEntry, AgentSource, Registry, Standing},
    },
    text,
};

impl Agents {
    /// Keeps the agents that a daemon knew before and that nothing declares, because any of the files that cannot be read
    /// may be theirs.
    pub(in crate::broker) fn keep_undeclared(&self, registry: &mut Registry, folder: &Arc<Path>) {
        for (name, before) in self.undeclared(registry) {
            match before {
                Before::Holder(holder) => {
                    self.keep_as_it_was(registry, &name, &holder, AgentSource::File(folder.clone()));
                }
                // Only a version that did not write holders down leaves this. Whose it is shows when it is declared.
                Before::Nobody => _ = registry.spared.insert(name),
                // It is another's by now.
                Before::Somebody => {}
            }
        }
    }

    /// Everything that was declared could be read: what is not declared is gone.
    pub(in crate::broker) fn spare_nobody(&self, registry: &mut Registry) {
        for name in std::mem::take(&mut registry.spared) {
            self.holders.touch(&name);
        }
    }

    /// Keeps an agent of the API whose record cannot be used, where it is known who held it.
    pub(in crate::broker) fn keep_unusable(&self, registry: &mut Registry, name: &AgentName) {
        if let Before::Holder(holder) = self.holders.held_before(name) {
            self.keep_as_it_was(registry, name, &holder, AgentSource::Api);
        }
    }

    fn keep_as_it_was(
        &self,
        registry: &mut Registry,
        name: &AgentName,
        holder: &Holder,
        source: AgentSource,
    ) {
        let manifest = Arc::new(holder.undeclared(name.clone()));
        let handle = AgentHandle::new(name.clone(), kept(&self.context, &manifest));
        self.changes.changed(&handle);
        registry.insert_agent(AgentEntry {
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
        let held = self.undeclared(&self.registry.lock()).into_iter();
        held.filter(|(_, before)| !matches!(before, Before::Somebody))
            .map(|(name, _)| name)
            .collect()
    }

    fn undeclared(&self, registry: &Registry) -> Vec<(AgentName, Before)> {
        let is_declared =
            |name: &AgentName| registry.agents.contains_key(name) || registry.leaving.contains(name);
        let mut held = self.holders.unsettled();
        held.retain(|(name, _)| !is_declared(name));
        held
    }

    /// Agents of which nothing is touched before everything that is declared could be read.
    pub fn spared_agents(&self) -> Vec<AgentName> {
        self.registry.lock().spared.iter().cloned().collect()
    }
}

fn kept(context: &PolicyContext, manifest: &Arc<Manifest>) -> AgentSnapshot {
    let message = format!(
        "What the agent `{}` declares cannot be read since the daemon was started. It keeps its directory, without a \
         token, until it can: `token-broker status` tells the operator what is wrong.",
        manifest.agent
    );
    without_token(context, manifest, message)
}

/// Which agents are kept because of manifests that cannot be read, in a sentence.
pub(in crate::broker) fn told(registry: &Registry) -> Option<String> {
    let is_kept = |entry: &&AgentEntry| entry.is_kept() && matches!(entry.source, AgentSource::File(_));
    let kept = registry
        .agents
        .values()
        .filter(is_kept)
        .map(|entry| entry.handle.name());
    let names: Vec<&str> = kept.chain(&registry.spared).map(AgentName::as_str).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{}: known from before the start and declared by no manifest that can be read; each keeps its \
             directory and its secret, without a token, until all manifests can be read",
            text::few(&names)
        )
    })
}
