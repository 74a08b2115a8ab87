//! Time as a parameter.
//!
//! Everything that expires is compared against [`Clock::now`], and everything that waits for a moment
//! waits through [`Clock::sleep_until`], so that a test can hold time still and a laptop that was
//! suspended finds out at once what has expired meanwhile.

use std::{pin::Pin, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use rustix::{
    event::Timespec,
    io::Errno,
    time::{ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags},
};
use tokio::{io::unix::AsyncFd, sync::watch};

/// A wait that can be named in a trait.
pub type Sleep<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment. Setting the clock does not move it; a suspended machine does not stop it.
    fn uptime(&self) -> Duration;

    /// Waits until `deadline`, or until the clock was set: the caller compares again and may wait anew.
    fn sleep_until(&self, deadline: Timestamp) -> Sleep<'_>;
}

/// A clock shared by the parts of the program.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's real-time clock.
///
/// It waits on a `timerfd` of `CLOCK_REALTIME` that is cancelled when the clock is set: a suspended
/// machine or an NTP step wakes the sleeper at once, and nothing polls (`timerfd_create(2)`).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    async fn sleep_on_timer(deadline: Timestamp) -> rustix::io::Result<()> {
        let timer = rustix::time::timerfd_create(
            TimerfdClockId::Realtime,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        let spec = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: deadline.as_second(),
                tv_nsec: deadline.subsec_nanosecond().max(0).into(),
            },
        };
        rustix::time::timerfd_settime(
            &timer,
            TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET,
            &spec,
        )?;
        #[expect(
            deprecated,
            reason = "`OwnedFd` keeps the I/O safety that the deprecation asks for"
        )]
        let timer = AsyncFd::new(timer).map_err(|_| Errno::MFILE)?;
        // Readable means the moment came or the clock was set. Both are reasons to look again.
        let _ready = timer.readable().await.map_err(|_| Errno::IO)?;
        Ok(())
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where time enters")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn uptime(&self) -> Duration {
        let time = rustix::time::clock_gettime(ClockId::Boottime);
        Duration::try_from(time).unwrap_or_default()
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep<'_> {
        Box::pin(async move {
            let Some(wait) = remaining(self.now(), deadline) else {
                return;
            };
            if let Err(error) = Self::sleep_on_timer(deadline).await {
                // Without a timer (no file descriptors left) a short nap keeps the caller's loop alive.
                tracing::warn!(%error, "no timer to sleep on; waiting in short steps");
                tokio::time::sleep(wait.min(Duration::from_secs(1))).await;
            }
        })
    }
}

/// How long it is until `deadline`; `None` when it has come.
pub fn remaining(now: Timestamp, deadline: Timestamp) -> Option<Duration> {
    Duration::try_from(deadline.duration_since(now))
        .ok()
        .filter(|wait| !wait.is_zero())
}

/// `time` plus `duration`, held at the last representable moment.
pub fn after(time: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|d| time.checked_add(d).ok())
        .unwrap_or(Timestamp::MAX)
}

/// `time` minus `duration`, held at the first representable moment.
pub fn before(time: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|d| time.checked_sub(d).ok())
        .unwrap_or(Timestamp::MIN)
}

/// `time` in whole seconds, as env files and JSON carry it (RFC 3339, UTC).
pub fn rfc3339(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(time)
        .to_string()
}

/// A clock that stands still until it is moved: for tests of what depends on time.
#[derive(Debug, Clone)]
pub struct ManualClock {
    hands: watch::Sender<Hands>,
}

#[derive(Debug, Clone, Copy)]
struct Hands {
    now: Timestamp,
    uptime: Duration,
    /// How often the clock was set.
    settings: u64,
}

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        Self {
            hands: watch::Sender::new(Hands {
                now: start,
                uptime: Duration::ZERO,
                settings: 0,
            }),
        }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.hands.send_modify(|hands| {
            hands.now = after(hands.now, by);
            hands.uptime += by;
        });
    }

    /// Sets the time, also backwards, as a person or NTP does. No time passes, and sleepers wake.
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

    fn uptime(&self) -> Duration {
        self.hands.borrow().uptime
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep<'_> {
        let mut hands = self.hands.subscribe();
        let settings = hands.borrow().settings;
        Box::pin(async move {
            // The sender lives in `self`, so the wait cannot fail.
            let _ = hands
                .wait_for(|hands| hands.now >= deadline || hands.settings != settings)
                .await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn writes_whole_seconds_in_utc() {
        assert_eq!(rfc3339(at("2024-01-15T10:30:00.987Z")), "2024-01-15T10:30:00Z");
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(after(Timestamp::MAX, Duration::from_secs(1)), Timestamp::MAX);
        assert_eq!(before(Timestamp::MIN, Duration::MAX), Timestamp::MIN);
        assert_eq!(
            remaining(at("2024-01-15T10:30:00Z"), at("2024-01-15T10:30:00Z")),
            None
        );
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_its_sleeper_when_moved() {
        let clock = ManualClock::new(at("2024-01-15T10:30:00Z"));
        let sleeper = clock.clone();
        let task = tokio::spawn(async move { sleeper.sleep_until(at("2024-01-15T11:00:00Z")).await });
        clock.advance(Duration::from_secs(1799));
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        clock.advance(Duration::from_secs(1));
        task.await.unwrap();
    }

    #[tokio::test]
    async fn setting_a_manual_clock_wakes_sleepers_and_moves_no_uptime() {
        let clock = ManualClock::new(at("2024-01-15T10:30:00Z"));
        let sleeper = clock.clone();
        let task = tokio::spawn(async move { sleeper.sleep_until(at("2024-01-15T11:00:00Z")).await });
        tokio::task::yield_now().await;
        clock.set(at("2024-01-14T00:00:00Z"));
        task.await.unwrap();
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.now(), at("2024-01-14T00:00:05Z"));
        assert_eq!(clock.uptime(), Duration::from_secs(5));
    }

    #[test]
    fn the_uptime_of_the_system_grows() {
        let first = SystemClock.uptime();
        assert!(first > Duration::ZERO);
        assert!(SystemClock.uptime() >= first);
    }

    #[tokio::test]
    async fn the_system_clock_wakes_at_the_deadline() {
        let clock = SystemClock;
        let deadline = after(clock.now(), Duration::from_millis(30));
        while clock.now() < deadline {
            clock.sleep_until(deadline).await;
        }
    }
}
