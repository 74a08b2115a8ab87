//! Counters of what was asked, and waiting for them.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tokio::sync::Notify;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What was asked of the emulator since it started. A request counts when it has been read, before
        /// a fault delays it.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The counters themselves.
        #[derive(Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
            changed: Notify,
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Requests to the authorization endpoint, pages and decisions alike.
    authorize,
    /// Token requests that exchange a code.
    exchange,
    /// Token requests with a refresh token.
    refresh,
    /// Token requests with a service account's assertion.
    assertion,
    /// Token requests that proved a key (DPoP).
    proofs,
    /// Revocations asked for.
    revoke,
    /// Requests for the signing keys.
    certs,
    /// Requests for a person's identity.
    userinfo,
    /// Requests for the discovery document and for the one about security events.
    discovery,
    /// Security events that a receiver has taken.
    events_taken,
    /// Security events that a receiver refused or did not answer.
    events_refused,
    /// Calls of Gmail, Calendar and Drive.
    api_calls,
    /// Those of them whose token was missing, expired, revoked or not ours: answered with 401.
    api_unauthorized,
    /// Messages that Gmail accepted.
    sent_mails,
    /// Uses of a refresh token that had been rotated out.
    refresh_token_reuse,
    /// Requests that a fault struck.
    faults_struck,
}

/// One counter.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counters {
    /// Counts one, and wakes whoever waits for it.
    pub(crate) fn count(&self, counter: impl Fn(&Self) -> &Counter) {
        counter(self).0.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Waits until the counters satisfy `enough`.
    pub(crate) async fn wait_until(&self, enough: impl Fn(&Stats) -> bool) -> Stats {
        loop {
            // Registered before the look, so that no change between the two is missed.
            let changed = self.changed.notified();
            let stats = self.snapshot();
            if enough(&stats) {
                return stats;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_waiter_sees_the_count_that_it_waits_for() {
        let counters = Arc::new(Counters::default());
        let waiter = counters.clone();
        let task = tokio::spawn(async move { waiter.wait_until(|stats| stats.refresh == 2).await });
        counters.count(|c| &c.refresh);
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        counters.count(|c| &c.refresh);
        assert_eq!(task.await.unwrap().refresh, 2);
    }
}
