//! Agents come and go.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    AgentHandle, AgentSnapshot, AgentSource, Broker, Event, EventKind,
    repeats::{Charged, shown},
    situation::situation,
    snapshot::{AgentState, Feed},
    world::{AgentEntry, Keys, World},
};
use crate::{
    agent::{Manifest, ManifestError, PodIdentity, Scan},
    budget::Peer,
    catalog::IntegrationKind,
    id::{AgentName, OwnerId},
    store::{AgentRecord, StoreError},
    telemetry::audit::{Actor, AuditEvent, Concern, Decision},
};

/// Why an agent was not added or removed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No such agent.
    #[error("there is no agent `{0}`: `token-broker agents list` shows those there are")]
    Unknown(AgentName),
    /// Files belong to the operator.
    #[error("the agent `{name}` comes from the file {file}: change or remove that file instead")]
    FromFile {
        /// Which agent.
        name: AgentName,
        /// Which file.
        file: String,
    },
    /// The manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An agent as the operator sees it.
pub struct AgentView {
    /// Its situation.
    pub snapshot: Arc<AgentSnapshot>,
    /// Where it was declared.
    pub source: AgentSource,
    /// When its token is renewed next.
    pub next_renewal: Option<Timestamp>,
    /// When its socket handed it a token last, since the daemon started. Reading a file leaves no trace.
    pub last_used: Option<Timestamp>,
    /// What went wrong writing its directory.
    pub delivery_problem: Option<String>,
}

impl Broker {
    /// Adds or replaces an agent over the API.
    pub async fn put_agent(
        self: &Arc<Self>,
        manifest: Manifest,
        actor: Actor,
    ) -> Result<AgentView, AgentError> {
        manifest.validate(self.catalog())?;
        let broker = self.clone();
        // To its end, so that memory and database agree also when the caller goes away.
        let work = async move { broker.put(manifest, actor).await };
        self.flights
            .spawn(work)
            .await
            .unwrap_or(Err(AgentError::Store(StoreError::Closed)))
    }

    async fn put(&self, manifest: Manifest, actor: Actor) -> Result<AgentView, AgentError> {
        let _changing = self.agent_changes.lock().await;
        let name = manifest.agent.clone();
        self.refuse_file_agent(&name)?;
        let concern = Concern::agent(&manifest.owner, &name);
        let record = AgentRecord {
            name: name.clone(),
            manifest: manifest.to_json(),
        };
        self.store.put_agent(record).await?;
        if let Err(taken) = self.refuse_file_agent(&name) {
            // A file came first after all.
            self.store.delete_agent(&name).await?;
            return Err(taken);
        }
        let changed = {
            let mut world = self.world();
            self.upsert(&mut world, Arc::new(manifest), AgentSource::Api)
        };
        if changed {
            self.note_agent(actor, EventKind::AgentPut, &name, concern, Decision::Allowed);
        }
        self.agent(&name).ok_or(AgentError::Unknown(name))
    }

    /// Removes an agent that came over the API; its directory and socket go at once.
    pub async fn delete_agent(self: &Arc<Self>, name: &AgentName, actor: Actor) -> Result<(), AgentError> {
        let (broker, name) = (self.clone(), name.clone());
        let work = async move { broker.delete(&name, actor).await };
        self.flights
            .spawn(work)
            .await
            .unwrap_or(Err(AgentError::Store(StoreError::Closed)))
    }

    async fn delete(&self, name: &AgentName, actor: Actor) -> Result<(), AgentError> {
        let changing = self.agent_changes.lock().await;
        self.refuse_file_agent(name)?;
        let removed = {
            let mut world = self.world();
            self.take_out(&mut world, name)
        };
        let stored = self.store.delete_agent(name).await;
        drop(changing);
        if removed.is_none() && matches!(stored, Ok(false)) {
            return Err(AgentError::Unknown(name.clone()));
        }
        // Where the database fails, the agent is gone now and would be back after a restart.
        let decision = if stored.is_ok() {
            Decision::Allowed
        } else {
            Decision::Failed
        };
        let concern = removed.as_deref().map(AgentHandle::concern).unwrap_or_default();
        self.note_agent(actor, EventKind::AgentRemoved, name, concern, decision);
        stored?;
        if let Some(handle) = removed {
            let revision = handle.revision();
            let _ =
                tokio::time::timeout(super::disconnect::DELIVERY_PATIENCE, handle.delivered(revision)).await;
        }
        Ok(())
    }

