//! What failed together is tried again together: when one of them goes well, the others need not wait out their pauses.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::SignedDuration;

use crate::{
    clock::{Moment, Uptime},
    entropy::SharedEntropy,
    registry::{
        handle::ChangeSender,
        keys::TokenKey,
        state::SharedRegistry,
        time::{BrokerClock, spread},
        tokens::{Cause, LastFailure, TokenEntries},
    },
    renewal::{
        backoff, outcome::Refused, publisher::Publisher, queue::Queue, schedule::Schedule, services::Services,
    },
};

/// A token's pause is shortened once in so long: what fails by itself, while others go well, is not tried at their pace.
const PAUSE: Duration = Duration::from_secs(300);
/// The tokens are looked through once in so long.
const LOOK: Duration = Duration::from_secs(1);

/// Whether something waits for one of the two to come back.
#[derive(Default)]
pub(crate) struct Outages {
    provider: Waiting,
    store: Waiting,
}

#[derive(Default)]
struct Waiting {
    any: AtomicBool,
    next_look: Mutex<Uptime>,
}

impl Outages {
    fn of(&self, cause: Cause) -> Option<&Waiting> {
        match cause {
            Cause::Provider => Some(&self.provider),
            Cause::Store => Some(&self.store),
            Cause::Other => None,
        }
    }

    /// Something waits from now on.
    pub(crate) fn note(&self, cause: Cause) {
        if let Some(waiting) = self.of(cause) {
            waiting.any.store(true, Ordering::Release);
        }
    }

    /// True when something may wait and nobody looked for it a moment ago.
    fn is_due(&self, cause: Cause, now: Uptime) -> bool {
        let Some(waiting) = self.of(cause) else {
            return false;
        };
        if !waiting.any.load(Ordering::Acquire) {
            return false;
        }
        let mut next = waiting.next_look.lock().unwrap_or_else(PoisonError::into_inner);
        if now < *next {
            return false;
        }
        *next = now.after(LOOK);
        // Whatever fails from here on is noted anew.
        waiting.any.store(false, Ordering::Release);
        true
    }
}

/// Waits after failures, and what ends the wait early: the provider or the database works again.
pub(crate) struct Recovery {
    pub(crate) changes: ChangeSender,
    pub(crate) clock: Arc<BrokerClock>,
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) entropy: SharedEntropy,
    pub(crate) expiries: Arc<Queue>,
    pub(crate) outages: Outages,
    pub(crate) registry: Arc<SharedRegistry>,
    pub(crate) publisher: Arc<Publisher>,
}

impl Recovery {
    /// With what it needs of the parts before it.
    pub(crate) fn new(services: &Services, publisher: &Arc<Publisher>) -> Arc<Self> {
        Arc::new(Self {
            changes: services.changes.clone(),
            clock: services.clock.clone(),
            schedule: services.schedule.clone(),
            entropy: services.entropy.clone(),
            expiries: services.expiries.clone(),
            outages: Outages::default(),
            registry: services.registry.clone(),
            publisher: publisher.clone(),
        })
    }

    /// The provider accepted a request, or the store a change: what failed for the lack of it is due soon, one after
    /// another.
    pub(crate) fn works_again(&self, cause: Cause) {
        let now = self.clock.uptime();
        if !self.outages.is_due(cause, now) {
            return;
        }
        let mut registry = self.registry.lock();
        let (mut due, mut left) = (Vec::new(), false);
        for (key, token_entry) in registry.tokens.iter() {
            let Some(last_failure) = token_entry
                .last_failure
                .as_deref()
                .filter(|last_failure| last_failure.cause == cause)
            else {
                continue;
            };
            if now < last_failure.retry_at && !last_failure.under_way {
                if last_failure.may_be_hastened(now) {
                    due.push(key);
                } else {
                    left = true;
                }
            }
        }
        if left {
            self.outages.note(cause);
        }
        if due.is_empty() {
            return;
        }
        tracing::info!(
            tokens = due.len(),
            "what had failed is tried again, since it goes well elsewhere"
        );
        let spread = spread(due.len());
        for key in due {
            let at = now.after(self.entropy.between(Duration::ZERO, spread));
            self.hasten(&mut registry.tokens, &key, now, at);
        }
    }

