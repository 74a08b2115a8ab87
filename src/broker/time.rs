//! The broker's time: the daemon's clock, corrected where the provider's disagrees.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::clock::{Clock, SharedClock, Sleep};

/// `Date` has whole seconds and the answer takes a while to arrive: smaller differences mean nothing.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// The corrected clock.
pub(super) struct BrokerClock {
    clock: SharedClock,
    /// Milliseconds that the provider is ahead.
    skew: AtomicI64,
}

impl BrokerClock {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            skew: AtomicI64::new(0),
        }
    }

    /// How far the provider's clock is ahead of the daemon's; zero within the tolerance.
    pub(super) fn skew(&self) -> SignedDuration {
        SignedDuration::from_millis(self.skew.load(Ordering::Relaxed))
    }

    /// The daemon's own time, to be corrected later.
    pub(super) fn uncorrected(&self) -> Timestamp {
        self.clock.now()
    }

    /// Corrects a time of the daemon's own clock by what is known now.
    pub(super) fn correct(&self, time: Timestamp) -> Timestamp {
        let skew = self.skew();
        if skew.is_zero() {
            time
        } else {
            time.checked_add(skew).unwrap_or(time)
        }
    }

    /// Learns from an answer's `Date`. True when the correction changed.
    pub(super) fn learn(&self, server_time: Timestamp) -> bool {
        let ahead = server_time.duration_since(self.clock.now());
        let ahead = if ahead.abs() < TOLERANCE {
            SignedDuration::ZERO
        } else {
            ahead
        };
        let skew = i64::try_from(ahead.as_millis()).unwrap_or_default();
        let before = self.skew.swap(skew, Ordering::Relaxed);
        skew.abs_diff(before) >= TOLERANCE.as_millis().unsigned_abs() as u64
    }
}

impl Clock for BrokerClock {
    fn now(&self) -> Timestamp {
        self.correct(self.clock.now())
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep<'_> {
        self.clock
            .sleep_until(deadline.checked_sub(self.skew()).unwrap_or(deadline))
    }
}

/// When a token of this life is renewed: two to three floors before its end, with jitter so that tokens that
/// were obtained together are not renewed together.
pub(super) fn lead(floor: Duration, entropy: &dyn crate::entropy::Entropy) -> Duration {
    entropy.between(floor * 2, floor * 3)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn the_providers_date_corrects_a_wrong_clock() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = BrokerClock::new(Arc::new(ManualClock::new(start)));
        assert!(!clock.learn(start + SignedDuration::from_secs(2)));
        assert_eq!(clock.now(), start);
        assert!(clock.learn(start + SignedDuration::from_hours(1)));
        assert_eq!(clock.now(), start + SignedDuration::from_hours(1));
        assert!(clock.learn(start));
        assert_eq!(clock.now(), start);
    }
}
