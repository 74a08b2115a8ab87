//! Rates: how often something may be done.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::clock::Uptime;

/// So many times in a row, and then once in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Times in a row; one at least.
    pub at_once: u32,
    /// The time that each one takes to be earned again.
    pub every: Duration,
}

/// How far one principal is. A token bucket, as the generic cell rate algorithm keeps it: in one number.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    /// When all that was done would have been due at the regular pace.
    paid_until: Uptime,
}

impl Pace {
    /// Counts one more at `now`. Being refused costs nothing.
    ///
    /// # Errors
    /// How long to wait, where that is one too many.
    pub fn count(&mut self, rate: Rate, now: Uptime) -> Result<(), Duration> {
        let from = self.paid_until.max(now);
        let allowed = rate.every.saturating_mul(rate.at_once.saturating_sub(1));
        let ahead = from.since(now).saturating_sub(allowed);
        if ahead.is_zero() {
            self.paid_until = from.after(rate.every);
            return Ok(());
        }
        Err(ahead)
    }

    /// True when nothing is owed: a principal like any that was never seen.
    fn is_even(&self, now: Uptime) -> bool {
        self.paid_until <= now
    }
}

/// Rates of many principals, in a table of bounded size. Those for whom there is no room in it share one pace.
pub struct Rates<K> {
    rate: Rate,
    most: usize,
    state: Mutex<State<K>>,
}

struct State<K> {
    paces: HashMap<K, Pace>,
    others: Pace,
}

impl<K: Eq + Hash + Clone> Rates<K> {
    /// Each principal has `rate`; `most` of them are known at a time.
    pub fn new(rate: Rate, most: usize) -> Self {
        Self {
            rate,
            most,
            state: Mutex::new(State {
                paces: HashMap::new(),
                others: Pace::default(),
            }),
        }
    }

    /// Counts one more of `who` at `now`.
    ///
    /// # Errors
    /// How long to wait, where that is one too many.
    pub fn count(&self, who: &K, now: Uptime) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pace) = state.paces.get_mut(who) {
            return pace.count(self.rate, now);
        }
        if state.paces.len() >= self.most {
            state.paces.retain(|_, pace| !pace.is_even(now));
        }
        if state.paces.len() >= self.most {
            return state.others.count(self.rate, now);
        }
        state.paces.entry(who.clone()).or_default().count(self.rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        at_once: 3,
        every: Duration::from_secs(30),
    };

    fn at(seconds: u64) -> Uptime {
        Uptime::START.after(span(seconds))
    }

    fn span(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn so_many_in_a_row_and_then_one_in_so_long() {
        let mut pace = Pace::default();
        let mut count = |seconds| pace.count(RATE, at(seconds));
        for _ in 0..3 {
            assert_eq!(count(100), Ok(()));
        }
        assert_eq!(count(100), Err(span(30)));
        assert_eq!(count(129), Err(span(1)), "being refused costs nothing");
        assert_eq!(count(130), Ok(()));
        assert_eq!(count(131), Err(span(29)));
        // Who asks for nothing for a while may ask in a row again, and no more than that.
        for _ in 0..3 {
            assert_eq!(count(10_000), Ok(()));
        }
        assert_eq!(count(10_000), Err(span(30)));
    }

    #[test]
    fn each_has_a_pace_of_its_own() {
        let rates = Rates::new(RATE, 10);
        for _ in 0..3 {
            assert_eq!(rates.count(&"a", at(1)), Ok(()));
        }
        assert!(rates.count(&"a", at(1)).is_err());
        assert_eq!(rates.count(&"b", at(1)), Ok(()));
    }

    #[test]
    fn the_table_is_bounded_and_who_finds_no_room_shares_one_pace() {
        let rates = Rates::new(RATE, 10);
        for who in 0..10 {
            assert_eq!(rates.count(&who, at(1)), Ok(()));
        }
        let let_in = (10..1000).filter(|who| rates.count(who, at(1)).is_ok()).count();
        assert_eq!(let_in, 3);
        assert_eq!(rates.state.lock().unwrap().paces.len(), 10);
        assert_eq!(rates.count(&0, at(1)), Ok(()), "who is known keeps its own");
        // Those that are even are forgotten for those who come.
        assert_eq!(rates.count(&1000, at(100)), Ok(()));
        assert_eq!(rates.state.lock().unwrap().paces.len(), 1);
    }
}