    fn hasten(&self, tokens: &mut TokenEntries, key: &TokenKey, now: Uptime, at: Uptime) {
        let Some(token_entry) = tokens.get_mut(key) else {
            return;
        };
        let nobody_uses_it = token_entry.users.is_empty();
        let Some(last_failure) = token_entry.last_failure.as_deref_mut() else {
            return;
        };
        last_failure.failures = 0;
        last_failure.hastened_at = Some(now);
        if nobody_uses_it {
            // Nothing is tried by itself: whoever asks next need not wait.
            last_failure.retry_at = now;
            return;
        }
        last_failure.retry_at = last_failure.retry_at.min(at);
        // What is on its way already has left the queue.
        if self.schedule.due_at(key).is_some() {
            self.schedule.retry_at(key, last_failure.retry_at);
        }
    }
}

impl LastFailure {
    fn may_be_hastened(&self, now: Uptime) -> bool {
        self.hastened_at.is_none_or(|at| now.since(at) >= PAUSE)
    }
}

impl Recovery {
    /// Keeps the token that still lives, and tries again later. How long until then; `None` when the account is gone.
    /// `under_way` is a renewal that does not end by this.
    pub(crate) fn back_off(&self, key: &TokenKey, refused: &Refused, under_way: bool) -> Option<Duration> {
        let now = self.clock.uptime();
        let mut registry = self.registry.lock();
        if !registry.accounts.contains_key(&key.integration) {
            return None;
        }
        let token_entry = registry.tokens.make(key);
        let before = token_entry.last_failure.as_deref();
        let mut failures = before.map_or(0, |last_failure| last_failure.failures);
        // Who asked in between changes nothing about the pace, unless the provider named another.
        let planned = before
            .map(|last_failure| last_failure.retry_at)
            .filter(|at| now < *at && refused.retry_after.is_none());
        let retry_at = planned.unwrap_or_else(|| {
            failures = failures.saturating_add(1);
            let left = token_entry.token.as_ref().and_then(|token| token.remaining(now));
            now.after(backoff::delay_within(
                &*self.entropy,
                failures,
                refused.retry_after,
                left,
            ))
        });
        token_entry.last_failure = Some(Box::new(LastFailure {
            kind: refused.kind,
            cause: refused.cause,
            message: refused.message.clone(),
            failures,
            retry_at,
            hastened_at: before.and_then(|last_failure| last_failure.hastened_at),
            under_way,
        }));
        self.outages.note(refused.cause);
        let users = token_entry.users.clone();
        if users.is_empty() {
            // Asked for once and refused: the next who asks tries again, after the pause. It is remembered a
            // while longer, so that whoever keeps asking waits longer each time.
            self.expiries.schedule(key, retry_at.after(backoff::CAP));
        } else {
            self.schedule.retry_at(key, retry_at);
        }
        self.publisher.republish(&mut registry, users);
        Some(retry_at.since(now))
    }

    /// A renewal that ended without saying when to try again: it is tried again all the same.
    pub(crate) fn settle(&self, key: &TokenKey, refused: impl FnOnce() -> Refused) {
        let waits = {
            let registry = self.registry.lock();
            let used = registry
                .tokens
                .get(key)
                .is_some_and(|token_entry| !token_entry.users.is_empty());
            used && self.schedule.due_at(key).is_none()
        };
        if waits {
            self.back_off(key, &refused(), false);
        }
    }

    /// The provider accepted a request. What it says of the time is learned, and what had failed is tried again.
    pub(crate) fn note_accepted(&self, server_time: Option<Moment>) {
        self.works_again(Cause::Provider);
        if server_time.is_some_and(|time| self.clock.learn(time)) {
            tell_of_clock(self.clock.skew());
        }
    }
}

/// Tells how far the provider's clock is ahead, which is news.
fn tell_of_clock(skew: SignedDuration) {
    if skew.is_zero() {
        tracing::info!("the clock agrees with the provider's again");
    } else {
        tracing::warn!(%skew, "the clock differs from the provider's: check the node's");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::captured::Captured;

    #[test]
    fn a_clock_that_is_right_again_is_not_said_to_differ() {
        let log = Captured::start();
        tell_of_clock(SignedDuration::from_hours(1));
        tell_of_clock(SignedDuration::ZERO);
        let lines = log.take();
        assert!(
            lines[0].contains("WARN") && lines[0].contains("the clock differs"),
            "{lines:?}"
        );
        assert!(
            lines[1].contains("INFO") && lines[1].contains("agrees with the provider's again"),
            "{lines:?}"
        );
    }
}
