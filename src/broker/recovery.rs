//! What failed together is tried again together: when one of them goes well, the others need not wait out their pauses.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use super::{
    Broker, TokenKey,
    slots::{Cause, Trouble},
    time::spread,
};
use crate::clock::Uptime;

/// A token's pause is shortened once in so long: what fails by itself, while others go well, is not tried at their pace.
const PAUSE: Duration = Duration::from_secs(300);
/// The tokens are looked through once in so long.
const LOOK: Duration = Duration::from_secs(1);

/// Whether something waits for one of the two to come back.
#[derive(Default)]
pub(super) struct Recovery {
    provider: Waiting,
    store: Waiting,
}

#[derive(Default)]
struct Waiting {
    any: AtomicBool,
    next_look: Mutex<Uptime>,
}

impl Recovery {
    fn of(&self, cause: Cause) -> Option<&Waiting> {
        match cause {
            Cause::Provider => Some(&self.provider),
            Cause::Store => Some(&self.store),
            Cause::Other => None,
        }
    }

    /// Something waits from now on.
    pub(super) fn note(&self, cause: Cause) {
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

impl Broker {
    /// The provider accepted a request, or the store a change: what failed for the lack of it is due soon, one after
    /// another.
    pub(super) fn works_again(&self, cause: Cause) {
        let now = self.uptime();
        if !self.recovery.is_due(cause, now) {
            return;
        }
        let mut world = self.world();
        let (mut due, mut left) = (Vec::new(), false);
        for (key, slot) in world.slots.iter() {
            let Some(trouble) = slot.trouble.as_deref().filter(|trouble| trouble.cause == cause) else {
                continue;
            };
            if now < trouble.retry_at && !trouble.under_way {
                if trouble.may_be_hastened(now) {
                    due.push(key);
                } else {
                    left = true;
                }
            }
        }
        if left {
            self.recovery.note(cause);
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
            self.hasten(&mut world.slots, &key, now, at);
        }
    }

    fn hasten(&self, slots: &mut super::slots::Slots, key: &TokenKey, now: Uptime, at: Uptime) {
        let Some(slot) = slots.get_mut(key) else {
            return;
        };
        let nobody_uses_it = slot.users.is_empty();
        let Some(trouble) = slot.trouble.as_deref_mut() else {
            return;
        };
        trouble.failures = 0;
        trouble.hastened_at = Some(now);
        if nobody_uses_it {
            // Nothing is tried by itself: whoever asks next need not wait.
            trouble.retry_at = now;
            return;
        }
        trouble.retry_at = trouble.retry_at.min(at);
        // What is on its way already has left the queue.
        if self.renewals.due_at(key).is_some() {
            self.renewals.schedule(key, trouble.retry_at);
        }
    }
}

impl Trouble {
    fn may_be_hastened(&self, now: Uptime) -> bool {
        self.hastened_at.is_none_or(|at| now.since(at) >= PAUSE)
    }
}
