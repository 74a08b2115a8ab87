//! A clock for tests of what depends on time.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::{BootId, Clock, Sleep, Uptime, after};

/// A clock that stands still until it is moved.
#[derive(Debug, Clone)]
pub struct ManualClock {
    hands: watch::Sender<Hands>,
}

#[derive(Debug, Clone, Copy)]
struct Hands {
    now: Timestamp,
    uptime: Uptime,
    /// How often the machine was started again.
    reboots: u8,
    /// How often the wall clock was set.
    settings: u64,
}

impl ManualClock {
    /// A clock that shows `start`, on a machine that ran for an hour.
    pub fn new(start: Timestamp) -> Self {
        Self {
            hands: watch::Sender::new(Hands {
                now: start,
                uptime: Uptime::START.after(Duration::from_secs(3600)),
                reboots: 0,
                settings: 0,
            }),
        }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.hands.send_modify(|hands| {
            hands.now = after(hands.now, by);
            hands.uptime = hands.uptime.after(by);
        });
    }

    /// The machine is started again: it was off for so long, and has run for a minute since.
    pub fn reboot(&self, off: Duration) {
        let running = Duration::from_secs(60);
        self.hands.send_modify(|hands| {
            hands.now = after(hands.now, off + running);
            hands.uptime = Uptime::START.after(running);
            hands.reboots += 1;
        });
    }

    /// Sets the wall clock, also backwards, as a person or NTP does. No time passes.
    pub fn set(&self, time: Timestamp) {
        self.hands.send_modify(|hands| {
            hands.now = time;
            hands.settings += 1;
        });
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.hands.borrow().now
    }

    fn uptime(&self) -> Uptime {
        self.hands.borrow().uptime
    }

    fn boot(&self) -> Option<BootId> {
        Some(BootId::from_bytes([self.hands.borrow().reboots; 16]))
    }

    fn sleep_until(&self, deadline: Uptime) -> Sleep<'_> {
        let mut hands = self.hands.subscribe();
        Box::pin(async move {
            // The sender lives in `self`, so the wait cannot fail.
            let _ = hands.wait_for(|hands| hands.uptime >= deadline).await;
        })
    }

    fn until_set(&self) -> Sleep<'_> {
        let mut hands = self.hands.subscribe();
        let settings = hands.borrow().settings;
        Box::pin(async move {
            let _ = hands.wait_for(|hands| hands.settings != settings).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_sleeper_wakes_when_its_time_has_passed() {
        let clock = ManualClock::new(at("2024-01-15T10:30:00Z"));
        let (sleeper, deadline) = (clock.clone(), clock.uptime().after(Duration::from_secs(1800)));
        let task = tokio::spawn(async move { sleeper.sleep_until(deadline).await });
        clock.advance(Duration::from_secs(1799));
        tokio::task::yield_now().await;
        clock.set(at("2034-01-15T10:30:00Z"));
        tokio::task::yield_now().await;
        assert!(!task.is_finished(), "setting the clock passes no time");
        clock.advance(Duration::from_secs(1));
        task.await.unwrap();
    }

    #[tokio::test]
    async fn whoever_waits_for_the_clock_to_be_set_hears_of_it() {
        let clock = ManualClock::new(at("2024-01-15T10:30:00Z"));
        let before = clock.uptime();
        let set = clock.until_set();
        // Also when it happened before the wait was polled.
        clock.set(at("2024-01-14T00:00:00Z"));
        set.await;
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.now(), at("2024-01-14T00:00:05Z"));
        assert_eq!(clock.uptime(), before.after(Duration::from_secs(5)));
    }
}
