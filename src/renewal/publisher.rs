//! Tells agents what is so: computes their snapshots anew, publishes the ones that changed, keeps the queues in step.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    cause::GrantCause,
    clock::Uptime,
    entropy::SharedEntropy,
    health::Pulse,
    id::{AgentName, IntegrationId},
    manifest::Manifest,
    policy::grant_sentences::grant,
    policy::{
        context::{PolicyContext, state_of_health},
        evaluate::evaluate,
    },
    registry::{
        agent_state::AgentState,
        events::{Event, EventKind, Events},
        handle::{AgentHandle, ChangeSender},
        keys::TokenKey,
        snapshot::IssuedToken,
        state::{Registry, SharedRegistry, Standing},
        time::{self, BrokerClock},
    },
    renewal::{
        outcome::Renewed,
        queue::Queue,
        schedule::{Schedule, TokenState},
        services::Services,
        single_flight::SingleFlight,
    },
    store::{Health, IntegrationRecord},
};

/// An agent, and the revision of its snapshot that it has to be told.
pub(crate) type Told = (Arc<AgentHandle>, u64);

/// Computes how agents stand, publishes what changed, and keeps the queues in step with it.
pub(crate) struct Publisher {
    pub(crate) changes: ChangeSender,
    pub(crate) clock: Arc<BrokerClock>,
    pub(crate) context: Arc<PolicyContext>,
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) endings: Arc<Queue<IntegrationId>>,
    pub(crate) entropy: SharedEntropy,
    pub(crate) events: Events,
    pub(crate) expiries: Arc<Queue>,
    pub(crate) single_flight: Arc<SingleFlight<TokenKey, Renewed>>,
    pub(crate) registry: Arc<SharedRegistry>,
}

impl Publisher {
    /// With what it needs of the parts before it.
    pub(crate) fn new(services: &Services) -> Arc<Self> {
        Arc::new(Self {
            changes: services.changes.clone(),
            clock: services.clock.clone(),
            context: services.context.clone(),
            schedule: services.schedule.clone(),
            endings: services.endings.clone(),
            entropy: services.entropy.clone(),
            events: services.events.clone(),
            expiries: services.expiries.clone(),
            single_flight: services.single_flight.clone(),
            registry: services.registry.clone(),
        })
    }

    /// Computes the snapshots of `names` anew and publishes what changed. Returns the handles that changed, with
    /// the revision that says so.
    pub(crate) fn republish(
        &self,
        registry: &mut Registry,
        names: impl IntoIterator<Item = AgentName>,
    ) -> Vec<(Arc<AgentHandle>, u64)> {
        let mut changed = Vec::new();
        for name in names {
            if let Some(handle) = self.republish_one(registry, &name) {
                let revision = handle.revision();
                changed.push((handle, revision));
            }
        }
        changed
    }

    fn republish_one(&self, registry: &mut Registry, name: &AgentName) -> Option<Arc<AgentHandle>> {
        let entry = registry
            .agents
            .get(name)
            .filter(|entry| entry.standing == Standing::Settled)?;
        let (handle, manifest) = (entry.handle.clone(), entry.manifest.clone());
        let evaluation = evaluate(registry, &self.context, &manifest, self.clock.uptime());
        for orphan in registry.assign(name, &evaluation.keys) {
            self.orphaned(registry, &orphan);
        }
        for key in evaluation.keys.iter() {
            self.keep_scheduled(registry, key);
        }
        let before = handle.snapshot();
        if before.says_the_same_as(&evaluation.snapshot) {
            return None;
        }
        let state = evaluation.snapshot.state;
        if before.state != state {
            self.state_changed(&manifest, state, &evaluation.snapshot.message);
        }
        handle.publish(evaluation.snapshot);
        self.changes.changed(&handle);
        Some(handle)
    }

    /// Nobody uses this key any more. A token is kept until it expires, and a back-off until it ends: an agent that goes and
    /// comes back does not get round it.
    pub(crate) fn orphaned(&self, registry: &Registry, key: &TokenKey) {
        self.schedule.cancel(key);
        if let Some(token_entry) = registry.tokens.get(key)
            && token_entry.token.is_none()
            && let Some(last_failure) = &token_entry.last_failure
        {
            self.expiries.schedule(key, last_failure.retry_at);
        }
    }

