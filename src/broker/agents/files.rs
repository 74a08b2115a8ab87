//! Agents that come from files.

use std::{borrow::Cow, path::Path};

use super::{changes::Agents, kept};
use crate::{
    id::AgentName,
    manifest::{ManifestFile, Scan},
    registry::{
        events::EventKind,
        handle::AgentHandle,
        state::{AgentEntry, AgentSource, Registry},
    },
    telemetry::audit::{Actor, Concern},
    text::{ShowPath, one_line},
};

impl Agents {
    /// Brings the agents that come from files in line with what the folder holds now. Returns what could not
    /// be followed, one sentence each.
    pub fn apply_scan(&self, scan: &Scan) -> Vec<String> {
        let mut registry = self.registry.lock();
        let is_gone = |(name, entry): &(&AgentName, &AgentEntry)| {
            let is_from_file = matches!(entry.source, AgentSource::File(_));
            let may_be_declared = entry.is_kept() && scan.unread.is_some();
            is_from_file && !may_be_declared && !scan.manifests.contains_key(*name)
        };
        let gone = registry.agents.iter().filter(is_gone);
        let gone: Vec<AgentName> = gone.map(|(name, _)| name.clone()).collect();
        for name in gone {
            let removed = self.take_out(&mut registry, &name, false);
            let concern = removed.as_deref().map(AgentHandle::concern).unwrap_or_default();
            let kind = EventKind::AgentRemoved;
            let owner = concern.owner.clone();
            self.audit
                .record(self.agent_event(Actor::Daemon, kind, &name, concern, ""));
            self.tell_of_agent(kind, &name, owner);
        }
        registry.waiting.clear();
        for (name, file) in &scan.manifests {
            let entry = registry.agents.get(name);
            if entry.is_some_and(|entry| entry.source == AgentSource::Api) {
                registry.waiting.insert(name.clone(), file.clone());
            } else {
                self.follow(&mut registry, name, file);
            }
        }
        match &scan.unread {
            Some(folder) => self.keep_undeclared(&mut registry, folder),
            None => self.spare_nobody(&mut registry),
        }
        let problems = scan.problems.iter().map(|problem| problem.message.clone());
        registry.unreadable = problems.collect();
        registry.unreadable.dedup();
        not_followed(&registry)
    }

    /// The name was given back over the API: a file that waits for it is followed.
    pub(in crate::broker) fn follow_waiting(&self, name: &AgentName) {
        let mut registry = self.registry.lock();
        if let Some(file) = registry.waiting.remove(name) {
            self.follow(&mut registry, name, &file);
        }
    }

    /// Has the agent be what a file declares.
    fn follow(&self, registry: &mut Registry, name: &AgentName, file: &ManifestFile) {
        let source = AgentSource::File(file.path.clone());
        if let Some(put) = self.upsert(registry, file.manifest.clone(), source) {
            let concern = Concern::agent(&file.manifest.owner, name);
            for line in self.put_lines(&Actor::Daemon, name, concern, put.replaced.as_ref()) {
                self.audit.record(line);
            }
            self.tell_put(&file.manifest, &put);
        }
    }

    /// Manifests that could not be followed, one sentence each.
    pub fn manifest_problems(&self) -> Vec<String> {
        let problems = not_followed(&self.registry.lock());
        // A line each, whatever the files are called.
        let lines = problems.iter().map(|problem| one_line(problem, &[]));
        lines.map(Cow::into_owned).collect()
    }
}

fn not_followed(registry: &Registry) -> Vec<String> {
    let waiting = registry
        .waiting
        .iter()
        .map(|(name, file)| waits(name, &file.path));
    let kept = kept::told(registry);
    registry
        .unreadable
        .iter()
        .cloned()
        .chain(waiting)
        .chain(kept)
        .collect()
}

fn waits(name: &AgentName, path: &Path) -> String {
    format!(
        "{}: the agent `{name}` was added over the API already; `token-broker agents remove {name}` makes room for the file",
        path.shown()
    )
}
