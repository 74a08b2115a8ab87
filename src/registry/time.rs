//! The broker's time: where the uptime that it counts in meets the wall clock, and what each provider says of that.

use std::{
    collections::BTreeMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    capability::ScopeSet,
    clock::{BootId, BootMoment, Moment, SharedClock, Sleep, Uptime},
    entropy::Entropy,
    registry::snapshot::IssuedToken,
    store::TokenRecord,
};

/// `Date` has whole seconds and the answer takes a while to arrive: smaller differences mean nothing.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);
/// A wall clock that moved by less was not set, only read twice.
const STEP: SignedDuration = SignedDuration::from_secs(1);
/// No provider's clock shows less: this program is younger.
const BEFORE_ALL: Timestamp = Timestamp::constant(1_735_689_600, 0);
/// How long a token that carries less than was asked for is left at that.
const NARROWER: Duration = Duration::from_secs(300);
/// See [`spread`].
const SPACING: Duration = Duration::from_millis(50);

/// The broker's clock. A wall clock is kept as its origin: what it showed at uptime zero, in microseconds since 1970.
pub(crate) struct BrokerClock {
    clock: SharedClock,
    boot: Option<BootId>,
    /// The node's. It stays the same until that is set, so that what is shown of a token does not change by itself.
    origin: AtomicI64,
    /// Those of the providers, by who runs them, as each one's last accepted answer had it. No deadline hangs on them.
    heard: RwLock<BTreeMap<String, i64>>,
}

impl BrokerClock {
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self {
            origin: AtomicI64::new(clock.moment().origin().as_microsecond()),
            heard: RwLock::default(),
            boot: clock.boot(),
            clock,
        }
    }

    /// The node's wall clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What lives and pauses are measured by.
    pub(crate) fn uptime(&self) -> Uptime {
        self.clock.uptime()
    }

    /// A moment of uptime, for the next process.
    pub(crate) fn in_boot(&self, uptime: Uptime) -> Option<BootMoment> {
        self.boot.map(|boot| BootMoment { boot, uptime })
    }

    /// When a stored token was obtained, if that was in this run of the machine.
    pub(crate) fn in_this_boot(&self, token: &TokenRecord) -> Option<Uptime> {
        let issued = token.issued_in_boot?;
        (Some(issued.boot) == self.boot).then_some(issued.uptime)
    }

    /// The present moment, for showing when another one is.
    pub(crate) fn moment(&self) -> Moment {
        let now = self.clock.moment();
        let kept = Moment::of(time(self.origin.load(Ordering::Acquire)), now.uptime);
        if now.ahead_of(kept).abs() < STEP {
            return kept;
        }
        self.origin
            .store(now.origin().as_microsecond(), Ordering::Release);
        now
    }

    /// The present moment, as the clock of that provider shows it. Before it was heard of, the node's is believed.
    pub(crate) fn provider_now(&self, run_by: &str) -> Timestamp {
        let now = self.moment();
        let heard = self.heard.read().unwrap_or_else(PoisonError::into_inner);
        heard
            .get(run_by)
            .map_or(now.wall, |origin| Moment::of(time(*origin), now.uptime).wall)
    }

    /// How far the clock of that provider is ahead of the node's; zero within the tolerance.
    pub(crate) fn skew_of(&self, run_by: &str) -> SignedDuration {
        tolerated(self.provider_now(run_by).duration_since(self.moment().wall))
    }

    /// How wrong the node's clock is by what was heard: how far the clock of the provider that agrees best is ahead of
    /// it. Where one of several differs alone, it is that one's clock which is wrong.
    pub(crate) fn skew(&self) -> SignedDuration {
        let now = self.moment();
        let heard = self.heard.read().unwrap_or_else(PoisonError::into_inner);
        let ahead = heard.values().map(|origin| {
            Moment::of(time(*origin), now.uptime)
                .wall
                .duration_since(now.wall)
        });
        ahead
            .min_by_key(|ahead| ahead.abs())
            .map_or(SignedDuration::ZERO, tolerated)
    }

    /// The node's time, where that provider's is believed to be another.
    pub(crate) fn if_differing(&self, run_by: &str) -> Option<Timestamp> {
        let other = self.other_times(run_by, None, self.believed(run_by)).pop();
        other.map(|other| other.wall_at(self.uptime()))
    }

    /// The time at that provider, as it is believed now.
    pub(crate) fn believed(&self, run_by: &str) -> Moment {
        Moment {
            wall: self.provider_now(run_by),
            uptime: self.uptime(),
        }
    }

    /// What that provider's clock may show, beside what was tried: first what is believed of it by now, which another request
    /// may have taught, then as it said just now, then as the node's shows it, since each `Date`, also what was heard before,
    /// may be any proxy's.
    pub(crate) fn other_times(&self, run_by: &str, heard: Option<Moment>, tried: Moment) -> Vec<Moment> {
        let now = self.clock.moment();
        let mut times = vec![tried];
        for other in [Some(self.believed(run_by)), heard, Some(now)]
            .into_iter()
            .flatten()
        {
            if times
                .iter()
                .all(|known| other.ahead_of(*known).abs() >= TOLERANCE)
            {
                times.push(other);
            }
        }
        times.split_off(1)
    }

    /// Learns from the `Date` of an answer that this provider gave to an accepted request. True when that is news.
    pub(crate) fn learn(&self, run_by: &str, heard: Moment) -> bool {
        if heard.wall < BEFORE_ALL {
            return false;
        }
        let before = self.skew_of(run_by);
        let now = self.moment();
        let believed = if heard.ahead_of(now).abs() < TOLERANCE {
            now
        } else {
            heard
        };
        self.heard
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(run_by.to_owned(), believed.origin().as_microsecond());
        self.skew_of(run_by)
            .checked_sub(before)
            .is_none_or(|change| change.abs() >= TOLERANCE)
    }

    pub(crate) fn sleep_until(&self, deadline: Uptime) -> Sleep<'_> {
        self.clock.sleep_until(deadline)
    }

    pub(crate) fn until_set(&self) -> Sleep<'_> {
        self.clock.until_set()
    }
}

