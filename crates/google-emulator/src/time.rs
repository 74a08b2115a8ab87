//! Time: where the emulator reads it, and arithmetic that stays within the times that can be written.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

/// Where the emulator reads the time: of tokens' ends, of id tokens, of every answer's `Date`.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's own clock.
    #[expect(clippy::disallowed_methods, reason = "the one place where time enters")]
    pub fn system() -> Self {
        Self::from_fn(Timestamp::now)
    }

    /// A clock that shows what `now` returns.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// The hands of a [`Clock`] that a test moves: it shows the same time until then. Clones share it.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<Timestamp>>);

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(start)))
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = after(*now, by);
    }

    /// The clock for [`Options::clock`](crate::Options::clock).
    pub fn clock(&self) -> Clock {
        let hands = self.clone();
        Clock::from_fn(move || hands.now())
    }
}

/// `time` plus `span`, held at the last moment that can be written.
pub(crate) fn after(time: Timestamp, span: Duration) -> Timestamp {
    let later = SignedDuration::try_from(span).map(|span| time.checked_add(span));
    later.ok().and_then(Result::ok).unwrap_or(Timestamp::MAX)
}

/// `time` minus `span`, held at the first moment that can be written.
pub(crate) fn before(time: Timestamp, span: Duration) -> Timestamp {
    let earlier = SignedDuration::try_from(span).map(|span| time.checked_sub(span));
    earlier.ok().and_then(Result::ok).unwrap_or(Timestamp::MIN)
}

/// The whole seconds from `now` until `end`; `None` when it has come.
pub(crate) fn seconds_until(now: Timestamp, end: Timestamp) -> Option<u64> {
    let left = Duration::try_from(end.duration_since(now)).ok()?;
    (!left.is_zero()).then_some(left.as_secs())
}

/// `time` in whole seconds, as Google's APIs write it (RFC 3339, UTC).
pub(crate) fn rfc3339(time: Timestamp) -> String {
    format!("{time:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn whole_seconds_are_written_and_never_ahead() {
        assert_eq!(rfc3339(at("2024-01-15T10:30:00.987Z")), "2024-01-15T10:30:00Z");
        assert_eq!(rfc3339(at("2024-01-15T10:30:00Z")), "2024-01-15T10:30:00Z");
    }

    #[test]
    fn arithmetic_stays_within_what_can_be_written() {
        let now = at("2024-01-15T10:30:00Z");
        assert_eq!(after(now, Duration::from_secs(90)), at("2024-01-15T10:31:30Z"));
        assert_eq!(before(now, Duration::from_secs(90)), at("2024-01-15T10:28:30Z"));
        assert_eq!(after(now, Duration::from_secs(u64::MAX)), Timestamp::MAX);
        assert_eq!(before(now, Duration::from_secs(u64::MAX)), Timestamp::MIN);
        assert_eq!(after(now, Duration::from_secs(1 << 40)), Timestamp::MAX);
    }

    #[test]
    fn what_has_come_has_no_seconds_left() {
        let now = at("2024-01-15T10:30:00Z");
        assert_eq!(
            seconds_until(now, after(now, Duration::from_millis(1500))),
            Some(1)
        );
        assert_eq!(seconds_until(now, now), None);
        assert_eq!(seconds_until(now, before(now, Duration::from_secs(1))), None);
    }

    #[test]
    fn a_manual_clock_moves_when_it_is_moved() {
        let hands = ManualClock::new(at("2024-01-15T10:30:00Z"));
        let clock = hands.clock();
        hands.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), at("2024-01-15T10:30:01Z"));
    }
}
