//! Grants that end by themselves (an app in Testing, access for a time): their owners hear of it before.

use std::time::Duration;

use crate::{
    clock::{self, Moment, Uptime},
    store::{Health, IntegrationRecord},
};

/// So long before its end an owner hears of it; of a short life, in its second half.
const NOTICE: Duration = Duration::from_secs(2 * 24 * 3600);
/// Answers tell what is left of a life in whole seconds, on their way for a while: ends that differ by less are the same.
const SAME: Duration = Duration::from_secs(3600);

/// When a grant ends. Counted by the uptime, so that a clock that is set moves nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    at: Uptime,
    /// From when on people hear of it.
    pub(crate) notice: Uptime,
}

impl Ending {
    /// The end that a record tells, which is a time of the wall clock.
    pub(crate) fn of(record: &IntegrationRecord, now: Moment) -> Option<Self> {
        let ends = record.grant_expires_at?;
        let life = Duration::try_from(ends.duration_since(record.connected_at)).unwrap_or_default();
        let at = now.uptime_at(ends);
        Some(Self {
            at,
            notice: at.before(NOTICE.min(life / 2)),
        })
    }

    pub(crate) fn is_at(self, other: Uptime) -> bool {
        self.at.since(other).max(other.since(self.at)) < SAME
    }
}

/// What people are told about a grant that ends soon; `None` for any other.
pub(crate) fn notice(record: &IntegrationRecord, ending: Option<Ending>, now: Uptime) -> Option<String> {
    ending.filter(|ending| ending.notice <= now && record.health == Health::Active)?;
    let ends = clock::rfc3339(record.grant_expires_at?);
    Some(format!(
        "What {} allowed ends by itself at {ends}: connect the account again before that.",
        record.account
    ))
}
