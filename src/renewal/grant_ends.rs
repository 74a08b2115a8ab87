//! Tells people of grants that end soon.

use crate::{
    clock::Uptime,
    id::IntegrationId,
    registry::{
        ending::notice,
        events::{Event, EventKind},
        state::Account,
    },
    renewal::publisher::Publisher,
};

impl Publisher {
    /// Sees to it that the owner hears in time.
    pub(crate) fn schedule_ending(&self, account: &Account) {
        let id = &account.record.id;
        match account.ending {
            Some(ending) => self.endings.schedule(id, ending.notice),
            None => self.endings.cancel(id),
        }
    }

    /// The end of a grant as an answer tells it; `None` where it tells nothing new.
    pub(crate) fn new_end(&self, id: &IntegrationId, told: Option<Uptime>) -> Option<Uptime> {
        let registry = self.registry.lock();
        let known = registry.accounts.get(id)?.ending;
        told.filter(|told| known.is_none_or(|known| !known.is_at(*told)))
    }

    /// It is time: agents and whoever watches are told.
    pub(crate) fn tell_ending(&self, id: &IntegrationId) {
        let mut registry = self.registry.lock();
        let now = self.clock.uptime();
        let Some(account) = registry.accounts.get(id) else {
            return;
        };
        let Some(message) = notice(&account.record, account.ending, now) else {
            return;
        };
        let owner = account.record.owner.clone();
        let agents = registry.agents_of(&owner);
        self.republish(&mut registry, agents);
        drop(registry);
        tracing::warn!(integration = %id, %owner, message, "a grant ends soon");
        self.events.emit(Event {
            time: self.clock.now(),
            kind: EventKind::IntegrationEnding,
            owner: Some(owner),
            agent: None,
            integration: Some(id.clone()),
            state: None,
            message,
            capabilities: Vec::new(),
            expires_at: None,
        });
    }
}