    fn refuse_file_agent(&self, name: &AgentName) -> Result<(), AgentError> {
        match self.world().agents.get(name).map(|entry| &entry.source) {
            Some(AgentSource::File(file)) => Err(AgentError::FromFile {
                name: name.clone(),
                file: file.display().to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Brings the agents that come from files in line with what the folder holds now. Returns what could not
    /// be followed, one sentence each.
    pub fn apply_scan(&self, scan: &Scan) -> Vec<String> {
        let mut world = self.world();
        let mut problems: Vec<String> = scan
            .problems
            .iter()
            .map(|problem| problem.message.clone())
            .collect();
        let gone: Vec<AgentName> = world
            .agents
            .iter()
            .filter(|(name, entry)| {
                matches!(entry.source, AgentSource::File(_)) && !scan.manifests.contains_key(*name)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            let removed = self.take_out(&mut world, &name);
            let concern = removed.as_deref().map(AgentHandle::concern).unwrap_or_default();
            self.note_agent(
                Actor::Daemon,
                EventKind::AgentRemoved,
                &name,
                concern,
                Decision::Allowed,
            );
        }
        for (name, file) in &scan.manifests {
            if world
                .agents
                .get(name)
                .is_some_and(|entry| entry.source == AgentSource::Api)
            {
                problems.push(format!(
                    "{}: the agent `{name}` was added over the API already; `token-broker agents remove {name}` \
                     makes room for the file",
                    file.path.display()
                ));
                continue;
            }
            let source = AgentSource::File(file.path.clone());
            if self.upsert(&mut world, file.manifest.clone(), source) {
                let concern = Concern::agent(&file.manifest.owner, name);
                self.note_agent(
                    Actor::Daemon,
                    EventKind::AgentPut,
                    name,
                    concern,
                    Decision::Allowed,
                );
            }
        }
        drop(world);
        problems.dedup();
        self.manifest_problems
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone_from(&problems);
        problems
    }

    /// A pod was given an agent's directory as a volume. `detail` names the pod.
    pub fn note_volume(&self, agent: &AgentName, detail: &str) {
        let event = self.pod_event(agent, "volume.publish", Decision::Allowed, detail);
        self.recorder.record(event);
    }

    /// A pod that is known to run as `identity` was refused an agent's directory. `detail` names the pod and says why.
    pub fn note_volume_refused(&self, agent: &AgentName, identity: &PodIdentity, detail: &str) {
        let event = self.pod_event(agent, "volume.publish", Decision::Denied, detail);
        let party = identity.to_string();
        self.recorder.record_repeatable(
            event,
            "the directory of an agent, to a pod",
            &Charged::Known(&party),
        );
    }

    /// A pod reached an agent's tokens over TLS. `detail` names the pod.
    pub fn note_remote(&self, agent: &AgentName, detail: &str) {
        let event = self.pod_event(agent, "remote.use", Decision::Allowed, detail);
        self.recorder.record(event);
    }

    /// A client that proved nothing was refused an agent's tokens. `detail` says why.
    pub fn note_remote_unproven(&self, from: Option<Peer>, detail: &str) {
        const WHAT: &str = "agents' tokens, to clients that prove nothing";
        let event = AuditEvent {
            detail: format!("{WHAT}, at {}: {detail}", shown(from)),
            ..AuditEvent::new(self.now(), Actor::Daemon, "remote.use", Decision::Denied)
        };
        self.recorder
            .record_repeatable(event, WHAT, &Charged::Unproven(from));
    }

    /// A pod that proved to run as `identity` was refused an agent's tokens. `detail` says why.
    pub fn note_remote_refused(&self, agent: &AgentName, identity: &PodIdentity, detail: &str) {
        let event = self.pod_event(agent, "remote.use", Decision::Denied, detail);
        let party = identity.to_string();
        self.recorder
            .record_repeatable(event, "the tokens of an agent, to a pod", &Charged::Known(&party));
    }

    fn pod_event(
        &self,
        agent: &AgentName,
        action: &'static str,
        decision: Decision,
        detail: &str,
    ) -> AuditEvent {
        let entry = self.world().agents.get(agent).map(|entry| entry.handle.clone());
        let what = if action == "volume.publish" {
            "directory"
        } else {
            "tokens"
        };
        AuditEvent {
            detail: format!("the {what} of the agent {agent} {detail}"),
            concern: entry.as_deref().map(AgentHandle::concern).unwrap_or_default(),
            ..AuditEvent::new(self.now(), Actor::Daemon, action, decision)
        }
    }

    /// Manifests that could not be followed, one sentence each.
    pub fn manifest_problems(&self) -> Vec<String> {
        self.manifest_problems
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// Adds an agent or replaces what it declared. False when nothing changed.
    pub(super) fn upsert(&self, world: &mut World, manifest: Arc<Manifest>, source: AgentSource) -> bool {
        let name = manifest.agent.clone();
        if let Some(entry) = world.agents.get_mut(&name) {
            if entry.manifest == manifest {
                entry.source = source;
                return false;
            }
            // It keeps its token until it is found to use another, so that a change of no consequence to the
            // token costs no request.
            let (handle, keys) = (entry.handle.clone(), std::mem::take(&mut entry.keys));
            world.insert_agent(AgentEntry {
                handle,
                manifest,
                source,
                keys,
            });
            self.republish(world, [name]);
            return true;
        }
        let snapshot = situation(world, &self.around, &manifest, self.now()).snapshot;
        let state = snapshot.state;
        let handle = AgentHandle::new(name.clone(), snapshot);
        self.changes.changed(&handle);
        world.insert_agent(AgentEntry {
            handle,
            manifest,
            source,
            keys: Keys::default(),
        });
        self.republish(world, [name.clone()]);
        self.agent_secrets.touch(&name);
        tracing::info!(agent = %name, state = state.as_str(), "agent added");
        true
    }

    fn take_out(&self, world: &mut World, name: &AgentName) -> Option<Arc<AgentHandle>> {
        let entry = world.remove_agent(name)?;
        for key in entry.keys.iter() {
            if let Some(orphan) = world.leave(name, key.clone()) {
                self.renewals.cancel(&orphan);
            }
        }
        self.recorder.last_uses(self.now(), &entry.handle);
        entry.handle.mark_removed(farewell(&entry.manifest));
        self.changes.changed(&entry.handle);
        self.agent_secrets.touch(name);
        tracing::info!(agent = %name, "agent removed");
        Some(entry.handle)
    }

    fn note_agent(
        &self,
        actor: Actor,
        kind: EventKind,
        name: &AgentName,
        concern: Concern,
        decision: Decision,
    ) {
        let time = self.now();
        self.recorder.record(AuditEvent {
            time,
            actor,
            action: kind.as_str(),
            integration: None,
            capabilities: Vec::new(),
            decision,
            detail: format!("agent {name}"),
            concern,
        });
        self.emit(Event {
            time,
            kind,
            agent: Some(name.clone()),
            integration: None,
            state: None,
            message: String::new(),
            capabilities: Vec::new(),
            expires_at: None,
        });
    }

    /// One agent.
    pub fn agent(&self, name: &AgentName) -> Option<AgentView> {
        self.world().agents.get(name).map(|entry| self.view(entry))
    }

    /// The agents, by name; only the owner's where one is given.
    pub fn agents(&self, owner: Option<&OwnerId>) -> Vec<AgentView> {
        let world = self.world();
        let wanted = |entry: &&AgentEntry| owner.is_none_or(|owner| entry.manifest.owner == *owner);
        world
            .agents
            .values()
            .filter(wanted)
            .map(|entry| self.view(entry))
            .collect()
    }

    /// The handle of one agent.
    pub fn handle(&self, name: &AgentName) -> Option<Arc<AgentHandle>> {
        self.world().agents.get(name).map(|entry| entry.handle.clone())
    }

    /// The handles of all agents.
    pub fn handles(&self) -> Vec<Arc<AgentHandle>> {
        self.world()
            .agents
            .values()
            .map(|entry| entry.handle.clone())
            .collect()
    }

    /// How many agents there are, by state.
    pub fn agents_by_state(&self) -> Vec<(AgentState, usize)> {
        let world = self.world();
        AgentState::ALL
            .into_iter()
            .map(|state| {
                (
                    state,
                    world
                        .agents
                        .values()
                        .filter(|a| a.handle.peek().state == state)
                        .count(),
                )
            })
            .collect()
    }

    /// How many agents could have a token and have none: no person has anything to do for them.
    pub fn agents_short_of_token(&self) -> usize {
        let now = self.now();
        let world = self.world();
        let entries = world.agents.values();
        entries
            .filter(|entry| entry.handle.peek().is_short_of_token(now))
            .count()
    }

    fn view(&self, entry: &AgentEntry) -> AgentView {
        AgentView {
            snapshot: entry.handle.snapshot(),
            source: entry.source.clone(),
            next_renewal: entry
                .keys
                .iter()
                .filter_map(|key| self.renewals.due_at(key))
                .min(),
            last_used: entry.handle.audited.last_use(),
            delivery_problem: entry.handle.delivery_problem(),
        }
    }
}

fn farewell(manifest: &Arc<Manifest>) -> AgentSnapshot {
    AgentSnapshot {
        manifest: manifest.clone(),
        state: AgentState::Misconfigured,
        message: format!("The agent `{}` was removed.", manifest.agent),
        action_url: None,
        capabilities: Arc::default(),
        main: Feed::empty(IntegrationKind::Google, None),
        beside: None,
    }
}
