//! Orders that come twice for one deed: `timeout`, container runtimes and shells signal a process and then its group.

use std::time::Duration;

use tokio::time::Instant;

/// How soon the same order is the same deed's.
const SOON: Duration = Duration::from_secs(1);

/// Tells an order that is given again from the echo of the one before.
#[derive(Debug)]
pub(crate) struct Echoes<T> {
    last: Option<(T, Instant)>,
}

impl<T> Default for Echoes<T> {
    fn default() -> Self {
        Self { last: None }
    }
}

impl<T: PartialEq> Echoes<T> {
    /// Whether an order that comes now is the echo of the last one that was none.
    pub(crate) fn is_echo(&mut self, order: T, now: Instant) -> bool {
        let is_echo = self
            .last
            .as_ref()
            .is_some_and(|(last, at)| *last == order && now.saturating_duration_since(*at) < SOON);
        if !is_echo {
            self.last = Some((order, now));
        }
        is_echo
    }

    /// Whether an order was given before.
    pub(crate) fn was_heard(&self) -> bool {
        self.last.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_at_once_is_an_echo_and_what_comes_later_is_an_order() {
        let begun = Instant::now();
        let at = |milliseconds| begun + Duration::from_millis(milliseconds);
        let mut echoes = Echoes::default();
        assert!(!echoes.was_heard());
        for (order, time, is_echo) in [
            ("TERM", 0, false),
            ("TERM", 2, true),
            ("TERM", 999, true),
            ("TERM", 1000, false),
            ("INT", 1001, false),
            ("INT", 1500, true),
            ("TERM", 1501, false),
        ] {
            assert_eq!(echoes.is_echo(order, at(time)), is_echo, "{order} {time}");
        }
        assert!(echoes.was_heard());
    }
}