/// Zero within the tolerance; else to the millisecond.
fn tolerated(ahead: SignedDuration) -> SignedDuration {
    if ahead.abs() < TOLERANCE {
        return SignedDuration::ZERO;
    }
    let millis = (ahead.as_micros() + 500).div_euclid(1000);
    SignedDuration::from_millis(millis.try_into().unwrap_or(i64::MAX))
}

fn time(origin: i64) -> Timestamp {
    Timestamp::from_microsecond(origin).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Over how long so many renewals are spread that could begin at once: twenty in a second.
pub(crate) fn spread(renewals: usize) -> Duration {
    SPACING.saturating_mul(renewals.try_into().unwrap_or(u32::MAX))
}

/// When the token of these scopes is renewed: two to three floors before its end, with jitter so that tokens that were
/// obtained together are not renewed together. One that carries less than was asked for, by a mistake perhaps, is asked for
/// again within a few minutes.
pub(crate) fn renewal_due(asked: &ScopeSet, token: &IssuedToken, entropy: &dyn Entropy) -> Uptime {
    let floor = token.floor();
    let due = token.expires_at.before(entropy.between(floor * 2, floor * 3));
    if token.is_narrower_than(asked) {
        return due.min(token.issued_at.after(entropy.between(NARROWER / 2, NARROWER)));
    }
    due
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{Clock, ManualClock};

    const HOUR: SignedDuration = SignedDuration::from_hours(1);
    const ACME: &str = "Acme";

    fn scene() -> (ManualClock, BrokerClock, Timestamp) {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let manual = ManualClock::new(start);
        let clock = BrokerClock::new(Arc::new(manual.clone()));
        (manual, clock, start)
    }

    fn heard(clock: &ManualClock, wall: Timestamp) -> Moment {
        Moment {
            uptime: clock.uptime(),
            wall,
        }
    }

    #[test]
    fn the_provider_is_believed_about_its_own_time() {
        let (manual, clock, start) = scene();
        assert_eq!(clock.provider_now(ACME), start);
        assert!(!clock.learn(ACME, heard(&manual, start + SignedDuration::from_secs(2))));
        assert_eq!(clock.provider_now(ACME), start);
        assert!(clock.learn(ACME, heard(&manual, start + HOUR)));
        assert!(!clock.learn(ACME, heard(&manual, start + HOUR)), "that is known");
        assert_eq!(clock.provider_now(ACME), start + HOUR);
        assert_eq!(clock.skew(), HOUR);
        assert_eq!(clock.now(), start);
        assert!(clock.learn(ACME, heard(&manual, start)));
        assert_eq!(clock.provider_now(ACME), start);
    }

    #[test]
    fn what_one_provider_says_of_the_time_says_nothing_of_another() {
        let (manual, clock, start) = scene();
        assert!(clock.learn(ACME, heard(&manual, start + HOUR)));
        assert_eq!(clock.provider_now("Other"), start);
        assert_eq!(clock.if_differing("Other"), None);
        assert_eq!(clock.skew(), HOUR, "nobody else was heard");
        assert!(!clock.learn("Other", heard(&manual, start)));
        assert_eq!(clock.provider_now(ACME), start + HOUR);
        assert_eq!(clock.skew_of(ACME), HOUR);
        assert_eq!(
            clock.skew(),
            SignedDuration::ZERO,
            "the node agrees with one of two"
        );
        clock.learn("Other", heard(&manual, start - HOUR * 2));
        assert_eq!(clock.skew(), HOUR, "with neither");
    }

    #[test]
    fn what_is_tried_beside_what_is_believed_is_what_was_said_and_the_nodes() {
        let (manual, clock, start) = scene();
        let other = |said: Option<SignedDuration>| {
            let said = said.map(|ahead| heard(&manual, start + ahead));
            let times = clock.other_times(ACME, said, clock.believed(ACME)).into_iter();
            let ahead = |time: Moment| time.wall.duration_since(start);
            times.map(ahead).collect::<Vec<_>>()
        };
        let none = SignedDuration::ZERO;
        assert_eq!((other(None), other(Some(none))), (vec![], vec![]));
        assert_eq!(other(Some(HOUR)), [HOUR]);
        clock.learn(ACME, heard(&manual, start + HOUR));
        assert_eq!((other(None), other(Some(HOUR))), (vec![none], vec![none]));
        assert_eq!(other(Some(none)), [none]);
        assert_eq!(other(Some(HOUR * 2)), [HOUR * 2, none], "both may be a proxy's");
    }

    #[test]
    fn what_another_request_taught_meanwhile_is_tried_first() {
        let (manual, clock, start) = scene();
        let tried = clock.believed(ACME);
        clock.learn(ACME, heard(&manual, start + HOUR));
        let times = clock.other_times(ACME, Some(heard(&manual, start + HOUR)), tried);
        let ahead: Vec<_> = times.iter().map(|time| time.wall.duration_since(start)).collect();
        assert_eq!(ahead, [HOUR]);
    }

    #[test]
    fn what_was_heard_is_counted_from_then_on() {
        let (manual, clock, start) = scene();
        let heard = heard(&manual, start + HOUR);
        // The body takes half a minute.
        manual.advance(Duration::from_secs(30));
        clock.learn(ACME, heard);
        assert_eq!(clock.skew(), HOUR);
        assert_eq!(
            clock.provider_now(ACME),
            start + HOUR + SignedDuration::from_secs(30)
        );
    }

    #[test]
    fn setting_the_nodes_clock_does_not_move_the_providers() {
        let (manual, clock, start) = scene();
        clock.learn(ACME, heard(&manual, start));
        for set in [start - HOUR, start + HOUR] {
            manual.set(set);
            assert_eq!(clock.provider_now(ACME), start);
            assert_eq!(clock.skew(), start.duration_since(set));
        }
        manual.advance(Duration::from_secs(10));
        assert_eq!(clock.provider_now(ACME), start + SignedDuration::from_secs(10));
    }

    #[test]
    fn what_is_shown_changes_when_the_clock_is_set_and_not_by_itself() {
        let (manual, clock, start) = scene();
        let end = clock.uptime().after(Duration::from_secs(3600));
        assert_eq!(clock.moment().wall_at(end), start + HOUR);
        manual.advance(Duration::from_secs(100));
        manual.set(manual.now() + SignedDuration::from_millis(900));
        assert_eq!(clock.moment().wall_at(end), start + HOUR, "a hair's breadth");
        manual.set(manual.now() + HOUR);
        assert_eq!(
            clock.moment().wall_at(end),
            start + HOUR * 2 + SignedDuration::from_millis(900)
        );
        clock.learn(ACME, heard(&manual, start));
        assert_eq!(
            clock.moment().wall,
            manual.now(),
            "readers compare with the node's clock"
        );
    }
}