    /// When a token stops working, for people and programs.
    pub(crate) fn shown_end(&self, token: Option<&IssuedToken>) -> Option<Timestamp> {
        token.map(|token| self.clock.moment().wall_at(token.expires_at))
    }

    fn state_changed(&self, manifest: &Manifest, state: AgentState, message: &str) {
        let name = &manifest.agent;
        tracing::info!(agent = %name, state = state.as_str(), message, "agent changed state");
        self.events.emit(Event {
            time: self.clock.now(),
            kind: EventKind::AgentState,
            owner: Some(manifest.owner.clone()),
            agent: Some(name.clone()),
            integration: None,
            state: Some(state),
            message: message.to_owned(),
            capabilities: Vec::new(),
            expires_at: None,
        });
    }

    /// Sees to it that a key that agents use has its place in the queue, unless it has left it already.
    fn keep_scheduled(&self, registry: &Registry, key: &TokenKey) {
        if self.schedule.state(key) == TokenState::Idle && !self.single_flight.is_under_way(key) {
            self.schedule_by_need(registry, key);
        }
    }

    /// Gives a key that agents use its place in the queue, by what is known of its token.
    pub(crate) fn schedule_by_need(&self, registry: &Registry, key: &TokenKey) {
        let Some(token_entry) = registry
            .tokens
            .get(key)
            .filter(|token_entry| !token_entry.users.is_empty())
        else {
            return;
        };
        if self.schedule.due_at(key).is_some() {
            return;
        }
        let account = registry.accounts.get(&key.integration);
        let cut_off = account.is_some_and(|a| a.record.renewal.is_some());
        if let Some(last_failure) = &token_entry.last_failure {
            return self.schedule.retry_at(key, last_failure.retry_at);
        }
        let at = match &token_entry.token {
            // The old grant may be living on borrowed time: find out now, not when the token ends.
            Some(token) if !cut_off && !token_entry.superseded => {
                time::renewal_due(&key.scopes, token, &*self.entropy)
            }
            _ => account
                .and_then(|a| a.check_at)
                .unwrap_or_else(|| self.clock.uptime()),
        };
        self.schedule.renew_at(key, at);
    }

    /// Tells of a token that is no longer fresh, and drops one that has expired.
    fn expire(&self, key: &TokenKey) {
        let mut registry = self.registry.lock();
        let now = self.clock.uptime();
        let Some(token_entry) = registry.tokens.get_mut(key) else {
            return;
        };
        let users = token_entry.users.clone();
        if let Some(token) = token_entry.token.as_ref()
            && token.remaining(now).is_some()
        {
            self.expiries.schedule(key, token.next_change(now));
            self.republish(&mut registry, users);
            return;
        }
        token_entry.token = None;
        if users.is_empty() {
            registry.tokens.remove(key);
        }
        self.republish(&mut registry, users);
    }

