//! Tells agents what is so: recomputes situations, publishes the ones that changed, keeps the queues in step.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{
    AgentHandle, Broker, Event, EventKind, TokenKey, World,
    situation::{same, situation},
    snapshot::{AgentState, IssuedToken},
    time,
    world::Standing,
};
use crate::{health::Pulse, id::AgentName};

impl Broker {
    /// Recomputes the situation of `names` and publishes what changed. Returns the handles that changed, with
    /// the revision that says so.
    pub(super) fn republish(
        &self,
        world: &mut World,
        names: impl IntoIterator<Item = AgentName>,
    ) -> Vec<(Arc<AgentHandle>, u64)> {
        let mut changed = Vec::new();
        for name in names {
            if let Some(handle) = self.republish_one(world, &name) {
                let revision = handle.revision();
                changed.push((handle, revision));
            }
        }
        changed
    }

    fn republish_one(&self, world: &mut World, name: &AgentName) -> Option<Arc<AgentHandle>> {
        let entry = world
            .agents
            .get(name)
            .filter(|entry| entry.standing == Standing::Settled)?;
        let (handle, manifest) = (entry.handle.clone(), entry.manifest.clone());
        let situation = situation(world, &self.around, &manifest, self.uptime());
        for orphan in world.assign(name, &situation.keys) {
            self.orphaned(world, &orphan);
        }
        for key in situation.keys.iter() {
            self.keep_scheduled(world, key);
        }
        let before = handle.snapshot();
        if same(&before, &situation.snapshot) {
            return None;
        }
        let state = situation.snapshot.state;
        if before.state != state {
            self.state_changed(name, state, &situation.snapshot.message);
        }
        handle.publish(situation.snapshot);
        self.changes.changed(&handle);
        Some(handle)
    }

    /// Nobody uses this key any more. A token is kept until it expires, and a back-off until it ends: an agent that goes and
    /// comes back does not get round it.
    pub(super) fn orphaned(&self, world: &World, key: &TokenKey) {
        self.renewals.cancel(key);
        if let Some(slot) = world.slots.get(key)
            && slot.token.is_none()
            && let Some(trouble) = &slot.trouble
        {
            self.expiries.schedule(key, trouble.retry_at);
        }
    }

    /// When a token stops working, for people and programs.
    pub(super) fn shown_end(&self, token: Option<&IssuedToken>) -> Option<Timestamp> {
        token.map(|token| self.moment().wall_at(token.expires_at))
    }

    fn state_changed(&self, name: &AgentName, state: AgentState, message: &str) {
        tracing::info!(agent = %name, state = state.as_str(), message, "agent changed state");
        self.emit(Event {
            time: self.now(),
            kind: EventKind::AgentState,
            agent: Some(name.clone()),
            integration: None,
            state: Some(state),
            message: message.to_owned(),
            capabilities: Vec::new(),
            expires_at: None,
        });
    }

    /// Sees to it that a key that agents use has its place in the queue, unless it has left it already.
    fn keep_scheduled(&self, world: &World, key: &TokenKey) {
        let on_its_way = world
            .accounts
            .get(&key.integration)
            .is_some_and(|a| a.is_on_its_way(key));
        if !on_its_way && !self.flights.is_under_way(key) {
            self.schedule_by_need(world, key);
        }
    }

    /// Gives a key that agents use its place in the queue, by what is known of its token.
    pub(super) fn schedule_by_need(&self, world: &World, key: &TokenKey) {
        let Some(slot) = world.slots.get(key).filter(|slot| !slot.users.is_empty()) else {
            return;
        };
        if self.renewals.due_at(key).is_some() {
            return;
        }
        let account = world.accounts.get(&key.integration);
        let cut_off = account.is_some_and(|a| a.record.renewal.is_some());
        let at = match (&slot.trouble, &slot.token) {
            (Some(trouble), _) => trouble.retry_at,
            // The old grant may be living on borrowed time: find out now, not when the token ends.
            (None, Some(token)) if !cut_off && !slot.superseded => {
                time::renewal_due(&key.scopes, token, &*self.entropy)
            }
            (None, _) => account.and_then(|a| a.check_at).unwrap_or_else(|| self.uptime()),
        };
        self.renewals.schedule(key, at);
    }

    /// The delivery side reports that `revision` is on disk, or why it is not.
    pub fn note_delivered(&self, agent: &Arc<AgentHandle>, revision: u64, problem: Option<String>) {
        let snapshot = agent.snapshot();
        let event = Event {
            time: self.now(),
            kind: EventKind::AgentDelivered,
            agent: Some(agent.name().clone()),
            integration: snapshot
                .main
                .token
                .as_ref()
                .map(|token| token.integration.clone()),
            state: Some(snapshot.state),
            message: problem.clone().unwrap_or_default(),
            capabilities: snapshot.granted().cloned().collect(),
            expires_at: self.shown_end(snapshot.main.token.as_deref()),
        };
        let is_cleared = agent.is_gone_by(revision) && problem.is_none();
        agent.set_delivered(revision, problem);
        if is_cleared {
            self.cleared(agent);
        }
        self.emit(event);
    }

    /// Tells of a token that is no longer fresh, and lets go of one that has expired.
    fn expire(&self, key: &TokenKey) {
        let mut world = self.world();
        let now = self.uptime();
        let Some(slot) = world.slots.get_mut(key) else {
            return;
        };
        let users = slot.users.clone();
        if let Some(token) = slot.token.as_ref()
            && token.remaining(now).is_some()
        {
            self.expiries.schedule(key, token.next_change(now));
            self.republish(&mut world, users);
            return;
        }
        slot.token = None;
        if users.is_empty() {
            world.slots.remove(key);
        }
        self.republish(&mut world, users);
    }
}

/// Lets go of tokens as they expire, and tells of grants that end soon, until `shutdown`.
pub(super) async fn run_expiries(broker: Arc<Broker>, mut pulse: Pulse, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = pulse.beat() => {}
            key = broker.expiries.next(&broker.clock) => broker.expire(&key),
            id = broker.endings.next(&broker.clock) => broker.tell_ending(&id),
        }
    }
}
