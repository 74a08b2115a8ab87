//! Agents come and go.

use std::sync::Arc;

use super::{
    AgentHandle, AgentSource, AgentView, Broker, Event, EventKind,
    disconnect::DELIVERY_PATIENCE,
    holders::Before,
    situation::situation,
    succession::{arriving, changes, farewell},
    world::{AgentEntry, Keys, Standing, World},
};
use crate::{
    agent::{Holder, Manifest, ManifestError},
    id::AgentName,
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

/// Whom it concerned that an agent was taken from its holder, and the fields that say that it was.
type Replaced = (Concern, Vec<&'static str>);

/// What putting an agent changed.
#[derive(Default)]
pub(super) struct Put {
    /// Somebody else held it: whom that concerned, and the fields that say so.
    pub(super) replaced: Option<Replaced>,
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
        let lines = self.lines_of(&actor, &manifest, concern.clone());
        self.store.put_agent(record, lines).await?;
        if let Err(taken) = self.refuse_file_agent(&name) {
            // A file came first after all.
            let undone = self.agent_event(Actor::Daemon, EventKind::AgentRemoved, &name, concern, "");
            self.store.give_way(&name, vec![undone]).await?;
            return Err(taken);
        }
        self.unusable.forget(name.as_str());
        let put = {
            let mut world = self.world();
            self.upsert(&mut world, Arc::new(manifest), AgentSource::Api)
        };
        if let Some(put) = put {
            self.tell_put(&name, &put);
        }
        drop(changing);
        self.until_arrived(&name, DELIVERY_PATIENCE).await;
        self.agent(&name).ok_or(AgentError::Unknown(name))
    }

    /// The lines of a manifest that comes over the API; none where it declares what the agent declared already.
    fn lines_of(&self, actor: &Actor, manifest: &Manifest, concern: Concern) -> Vec<AuditEvent> {
        let replaced = {
            let world = self.world();
            let entry = world.agents.get(&manifest.agent);
            if entry.is_some_and(|entry| *entry.manifest == *manifest) {
                return Vec::new();
            }
            self.taken_from(&world, manifest)
        };
        self.put_lines(actor, &manifest.agent, concern, replaced.as_ref())
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
        let concern = self.handle(name).map(|handle| handle.concern());
        let told = self.agent_event(
            actor,
            EventKind::AgentRemoved,
            name,
            concern.unwrap_or_default(),
            "",
        );
        // The database first: where it does not take it, nothing has happened.
        let stored = match self.store.delete_agent(name, vec![told.clone()]).await {
            Ok(stored) => stored,
            Err(error) => {
                self.recorder.record(AuditEvent {
                    decision: Decision::Failed,
                    detail: format!("agent {name}: nothing was removed: {error}"),
                    ..told
                });
                return Err(error.into());
            }
        };
        self.holders.was_disowned(name).await;
        let removed = {
            let mut world = self.world();
            self.take_out(&mut world, name, false)
        };
        drop(changing);
        if !stored {
            if removed.is_none() {
                return Err(AgentError::Unknown(name.clone()));
            }
            self.recorder.record(told);
        }
        if stored {
            self.unusable.forget(name.as_str());
        }
        self.tell_of_agent(EventKind::AgentRemoved, name);
        self.follow_waiting(name);
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

    /// Adds an agent or replaces what it declared. `None` when nothing changed.
    pub(super) fn upsert(
        &self,
        world: &mut World,
        manifest: Arc<Manifest>,
        source: AgentSource,
    ) -> Option<Put> {
        let (name, holder) = (manifest.agent.clone(), Holder::of(&manifest));
        let replaced = self.taken_from(world, &manifest);
        if let Some(entry) = world.agents.get_mut(&name) {
            if entry.manifest == manifest && !entry.is_kept() {
                entry.source = source;
                return None;
            }
            if replaced.is_none() {
                let before = Holder::of(&entry.manifest);
                self.declare(world, manifest, source);
                if before != holder {
                    self.holders.touch(&name);
                }
                return Some(Put::default());
            }
            self.take_out(world, &name, true);
        } else if replaced.is_some() {
            self.take_out_of_before(world, &manifest);
        }
        let is_arriving = world.leaving.contains(&name);
        let (standing, snapshot) = if is_arriving {
            (Standing::Arriving, arriving(&manifest))
        } else {
            let situation = situation(world, &self.around, &manifest, self.uptime());
            (Standing::Settled, situation.snapshot)
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
            standing,
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

    /// Whom a manifest takes the agent from, where it gives it to another holder.
    fn taken_from(&self, world: &World, manifest: &Manifest) -> Option<Replaced> {
        let (name, holder) = (&manifest.agent, Holder::of(manifest));
        let (concern, fields) = match world.agents.get(name) {
            Some(entry) => (
                entry.handle.concern(),
                changes(world, &Holder::of(&entry.manifest), &holder),
            ),
            None => match self.holders.held_before(name) {
                Before::Nobody => return None,
                Before::Somebody => (Concern::default(), vec!["owner"]),
                Before::Holder(before) => (
                    Concern::agent(before.owner(), name),
                    changes(world, &before, &holder),
                ),
            },
        };
        (!fields.is_empty()).then_some((concern, fields))
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
        let standing = if entry.is_arriving() {
            handle.publish(arriving(&manifest));
            Standing::Arriving
        } else {
            Standing::Settled
        };
        world.insert_agent(AgentEntry {
            handle,
            manifest,
            source,
            standing,
            keys,
        });
        self.republish(world, [name]);
    }

    /// Takes an agent out. `succeeded` says that somebody else has its name from now on.
    pub(super) fn take_out(
        &self,
        world: &mut World,
        name: &AgentName,
        succeeded: bool,
    ) -> Option<Arc<AgentHandle>> {
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

    /// The lines of an agent that is put, and of the one that goes for it.
    pub(super) fn put_lines(
        &self,
        actor: &Actor,
        name: &AgentName,
        concern: Concern,
        replaced: Option<&Replaced>,
    ) -> Vec<AuditEvent> {
        let removed = replaced.map(|(before, fields)| {
            let why = format!(": it is given to another holder ({})", fields.join(", "));
            self.agent_event(actor.clone(), EventKind::AgentRemoved, name, before.clone(), &why)
        });
        let put = self.agent_event(actor.clone(), EventKind::AgentPut, name, concern, "");
        removed.into_iter().chain([put]).collect()
    }

    /// Tells those who watch that an agent was put, and that another one went for it.
    pub(super) fn tell_put(&self, name: &AgentName, put: &Put) {
        if put.replaced.is_some() {
            self.tell_of_agent(EventKind::AgentRemoved, name);
        }
        if !put.is_arriving {
            self.tell_of_agent(EventKind::AgentPut, name);
        }
    }

    pub(super) fn agent_event(
        &self,
        actor: Actor,
        kind: EventKind,
        name: &AgentName,
        concern: Concern,
        why: &str,
    ) -> AuditEvent {
        AuditEvent {
            detail: format!("agent {name}{why}"),
            concern,
            ..AuditEvent::new(self.now(), actor, kind.as_str(), Decision::Allowed)
        }
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
}
