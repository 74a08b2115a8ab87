//! Agents come and go.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    AgentHandle, AgentSnapshot, AgentSource, AgentState, Broker, Event, EventKind,
    disconnect::DELIVERY_PATIENCE,
    holders::Before,
    repeats::{Charged, shown},
    situation::situation,
    succession::{arriving, changes, farewell},
    world::{AgentEntry, Keys, World},
};
use crate::{
    agent::{Holder, Manifest, ManifestError, PodIdentity, Scan},
    budget::Peer,
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

/// What putting an agent changed.
#[derive(Default)]
pub(super) struct Put {
    /// Somebody else held it: whom that concerned, and the fields that say so.
    replaced: Option<(Concern, Vec<&'static str>)>,
    /// It is published when nothing is left of who held it before.
    is_arriving: bool,
}

impl Broker {
    /// Adds or replaces an agent over the API. One that is given to another holder is there when this returns, unless
    /// what the one before had cannot be taken away.
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
        let changing = self.agent_changes.lock().await;
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
        self.unusable.forget(name.as_str());
        let put = {
            let mut world = self.world();
            self.upsert(&mut world, Arc::new(manifest), AgentSource::Api)
        };
        if let Some(put) = put {
            self.note_put(&actor, &name, concern, put);
        }
        drop(changing);
        self.until_arrived(&name, DELIVERY_PATIENCE).await;
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
            self.take_out(&mut world, name, false)
        };
        let stored = self.store.delete_agent(name).await;
        drop(changing);
        if removed.is_none() && matches!(stored, Ok(false)) {
            return Err(AgentError::Unknown(name.clone()));
        }
        if stored.is_ok() {
            self.unusable.forget(name.as_str());
        }
        // Where the database fails, the agent is gone now and would be back after a restart.
        let decision = if stored.is_ok() {
            Decision::Allowed
        } else {
            Decision::Failed
        };
        let concern = removed.as_deref().map(AgentHandle::concern).unwrap_or_default();
        self.note_agent(&actor, EventKind::AgentRemoved, name, concern, decision, "");
        self.tell_of_agent(EventKind::AgentRemoved, name);
        stored?;
        if let Some(handle) = removed {
            let revision = handle.revision();
            let _ = tokio::time::timeout(DELIVERY_PATIENCE, handle.delivered(revision)).await;
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
            let removed = self.take_out(&mut world, &name, false);
            let concern = removed.as_deref().map(AgentHandle::concern).unwrap_or_default();
            let (actor, kind) = (Actor::Daemon, EventKind::AgentRemoved);
            self.note_agent(&actor, kind, &name, concern, Decision::Allowed, "");
            self.tell_of_agent(kind, &name);
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
            if let Some(put) = self.upsert(&mut world, file.manifest.clone(), source) {
                let concern = Concern::agent(&file.manifest.owner, name);
                self.note_put(&Actor::Daemon, name, concern, put);
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

    /// Adds an agent or replaces what it declared. `None` when nothing changed.
    pub(super) fn upsert(
        &self,
        world: &mut World,
        manifest: Arc<Manifest>,
        source: AgentSource,
    ) -> Option<Put> {
        let (name, holder) = (manifest.agent.clone(), Holder::of(&manifest));
        let mut replaced = None;
        if let Some(entry) = world.agents.get_mut(&name) {
            if entry.manifest == manifest {
                entry.source = source;
                return None;
            }
            let (before, concern) = (Holder::of(&entry.manifest), entry.handle.concern());
            let fields = changes(world, &before, &holder);
            if fields.is_empty() {
                self.declare(world, manifest, source);
                if before != holder {
                    self.holders.touch(&name);
                }
                return Some(Put::default());
            }
            self.take_out(world, &name, true);
            replaced = Some((concern, fields));
        } else {
            let (fields, concern) = match self.holders.held_before(&name) {
                Before::Nobody => (Vec::new(), Concern::default()),
                Before::Somebody => (vec!["owner"], Concern::default()),
                Before::Holder(before) => (
                    changes(world, &before, &holder),
                    Concern::agent(before.owner(), &name),
                ),
            };
            if !fields.is_empty() {
                self.take_out_of_before(world, &manifest);
                replaced = Some((concern, fields));
            }
        }
        let is_arriving = world.leaving.contains(&name);
        let snapshot = if is_arriving {
            arriving(&manifest)
        } else {
            situation(world, &self.around, &manifest, self.uptime()).snapshot
        };
        let state = snapshot.state;
        let handle = AgentHandle::new(name.clone(), snapshot);
        if !is_arriving {
            self.changes.changed(&handle);
        }
        world.insert_agent(AgentEntry {
            handle,
            manifest,
            source,
            is_arriving,
            keys: Keys::default(),
        });
        self.republish(world, [name.clone()]);
        self.holders.touch(&name);
        if let Some((_, fields)) = &replaced {
            tracing::info!(agent = %name, changed = fields.join(", "), "agent given to another holder");
        } else {
            tracing::info!(agent = %name, state = state.as_str(), "agent added");
        }
        Some(Put {
            replaced,
            is_arriving,
        })
    }

    /// Replaces what an agent declared whose holder stays.
    fn declare(&self, world: &mut World, manifest: Arc<Manifest>, source: AgentSource) {
        let name = manifest.agent.clone();
        let Some(entry) = world.agents.get_mut(&name) else {
            return;
        };
        // It keeps its token until it is found to use another, so that a change of no consequence to the token costs
        // no request.
        let (handle, keys) = (entry.handle.clone(), std::mem::take(&mut entry.keys));
        let is_arriving = entry.is_arriving;
        if is_arriving {
            handle.publish(arriving(&manifest));
        }
        world.insert_agent(AgentEntry {
            handle,
            manifest,
            source,
            is_arriving,
            keys,
        });
        self.republish(world, [name]);
    }

    /// Takes an agent out. `succeeded` says that somebody else has its name from now on.
    fn take_out(&self, world: &mut World, name: &AgentName, succeeded: bool) -> Option<Arc<AgentHandle>> {
        let entry = world.remove_agent(name)?;
        for key in entry.keys.iter() {
            if let Some(orphan) = world.leave(name, key.clone()) {
                self.orphaned(world, &orphan);
            }
        }
        self.recorder.last_uses(self.now(), &entry.handle);
        entry.handle.mark_removed(farewell(&entry.manifest), succeeded);
        world.leaving.add(&entry.handle);
        self.holders.disown(name);
        self.changes.changed(&entry.handle);
        self.holders.touch(name);
        tracing::info!(agent = %name, "agent removed");
        Some(entry.handle)
    }

    /// Notes that an agent was put, and that another one went for it.
    fn note_put(&self, actor: &Actor, name: &AgentName, concern: Concern, put: Put) {
        if let Some((before, fields)) = put.replaced {
            let why = format!(": it is given to another holder ({})", fields.join(", "));
            let kind = EventKind::AgentRemoved;
            self.note_agent(actor, kind, name, before, Decision::Allowed, &why);
            self.tell_of_agent(kind, name);
        }
        self.note_agent(actor, EventKind::AgentPut, name, concern, Decision::Allowed, "");
        if !put.is_arriving {
            self.tell_of_agent(EventKind::AgentPut, name);
        }
    }

    fn note_agent(
        &self,
        actor: &Actor,
        kind: EventKind,
        name: &AgentName,
        concern: Concern,
        decision: Decision,
        why: &str,
    ) {
        self.recorder.record(AuditEvent {
            time: self.now(),
            actor: actor.clone(),
            action: kind.as_str(),
            integration: None,
            capabilities: Vec::new(),
            decision,
            detail: format!("agent {name}{why}"),
            concern,
        });
    }

    /// Tells those who watch that an agent came or went.
    pub(super) fn tell_of_agent(&self, kind: EventKind, name: &AgentName) {
        self.emit(Event {
            time: self.now(),
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
        let world = self.world();
        world.agents.get(name).map(|entry| self.view(&world, entry))
    }

    /// The agents, by name; only the owner's where one is given.
    pub fn agents(&self, owner: Option<&OwnerId>) -> Vec<AgentView> {
        let world = self.world();
        let wanted = |entry: &&AgentEntry| owner.is_none_or(|owner| entry.manifest.owner == *owner);
        world
            .agents
            .values()
            .filter(wanted)
            .map(|entry| self.view(&world, entry))
            .collect()
    }

    /// The handle of one agent, for whoever serves it; `None` also while another holder of the name has not left.
    pub fn handle(&self, name: &AgentName) -> Option<Arc<AgentHandle>> {
        let world = self.world();
        let entry = world.agents.get(name).filter(|entry| !entry.is_arriving);
        entry.map(|entry| entry.handle.clone())
    }

    /// True while the agent of this name waits for another holder of the name to leave.
    pub fn is_arriving(&self, name: &AgentName) -> bool {
        let world = self.world();
        world.agents.get(name).is_some_and(|entry| entry.is_arriving)
    }

    /// The handles of all agents, also of those whose holder before has not left.
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
        let now = self.uptime();
        let world = self.world();
        let entries = world.agents.values();
        entries
            .filter(|entry| entry.handle.peek().is_short_of_token(now))
            .count()
    }

    fn view(&self, world: &World, entry: &AgentEntry) -> AgentView {
        let now = self.moment();
        let leaving = || world.leaving.problem(entry.handle.name());
        AgentView {
            snapshot: entry.handle.snapshot(),
            source: entry.source.clone(),
            next_renewal: entry
                .keys
                .iter()
                .filter_map(|key| self.renewals.due_at(key))
                .min()
                .map(|due| now.wall_at(due)),
            last_used: entry.handle.audited.last_use(),
            delivery_problem: entry.handle.delivery_problem().or_else(leaving),
        }
    }
}
