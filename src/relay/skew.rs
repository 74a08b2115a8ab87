//! What the broker's clock shows beside this machine's: readers compare a token's end with their own machine's clock.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::source::Source;
use crate::clock::{Moment, SharedClock};

/// What whole seconds and the way of an answer make of two clocks that show the same.
const SLACK: SignedDuration = SignedDuration::from_secs(2);
/// From this on the difference is worth a line.
const WORTH_A_LINE: SignedDuration = SignedDuration::from_secs(5);

/// The broker's clock, as its answers show it.
pub(crate) struct BrokerClock {
    source: Source,
    own: SharedClock,
    known: Mutex<Known>,
}

/// What was learned last.
#[derive(Default)]
struct Known {
    /// By how much this machine's clock was ahead, in whole seconds, and when; `None` where both show the same.
    ahead: Option<(SignedDuration, Moment)>,
    is_told: bool,
}

impl BrokerClock {
    /// Nothing is known of it yet.
    pub(crate) fn new(source: Source, own: SharedClock) -> Self {
        Self {
            source,
            own,
            known: Mutex::default(),
        }
    }

    /// This machine's moment, for the beginning of a request.
    pub(crate) fn now(&self) -> Moment {
        self.own.moment()
    }

    /// Takes note of what the broker's clock showed at some time since `asked`, and says what a time of its answer has to be
    /// moved by. What agrees with what is known teaches nothing, so that the same token keeps the same end.
    pub(crate) fn showed(&self, broker: Timestamp, asked: Moment) -> SignedDuration {
        let took = self.own.uptime().since(asked.uptime);
        let took = SignedDuration::try_from(took).unwrap_or(SignedDuration::MAX);
        let least = asked.wall.duration_since(broker);
        let may_be = least.saturating_sub(SLACK)..=least.saturating_add(took).saturating_add(SLACK);
        let mut known = self.known();
        if may_be.contains(&SignedDuration::ZERO) {
            known.ahead = None;
        } else if !known.moved_by(asked).is_some_and(|by| may_be.contains(&by)) {
            known.ahead = Some((whole_seconds(least), asked));
        }
        let ahead = known.moved_by(asked).unwrap_or_default();
        let is_worth_a_line = ahead.abs() > WORTH_A_LINE;
        if is_worth_a_line && !known.is_told {
            let direction = if ahead.is_positive() { "behind" } else { "ahead of" };
            tracing::warn!(
                "the clock of {} is {} s {direction} this machine's: when tokens end is told by this machine's clock; let NTP \
                 set both",
                self.source,
                ahead.abs().as_secs()
            );
        }
        known.is_told = is_worth_a_line;
        ahead
    }

    /// What a time that the broker tells now has to be moved by, by what is known.
    pub(crate) fn moved_by(&self) -> SignedDuration {
        self.known().moved_by(self.own.moment()).unwrap_or_default()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn moved_by(&self, now: Moment) -> Option<SignedDuration> {
        let (ahead, then) = self.ahead?;
        Some(ahead.saturating_add(jump(then, now)))
    }
}

/// By how much this machine's clock was set between two moments, in whole seconds; nothing for what is no more than NTP's
/// steering.
pub(crate) fn jump(before: Moment, now: Moment) -> SignedDuration {
    let ahead = now.ahead_of(before);
    if ahead.abs() > WORTH_A_LINE {
        whole_seconds(ahead)
    } else {
        SignedDuration::ZERO
    }
}

/// Rather earlier than later: a token is not to be taken for good when it has ended.
fn whole_seconds(span: SignedDuration) -> SignedDuration {
    let part = SignedDuration::from_nanos(span.subsec_nanos().into());
    let whole = span.saturating_sub(part);
    if part.is_negative() {
        whole.saturating_sub(SignedDuration::from_secs(1))
    } else {
        whole
    }
}

/// What a clock shows by which something ends at `end`, in `left` seconds.
pub(crate) fn clock_of(end: Timestamp, left: u64) -> Option<Timestamp> {
    end.checked_sub(Duration::from_secs(left)).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{clock::ManualClock, telemetry::captured::Captured};

    #[test]
    fn the_difference_is_learned_told_once_and_steady() {
        let clock = ManualClock::new("2030-01-01T12:00:00Z".parse().unwrap());
        let source = Source::Socket("/x/broker.sock".into());
        let broker = BrokerClock::new(source, Arc::new(clock.clone()));
        let at = |time: &str| -> Timestamp { format!("2030-01-01T{time}Z").parse().unwrap() };
        let seconds = SignedDuration::from_secs;
        let log = Captured::start();
        assert_eq!(broker.showed(at("12:00:01"), broker.now()), seconds(0));
        // What an answer's way takes is no difference.
        let asked = broker.now();
        clock.advance(Duration::from_secs(40));
        assert_eq!(broker.showed(at("12:00:38"), asked), seconds(0));
        assert_eq!(broker.showed(at("10:30:40"), broker.now()), seconds(5400));
        assert_eq!(
            broker.showed(at("10:30:41"), broker.now()),
            seconds(5400),
            "steady"
        );
        // This machine's clock is set, and the broker's is not.
        clock.set(at("11:00:40"));
        assert_eq!(broker.moved_by(), seconds(1800));
        assert_eq!(broker.showed(at("10:30:40"), broker.now()), seconds(1800));
        assert_eq!(broker.showed(at("12:00:40"), broker.now()), seconds(-3600));
        assert_eq!(broker.showed(at("11:00:36"), broker.now()), seconds(4), "no line");
        let lines = log.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("5400 s behind this machine's"), "{lines:?}");
    }
}