    /// Lets go of tokens as they expire, and tells of grants that end soon, until `shutdown`.
    pub(crate) async fn run_expiries(&self, mut pulse: Pulse, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = pulse.beat() => {}
                key = self.expiries.next(&self.clock) => self.expire(&key),
                id = self.endings.next(&self.clock) => self.tell_ending(&id),
            }
        }
    }

    /// The version that an account was committed as. Versions only grow.
    pub(crate) fn note_version(&self, id: &IntegrationId, version: u64) {
        if let Some(account) = self.registry.lock().accounts.get_mut(id) {
            account.record.version = account.record.version.max(version);
        }
    }

    /// The grant is dead: its tokens leave every agent at once. One that was withdrawn meanwhile stays so.
    pub(crate) fn withdraw(&self, id: &IntegrationId, why: GrantCause) {
        let mut registry = self.registry.lock();
        let account = registry.accounts.get(id);
        let working = account.filter(|account| account.record.health == Health::Active);
        let Some(record) = working.map(|account| account.record.clone()) else {
            return;
        };
        let health = Health::ReconnectRequired(Box::new(why));
        self.change_health(&mut registry, id, health.clone());
        drop(registry);
        self.tell_health(&record, &health);
    }

    /// Takes an account's tokens from every agent; they are told how it stands from now on.
    pub(crate) fn change_health(&self, registry: &mut Registry, id: &IntegrationId, health: Health) {
        let Some(account) = registry.accounts.get_mut(id) else {
            return;
        };
        account.record.health = health;
        let owner = account.record.owner.clone();
        self.forget_tokens(registry, id);
        let agents = registry.agents_of(&owner);
        self.republish(registry, agents);
    }

    /// Takes an account's tokens out of cache and queues.
    pub(crate) fn forget_tokens(&self, registry: &mut Registry, id: &IntegrationId) {
        for key in registry.keys_of(id) {
            self.schedule.cancel(&key);
            self.expiries.cancel(&key);
            if let Some(token_entry) = registry.tokens.get_mut(&key) {
                token_entry.token = None;
                token_entry.last_failure = None;
                if token_entry.users.is_empty() {
                    registry.tokens.remove(&key);
                }
            }
        }
    }

    /// The grant worked when it was last used, and belongs to the client and endpoint that are configured.
    pub(crate) fn works(&self, record: &IntegrationRecord) -> bool {
        let provider = self.context.providers.get(&record.provider);
        record.health == Health::Active
            && provider.is_some_and(|provider| provider.issuer_binding == record.issuer_binding)
    }

    /// Takes over a grant in place of the one before, if any. The tokens of a grant that still worked are used
    /// until their successors come, as far as the new grant covers them: whoever adds a permission interrupts
    /// nobody.
    pub(crate) fn replace_account(&self, registry: &mut Registry, record: IntegrationRecord) {
        let before = registry.accounts.get(&record.id).map(|account| &account.record);
        // Tokens that speak for somebody else have to go at once.
        let worked = before.is_some_and(|before| self.works(before) && before.subject == record.subject);
        let id = record.id.clone();
        for key in registry.keys_of(&id) {
            let Some(token_entry) = registry.tokens.get_mut(&key) else {
                continue;
            };
            token_entry.last_failure = None;
            self.schedule.cancel(&key);
            if worked && key.scopes.is_subset(&record.scopes) {
                token_entry.superseded = token_entry.token.is_some();
                if !token_entry.users.is_empty() {
                    self.schedule.renew_at(&key, self.clock.uptime());
                }
                continue;
            }
            token_entry.token = None;
            self.expiries.cancel(&key);
            registry.tidy(&key);
        }
        registry.insert_account(record, self.clock.moment());
        if let Some(account) = registry.accounts.get(&id) {
            self.schedule_ending(account);
        }
    }

    /// The token that works now.
    pub(crate) fn cached(&self, key: &TokenKey) -> Option<Arc<IssuedToken>> {
        living(&self.registry.lock(), key, self.clock.uptime())
    }

    /// Tells whoever watches how an account stands from now on.
    pub(crate) fn tell_health(&self, record: &IntegrationRecord, health: &Health) {
        let (state, message) = match state_of_health(health) {
            Some((state, cause)) => (state, grant(cause, self.context.providers.get(&record.provider))),
            None => (AgentState::Active, "The account is tried again.".to_owned()),
        };
        self.events.emit(Event {
            time: self.clock.now(),
            kind: EventKind::IntegrationState,
            owner: Some(record.owner.clone()),
            agent: None,
            integration: Some(record.id.clone()),
            state: Some(state),
            message,
            capabilities: Vec::new(),
            expires_at: None,
        });
    }

    /// Takes an account and its tokens from every agent. Which agents have to be told, by which revision.
    pub(crate) fn take_out_account(&self, registry: &mut Registry, id: &IntegrationId) -> Vec<Told> {
        self.forget_tokens(registry, id);
        let Some(account) = registry.remove_account(id) else {
            return Vec::new();
        };
        let agents = registry.agents_of(&account.record.owner);
        self.republish(registry, agents)
    }
}

/// A token that works at `now`.
pub(crate) fn living(registry: &Registry, key: &TokenKey, now: Uptime) -> Option<Arc<IssuedToken>> {
    registry
        .tokens
        .get(key)?
        .token
        .clone()
        .filter(|token| token.remaining(now).is_some())
}
