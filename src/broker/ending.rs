//! Grants that end by themselves (an app in Testing, access for a time): their owners hear of it before.

use std::time::Duration;

use super::{Broker, Event, EventKind, world::Account};
use crate::{
    clock::{self, Moment, Uptime},
    id::IntegrationId,
    store::{Health, IntegrationRecord},
};

/// So long before its end an owner hears of it; of a short life, in its second half.
const NOTICE: Duration = Duration::from_secs(2 * 24 * 3600);
/// Answers tell what is left of a life in whole seconds, on their way for a while: ends that differ by less are the same.
const SAME: Duration = Duration::from_secs(3600);

/// When a grant ends. Counted by the uptime, so that a clock that is set moves nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    at: Uptime,
    /// From when on people hear of it.
    notice: Uptime,
}

impl Ending {
    /// The end that a record tells, which is a time of the wall clock.
    pub(super) fn of(record: &IntegrationRecord, now: Moment) -> Option<Self> {
        let ends = record.grant_expires_at?;
        let life = Duration::try_from(ends.duration_since(record.connected_at)).unwrap_or_default();
        let at = now.uptime_at(ends);
        Some(Self {
            at,
            notice: at.before(NOTICE.min(life / 2)),
        })
    }

    fn is_at(self, other: Uptime) -> bool {
        self.at.since(other).max(other.since(self.at)) < SAME
    }
}

/// What people are told about a grant that ends soon; `None` for any other.
pub(super) fn notice(account: &Account, now: Uptime) -> Option<String> {
    let record = &account.record;
    account
        .ending
        .filter(|ending| ending.notice <= now && record.health == Health::Active)?;
    let ends = clock::rfc3339(record.grant_expires_at?);
    Some(format!(
        "What {} allowed ends by itself at {ends}: connect the account again before that.",
        record.account
    ))
}

impl Broker {
    /// Sees to it that the owner hears in time.
    pub(super) fn schedule_ending(&self, account: &Account) {
        let id = &account.record.id;
        match account.ending {
            Some(ending) => self.endings.schedule(id, ending.notice),
            None => self.endings.cancel(id),
        }
    }

    /// The end of a grant as an answer tells it; `None` where it tells nothing new.
    pub(super) fn new_end(&self, id: &IntegrationId, told: Option<Uptime>) -> Option<Uptime> {
        let world = self.world();
        let known = world.accounts.get(id)?.ending;
        told.filter(|told| known.is_none_or(|known| !known.is_at(*told)))
    }

    /// It is time: agents and whoever watches are told.
    pub(super) fn tell_ending(&self, id: &IntegrationId) {
        let mut world = self.world();
        let now = self.uptime();
        let Some(account) = world.accounts.get(id) else {
            return;
        };
        let Some(message) = notice(account, now) else {
            return;
        };
        let owner = account.record.owner.clone();
        let agents = world.agents_of(&owner);
        self.republish(&mut world, agents);
        drop(world);
        tracing::warn!(integration = %id, %owner, message, "a grant ends soon");
        self.emit(Event {
            time: self.now(),
            kind: EventKind::IntegrationEnding,
            agent: None,
            integration: Some(id.clone()),
            state: None,
            message,
            capabilities: Vec::new(),
            expires_at: None,
        });
    }
}
