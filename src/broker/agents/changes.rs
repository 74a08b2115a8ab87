//! Agents come and go.

use std::sync::Arc;

use super::{
    holder_change::{arriving, changes, farewell},
    holders::{Before, Holders},
    list::{AgentList, AgentView},
    quota::{OwnersCaller, TooManyAgents},
};
use crate::{
    accounts::{disconnect::DELIVERY_PATIENCE, unusable_records::Unusable},
    audit::audit_writer::AuditWriter,
    id::{AgentName, OwnerId},
    manifest::{Holder, Manifest, ManifestError},
    policy::{context::PolicyContext, evaluate::evaluate},
    registry::{
        events::{Event, EventKind, Events},
        handle::{AgentHandle, ChangeSender},
        keys::{Keys, TokenKey},
        state::{AgentEntry, AgentSource, Registry, SharedRegistry, Standing},
        time::BrokerClock,
    },
    renewal::{
        outcome::Renewed, parts::Renewing, publisher::Publisher, services::Services,
        single_flight::SingleFlight,
    },
    store::{AgentRecord, SharedStore, StoreError},
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
    /// Somebody else's agent has the name.
    #[error("the name `{0}` is taken: choose another one for the agent")]
    Taken(AgentName),
    /// The owner has as many as whoever asks may put.
    #[error(transparent)]
    TooMany(#[from] TooManyAgents),
    /// The manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whom it concerned that an agent was taken from its holder, and the fields that say that it was.
type Replaced = (Concern, Vec<String>);

/// What putting an agent changed.
#[derive(Default)]
pub(in crate::broker) struct Put {
    /// Somebody else held it: whom that concerned, and the fields that say so.
    pub(in crate::broker) replaced: Option<Replaced>,
    /// It is published when nothing is left of who held it before.
    is_arriving: bool,
}

/// Adds, changes and removes agents: those of files and those of the API.
pub struct Agents {
    pub(super) agent_changes: tokio::sync::Mutex<()>,
    pub(super) audit: Arc<AuditWriter>,
    pub(super) changes: ChangeSender,
    pub(super) clock: Arc<BrokerClock>,
    pub(super) context: Arc<PolicyContext>,
    pub(super) events: Events,
    pub(super) single_flight: Arc<SingleFlight<TokenKey, Renewed>>,
    pub(super) holders: Arc<Holders>,
    pub(super) registry: Arc<SharedRegistry>,
    pub(super) store: SharedStore,
    pub(super) unusable: Arc<Unusable>,
    pub(super) agent_list: Arc<AgentList>,
    pub(super) publisher: Arc<Publisher>,
}

impl Agents {
    /// With what it needs of the parts before it.
    pub(in crate::broker) fn new(
        services: &Services,
        unusable: &Arc<Unusable>,
        holders: Arc<Holders>,
        renewing: &Renewing,
        agent_list: &Arc<AgentList>,
    ) -> Arc<Self> {
        Arc::new(Self {
            agent_changes: tokio::sync::Mutex::default(),
            audit: services.audit.clone(),
            changes: services.changes.clone(),
            clock: services.clock.clone(),
            context: services.context.clone(),
            events: services.events.clone(),
            single_flight: services.single_flight.clone(),
            holders,
            registry: services.registry.clone(),
            store: services.store.clone(),
            unusable: unusable.clone(),
            agent_list: agent_list.clone(),
            publisher: renewing.publisher.clone(),
        })
    }

    /// Adds or replaces an agent over the API. When this returns its directory and socket are there, and hold what it
    /// declares now, unless they cannot be written, which the view says, or take longer than five seconds.
    pub async fn put_agent(
        self: &Arc<Self>,
        manifest: Manifest,
        actor: Actor,
    ) -> Result<AgentView, AgentError> {
        self.put_agent_within(None, manifest, actor).await
    }

    /// The same; for a caller of one owner alone no agent of another one gives way, and their number has an end.
    pub async fn put_agent_within(
        self: &Arc<Self>,
        within: Option<OwnersCaller>,
        manifest: Manifest,
        actor: Actor,
    ) -> Result<AgentView, AgentError> {
        manifest.validate(&self.context.catalog)?;
        let this = self.clone();
        // To its end, so that memory and database agree also when the caller goes away.
        let work = async move { this.put(within, manifest, actor).await };
        self.single_flight
            .spawn(work)
            .await
            .unwrap_or(Err(AgentError::Store(StoreError::Closed)))
    }

    async fn put(
        &self,
        within: Option<OwnersCaller>,
        manifest: Manifest,
        actor: Actor,
    ) -> Result<AgentView, AgentError> {
        let changing = self.agent_changes.lock().await;
        let name = manifest.agent.clone();
        if let Some(within) = &within {
            if self.is_beyond(Some(&within.owner), &name) {
                return Err(AgentError::Taken(name));
            }
            within.check(&self.registry.lock(), &name)?;
        }
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
        let manifest = Arc::new(manifest);
        let put = {
            let mut registry = self.registry.lock();
            self.upsert(&mut registry, manifest.clone(), AgentSource::Api)
        };
        if let Some(put) = put {
            self.tell_put(&manifest, &put);
        }
        drop(changing);
        self.until_in_place(&name).await;
        self.agent_list.agent(&name).ok_or(AgentError::Unknown(name))
    }

    /// The lines of a manifest that comes over the API; none where it declares what the agent declared already.
    fn lines_of(&self, actor: &Actor, manifest: &Manifest, concern: Concern) -> Vec<AuditEvent> {
        let replaced = {
            let registry = self.registry.lock();
            let entry = registry.agents.get(&manifest.agent);
            if entry.is_some_and(|entry| *entry.manifest == *manifest) {
                return Vec::new();
            }
            self.taken_from(&registry, manifest)
        };
        self.put_lines(actor, &manifest.agent, concern, replaced.as_ref())
    }

    /// Removes an agent that came over the API; its directory and socket go at once.
    pub async fn delete_agent(self: &Arc<Self>, name: &AgentName, actor: Actor) -> Result<(), AgentError> {
        self.delete_agent_within(None, name, actor).await
    }

    /// The same; where `within` names an owner, those of other owners are none.
    pub async fn delete_agent_within(
        self: &Arc<Self>,
        within: Option<OwnerId>,
        name: &AgentName,
        actor: Actor,
    ) -> Result<(), AgentError> {
        let (this, name) = (self.clone(), name.clone());
        let work = async move { this.delete(within, &name, actor).await };
        self.single_flight
            .spawn(work)
            .await
            .unwrap_or(Err(AgentError::Store(StoreError::Closed)))
    }

    async fn delete(
        &self,
        within: Option<OwnerId>,
        name: &AgentName,
        actor: Actor,
    ) -> Result<(), AgentError> {
        let changing = self.agent_changes.lock().await;
        if self.is_beyond(within.as_ref(), name) {
            return Err(AgentError::Unknown(name.clone()));
        }
        self.refuse_file_agent(name)?;
        let concern = self.agent_list.handle(name).map(|handle| handle.concern());
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
                self.audit.record(AuditEvent {
                    decision: Decision::Failed,
                    detail: format!("agent {name}: nothing was removed: {error}"),
                    ..told
                });
                return Err(error.into());
            }
        };
        let owner = told.concern.owner.clone();
        self.holders.was_disowned(name).await;
        let removed = {
            let mut registry = self.registry.lock();
            self.take_out(&mut registry, name, false)
        };
        drop(changing);
        if !stored {
            if removed.is_none() {
                return Err(AgentError::Unknown(name.clone()));
            }
            self.audit.record(told);
        }
        if stored {
            self.unusable.forget(name.as_str());
        }
        self.tell_of_agent(EventKind::AgentRemoved, name, owner);
        self.follow_waiting(name);
        if let Some(handle) = removed {
            let revision = handle.revision();
            let _ = tokio::time::timeout(DELIVERY_PATIENCE, handle.delivered(revision)).await;
        }
        Ok(())
    }

    /// True for another owner's agent than the one that somebody is confined to.
    fn is_beyond(&self, within: Option<&OwnerId>, name: &AgentName) -> bool {
        let registry = self.registry.lock();
        let agent = registry.agents.get(name);
        agent.is_some_and(|agent| within.is_some_and(|owner| agent.manifest.owner != *owner))
    }

    fn refuse_file_agent(&self, name: &AgentName) -> Result<(), AgentError> {
        match self.registry.lock().agents.get(name).map(|entry| &entry.source) {
            Some(AgentSource::File(file)) => Err(AgentError::FromFile {
                name: name.clone(),
                file: file.display().to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Adds an agent or replaces what it declared. `None` when nothing changed.
    pub(in crate::broker) fn upsert(
        &self,
        registry: &mut Registry,
        manifest: Arc<Manifest>,
        source: AgentSource,
    ) -> Option<Put> {
        let (name, holder) = (manifest.agent.clone(), Holder::of(&manifest));
        let replaced = self.taken_from(registry, &manifest);
        if let Some(entry) = registry.agents.get_mut(&name) {
            if entry.manifest == manifest && !entry.is_kept() {
                entry.source = source;
                return None;
            }
            if replaced.is_none() {
                let before = Holder::of(&entry.manifest);
                self.declare(registry, manifest, source);
                if before != holder {
                    self.holders.touch(&name);
                }
                return Some(Put::default());
            }
            self.take_out(registry, &name, true);
        } else if replaced.is_some() {
            self.take_out_of_before(registry, &manifest);
        }
        let is_arriving = registry.leaving.contains(&name);
        let (standing, snapshot) = if is_arriving {
            (Standing::Arriving, arriving(&self.context, &manifest))
        } else {
            let evaluation = evaluate(registry, &self.context, &manifest, self.clock.uptime());
            (Standing::Settled, evaluation.snapshot)
        };
        let state = snapshot.state;
        let handle = AgentHandle::new(name.clone(), snapshot);
        if !is_arriving {
            self.changes.changed(&handle);
        }
        registry.insert_agent(AgentEntry {
            handle,
            manifest,
            source,
            standing,
            keys: Keys::default(),
        });
        self.publisher.republish(registry, [name.clone()]);
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
    fn taken_from(&self, registry: &Registry, manifest: &Manifest) -> Option<Replaced> {
        let (name, holder) = (&manifest.agent, Holder::of(manifest));
        let (concern, fields) = match registry.agents.get(name) {
            Some(entry) => (
                entry.handle.concern(),
                changes(&self.context, registry, &Holder::of(&entry.manifest), &holder),
            ),
            None => match self.holders.held_before(name) {
                Before::Nobody => return None,
                Before::Somebody => (Concern::default(), vec!["owner".to_owned()]),
                Before::Holder(before) => (
                    Concern::agent(before.owner(), name),
                    changes(&self.context, registry, &before, &holder),
                ),
            },
        };
        (!fields.is_empty()).then_some((concern, fields))
    }

    /// Replaces what an agent declared whose holder stays.
    fn declare(&self, registry: &mut Registry, manifest: Arc<Manifest>, source: AgentSource) {
        let name = manifest.agent.clone();
        let Some(entry) = registry.agents.get_mut(&name) else {
            return;
        };
        // It keeps its token until it is found to use another, so that a change of no consequence to the token costs
        // no request.
        let (handle, keys) = (entry.handle.clone(), std::mem::take(&mut entry.keys));
        let standing = if entry.is_arriving() {
            handle.publish(arriving(&self.context, &manifest));
            Standing::Arriving
        } else {
            Standing::Settled
        };
        registry.insert_agent(AgentEntry {
            handle,
            manifest,
            source,
            standing,
            keys,
        });
        self.publisher.republish(registry, [name]);
    }

    /// Takes an agent out. `succeeded` says that somebody else has its name from now on.
    pub(in crate::broker) fn take_out(
        &self,
        registry: &mut Registry,
        name: &AgentName,
        succeeded: bool,
    ) -> Option<Arc<AgentHandle>> {
        let entry = registry.remove_agent(name)?;
        for key in entry.keys.iter() {
            if let Some(orphan) = registry.leave(name, key.clone()) {
                self.publisher.orphaned(registry, &orphan);
            }
        }
        self.audit.last_uses(self.clock.now(), &entry.handle);
        entry
            .handle
            .mark_removed(farewell(&self.context, &entry.manifest), succeeded);
        registry.leaving.add(&entry.handle);
        self.holders.disown(name);
        self.changes.changed(&entry.handle);
        self.holders.touch(name);
        tracing::info!(agent = %name, "agent removed");
        Some(entry.handle)
    }

    /// The lines of an agent that is put, and of the one that goes for it.
    pub(in crate::broker) fn put_lines(
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
    pub(in crate::broker) fn tell_put(&self, manifest: &Manifest, put: &Put) {
        let name = &manifest.agent;
        if let Some((concern, _)) = &put.replaced {
            self.tell_of_agent(EventKind::AgentRemoved, name, concern.owner.clone());
        }
        if !put.is_arriving {
            self.tell_of_agent(EventKind::AgentPut, name, Some(manifest.owner.clone()));
        }
    }

    pub(in crate::broker) fn agent_event(
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
            ..AuditEvent::new(self.clock.now(), actor, kind.as_str(), Decision::Allowed)
        }
    }

    /// Tells those who watch that an agent came or went.
    pub(in crate::broker) fn tell_of_agent(&self, kind: EventKind, name: &AgentName, owner: Option<OwnerId>) {
        self.events.emit(Event {
            time: self.clock.now(),
            kind,
            owner,
            agent: Some(name.clone()),
            integration: None,
            state: None,
            message: String::new(),
            capabilities: Vec::new(),
            expires_at: None,
        });
    }
}
