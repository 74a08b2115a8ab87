//! The broker's time: the daemon's clock, corrected where the provider's disagrees.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::snapshot::IssuedToken;
use crate::{
    clock::{self, Clock, SharedClock, Sleep},
    entropy::Entropy,
};

/// `Date` has whole seconds and the answer takes a while to arrive: smaller differences mean nothing.
pub(super) const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// The corrected clock.
///
/// It runs by uptime from what the provider's last answer said, so that setting the daemon's clock moves no
/// token's end. Until the first answer it follows the daemon's clock, but never back: a token that looks too
/// old is renewed too early, one that looks too young would be handed out dead.
pub(super) struct BrokerClock {
    clock: SharedClock,
    /// Corrected time at uptime zero, in microseconds since 1970.
    origin: AtomicI64,
    /// The origin comes from an answer.
    learned: AtomicBool,
}

impl BrokerClock {
    pub(super) fn new(clock: SharedClock) -> Self {
        let origin = origin(clock.now(), clock.uptime());
        Self {
            clock,
            origin: AtomicI64::new(origin),
            learned: AtomicBool::new(false),
        }
    }

    /// How far the provider's clock is ahead of the daemon's; zero within the tolerance.
    pub(super) fn skew(&self) -> SignedDuration {
        let ahead = self.now().as_microsecond() - self.clock.now().as_microsecond();
        let ahead = SignedDuration::from_millis((ahead + 500).div_euclid(1000));
        if ahead.abs() < TOLERANCE {
            SignedDuration::ZERO
        } else {
            ahead
        }
    }

    /// The moment that had this uptime.
    pub(super) fn at(&self, uptime: Duration) -> Timestamp {
        let origin = self.origin.load(Ordering::Acquire);
        let uptime = i64::try_from(uptime.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_microsecond(origin.saturating_add(uptime)).unwrap_or(Timestamp::MAX)
    }

    /// Learns from an answer's `Date`. True when that moved the corrected time.
    pub(super) fn learn(&self, server_time: Timestamp) -> bool {
        let (own, before) = (self.clock.now(), self.now());
        let agrees = server_time.duration_since(own).abs() < TOLERANCE;
        self.begin_at(if agrees { own } else { server_time });
        self.now().duration_since(before).abs() >= TOLERANCE
    }

    /// A token was obtained without a `Date`: from here on its life is measured by uptime.
    pub(super) fn hold(&self) {
        if !self.learned.load(Ordering::Acquire) {
            self.begin_at(self.now());
        }
    }

    fn begin_at(&self, now: Timestamp) {
        self.origin
            .store(origin(now, self.clock.uptime()), Ordering::Release);
        self.learned.store(true, Ordering::Release);
    }

    /// A time as it is stored. The next run begins with the daemon's clock as it is, and must not take a token
    /// for younger than it is: so no time is stored later than either clock shows it.
    pub(super) fn for_storage(&self, time: Timestamp) -> Timestamp {
        time.checked_sub(self.skew().max(SignedDuration::ZERO))
            .unwrap_or(time)
    }
}

fn origin(now: Timestamp, uptime: Duration) -> i64 {
    clock::before(now, uptime).as_microsecond()
}

impl Clock for BrokerClock {
    fn now(&self) -> Timestamp {
        let now = self.at(self.uptime());
        if self.learned.load(Ordering::Acquire) {
            now
        } else {
            now.max(self.clock.now())
        }
    }

    fn uptime(&self) -> Duration {
        self.clock.uptime()
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep<'_> {
        let wait = clock::remaining(self.now(), deadline).unwrap_or_default();
        self.clock.sleep_until(clock::after(self.clock.now(), wait))
    }
}

/// When a token is renewed: two to three floors before its end, with jitter so that tokens that were obtained
/// together are not renewed together.
pub(super) fn renewal_due(token: &IssuedToken, entropy: &dyn Entropy) -> Timestamp {
    let floor = token.floor();
    clock::before(token.expires_at, entropy.between(floor * 2, floor * 3))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn scene() -> (ManualClock, BrokerClock, Timestamp) {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let manual = ManualClock::new(start);
        let clock = BrokerClock::new(Arc::new(manual.clone()));
        (manual, clock, start)
    }

    #[test]
    fn the_providers_date_corrects_a_wrong_clock() {
        let (_, clock, start) = scene();
        assert!(!clock.learn(start + SignedDuration::from_secs(2)));
        assert_eq!(clock.now(), start);
        assert!(clock.learn(start + HOUR));
        assert_eq!(clock.now(), start + HOUR);
        assert_eq!(clock.skew(), HOUR);
        assert!(clock.learn(start));
        assert_eq!(clock.now(), start);
    }

    #[test]
    fn setting_the_clock_moves_nothing_once_the_provider_was_heard() {
        let (manual, clock, start) = scene();
        clock.learn(start);
        for set in [start - HOUR, start + HOUR] {
            manual.set(set);
            assert_eq!(clock.now(), start);
            assert_eq!(clock.skew(), start.duration_since(set));
        }
        manual.advance(Duration::from_secs(10));
        assert_eq!(clock.now(), start + SignedDuration::from_secs(10));
    }

    #[test]
    fn before_that_it_follows_the_clock_but_never_back() {
        let (manual, clock, start) = scene();
        manual.set(start + HOUR);
        assert_eq!(clock.now(), start + HOUR);
        manual.set(start - HOUR);
        assert_eq!(clock.now(), start);
        manual.advance(Duration::from_secs(10));
        assert_eq!(clock.now(), start + SignedDuration::from_secs(10));
    }

    #[test]
    fn an_answer_without_a_date_stops_following() {
        let (manual, clock, start) = scene();
        manual.set(start + HOUR);
        clock.hold();
        manual.set(start - HOUR);
        assert_eq!(clock.now(), start + HOUR);
    }

    #[test]
    fn no_time_is_stored_later_than_either_clock_shows_it() {
        let (_, clock, start) = scene();
        clock.learn(start + HOUR);
        assert_eq!(clock.for_storage(clock.now()), start);
        clock.learn(start - HOUR);
        assert_eq!(clock.for_storage(clock.now()), start - HOUR);
    }
}
