//! A moment as the machine counts it from its start, suspends included.

use std::time::Duration;

use jiff::SignedDuration;

/// A moment of uptime: how long after the machine's start it is, or before. It has no calendar, and none is needed for
/// lives and pauses. All its arithmetic saturates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uptime(SignedDuration);

impl Uptime {
    /// The machine's start.
    pub const START: Self = Self(SignedDuration::ZERO);

    /// The moment so long after the machine's start.
    pub const fn new(since_start: SignedDuration) -> Self {
        Self(since_start)
    }

    /// How long after the machine's start it is; less than zero before that.
    pub const fn since_start(self) -> SignedDuration {
        self.0
    }

    /// The moment so many microseconds after the machine's start.
    pub const fn from_micros(micros: i64) -> Self {
        Self(SignedDuration::from_micros(micros))
    }

    /// How many microseconds after the machine's start it is.
    pub fn as_micros(self) -> i64 {
        let end = if self.0.is_negative() { i64::MIN } else { i64::MAX };
        self.0.as_micros().try_into().unwrap_or(end)
    }

    /// The moment so much later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(signed(span)))
    }

    /// The moment so much earlier.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(signed(span)))
    }

    /// How long it is from here until `deadline`; `None` when it has come.
    pub fn until(self, deadline: Self) -> Option<Duration> {
        let left = Duration::try_from(deadline.0.saturating_sub(self.0)).ok()?;
        Some(left).filter(|left| !left.is_zero())
    }

    /// How long ago `earlier` was; zero when it is still to come.
    pub fn since(self, earlier: Self) -> Duration {
        earlier.until(self).unwrap_or_default()
    }
}

fn signed(span: Duration) -> SignedDuration {
    SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Uptime {
        Uptime::new(SignedDuration::from_secs(seconds))
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(at(1).before(Duration::from_secs(2)), at(-1));
        let last = at(1).after(Duration::MAX);
        assert!(last > at(i64::MAX / 2));
        assert_eq!(last.after(Duration::MAX), last);
        assert!(at(1).before(Duration::MAX) < at(0));
    }

    #[test]
    fn spans_have_a_direction() {
        assert_eq!(at(10).until(at(12)), Some(Duration::from_secs(2)));
        assert_eq!(at(10).until(at(10)), None);
        assert_eq!(at(10).until(at(8)), None);
        assert_eq!(at(10).since(at(8)), Duration::from_secs(2));
        assert_eq!(at(8).since(at(10)), Duration::ZERO);
        assert_eq!(at(5).since(at(-5)), Duration::from_secs(10));
    }
}
