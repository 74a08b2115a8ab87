//! What failed together is tried again together: when one of them goes well, the others need not wait out their pauses.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;

use crate::{
    clock::{Moment, Uptime},
    entropy::SharedEntropy,
    id::ProviderId,
    policy::context::PolicyContext,
    registry::{
        handle::ChangeSender,
        keys::TokenKey,
        state::{Registry, SharedRegistry},
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

/// What may be away for a while, and is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Awaited {
    /// A provider, by who runs it: what one provider accepts says nothing of another.
    Provider(String),
    /// The database.
    Store,
}

/// Whether something waits for one of these to come back.
#[derive(Default)]
struct Outages(Mutex<HashMap<Awaited, Waiting>>);

#[derive(Default)]
struct Waiting {
    any: bool,
    next_look: Uptime,
}

impl Outages {
    /// Something waits for it from now on.
    fn note(&self, awaited: Awaited) {
        let mut outages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outages.entry(awaited).or_default().any = true;
    }

    /// True when something may wait for it and nobody looked a moment ago.
    fn is_due(&self, awaited: &Awaited, now: Uptime) -> bool {
        let mut outages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = outages.get_mut(awaited) else {
            return false;
        };
        if !waiting.any || now < waiting.next_look {
            return false;
        }
        // Whatever fails from here on is noted anew.
        *waiting = Waiting {
            any: false,
            next_look: now.after(LOOK),
        };
        true
    }
}

/// Waits after failures, and what ends the wait early: the account's provider or the database works again.
pub(crate) struct Recovery {
    pub(crate) changes: ChangeSender,
    pub(crate) clock: Arc<BrokerClock>,
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) entropy: SharedEntropy,
    pub(crate) expiries: Arc<Queue>,
    pub(crate) context: Arc<PolicyContext>,
    outages: Outages,
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
            context: services.context.clone(),
            outages: Outages::default(),
            registry: services.registry.clone(),
            publisher: publisher.clone(),
        })
    }

    /// The store accepted a change: what failed for the lack of it is due soon, one after another.
    pub(crate) fn store_works_again(&self) {
        self.works_again(Awaited::Store);
    }

    fn works_again(&self, awaited: Awaited) {
        let now = self.clock.uptime();
        if !self.outages.is_due(&awaited, now) {
            return;
        }
        let mut registry = self.registry.lock();
        let (mut due, mut left) = (Vec::new(), false);
        for (key, token_entry) in registry.tokens.iter() {
            let Some(last_failure) = token_entry.last_failure.as_deref() else {
                continue;
            };
            if now >= last_failure.retry_at || last_failure.under_way {
                continue;
            }
            if self.waits_for(&registry, &key, last_failure.cause, &awaited) {
                if last_failure.may_be_hastened(now) {
                    due.push(key);
                } else {
                    left = true;
                }
            }
        }
        if left {
            self.outages.note(awaited);
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

    /// Whether a token that could not be obtained for this cause waits for it.
    fn waits_for(&self, registry: &Registry, key: &TokenKey, cause: Cause, awaited: &Awaited) -> bool {
        match (cause, awaited) {
            (Cause::Provider, Awaited::Provider(run_by)) => {
                let account = registry.accounts.get(&key.integration);
                let providers = &self.context.providers;
                account.is_some_and(|account| providers.is_run_by(&account.record.provider, run_by))
            }
            (Cause::Store, Awaited::Store) => true,
            _ => false,
        }
    }

    /// What a token waits for that could not be obtained for this cause.
    fn awaited(&self, registry: &Registry, key: &TokenKey, cause: Cause) -> Option<Awaited> {
        match cause {
            Cause::Provider => {
                let account = registry.accounts.get(&key.integration)?;
                let run_by = self.context.providers.name_of(&account.record.provider);
                Some(Awaited::Provider(run_by))
            }
            Cause::Store => Some(Awaited::Store),
            Cause::Other => None,
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
        let awaited = self.awaited(&registry, key, refused.cause);
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
            fault: refused.fault.clone(),
            failures,
            retry_at,
            hastened_at: before.and_then(|last_failure| last_failure.hastened_at),
            under_way,
        }));
        if let Some(awaited) = awaited {
            self.outages.note(awaited);
        }
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

    /// This provider accepted a request. What it says of the time is learned, and what had failed there is tried again.
    pub(crate) fn note_accepted(&self, provider: &ProviderId, server_time: Option<Moment>) {
        let run_by = self.context.providers.name_of(provider);
        if server_time.is_some_and(|time| self.clock.learn(&run_by, time)) {
            tell_of_clock(&run_by, self.clock.skew_of(&run_by));
        }
        self.works_again(Awaited::Provider(run_by));
    }
}

/// Tells how far the clock of that provider is ahead, which is news.
fn tell_of_clock(provider: &str, skew: SignedDuration) {
    if skew.is_zero() {
        tracing::info!(provider, "the clock agrees with the provider's again");
    } else {
        tracing::warn!(provider, %skew, "the clock differs from the provider's: check the node's");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::captured::Captured;

    #[test]
    fn a_clock_that_is_right_again_is_not_said_to_differ() {
        let log = Captured::start();
        tell_of_clock("Acme", SignedDuration::from_hours(1));
        tell_of_clock("Acme", SignedDuration::ZERO);
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
