//! Time as a parameter.
//!
//! There are two clocks. The **uptime** only ever runs forward and at one pace, also while the machine is suspended:
//! lives and pauses are spans of it, so that nobody who sets a clock shortens or lengthens one. The **wall clock** is
//! for people to read, and for what has to carry a time. Whatever waits does so through [`Clock`], so that a test can
//! hold time still, and a laptop that was suspended finds out at once what has expired meanwhile.

use std::{os::fd::OwnedFd, pin::Pin, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use rustix::{
    event::Timespec,
    io::Errno,
    time::{ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags},
};
use tokio::io::unix::AsyncFd;

mod boot;
mod manual;
mod moment;
mod uptime;

pub use boot::{BootId, BootMoment};
pub use manual::ManualClock;
pub use moment::Moment;
pub use uptime::Uptime;

/// A wait that can be named in a trait.
pub type Sleep<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock: what people read.
    fn now(&self) -> Timestamp;

    /// The uptime: what lives and pauses are measured by.
    fn uptime(&self) -> Uptime;

    /// Which start of the machine the uptime is counted from; `None` where that cannot be told.
    fn boot(&self) -> Option<BootId>;

    /// The present moment, by both.
    fn moment(&self) -> Moment {
        Moment {
            uptime: self.uptime(),
            wall: self.now(),
        }
    }

    /// The present moment of this start of the machine; `None` where starts cannot be told apart.
    fn boot_moment(&self) -> Option<BootMoment> {
        let uptime = self.uptime();
        self.boot().map(|boot| BootMoment { boot, uptime })
    }

    /// Waits until `deadline`.
    fn sleep_until(&self, deadline: Uptime) -> Sleep<'_>;

    /// Waits until the wall clock is set: from this call on, not from the first poll. It may end without that, so the
    /// caller compares.
    fn until_set(&self) -> Sleep<'_>;
}

/// A clock shared by the parts of the program.
pub type SharedClock = Arc<dyn Clock>;

/// Waiting for the wall clock to be set ends after this at the latest.
const LONGEST_WATCH: Duration = Duration::from_secs(24 * 3600);
/// Where there is no timer, a wait is made of naps like this.
const NAP: Duration = Duration::from_secs(1);

/// The machine's clocks.
///
/// It sleeps on a `timerfd` of `CLOCK_BOOTTIME`, which counts the time of a suspend and rings at the resume. Another one,
/// of `CLOCK_REALTIME`, is cancelled when the wall clock is set. Nothing polls (`timerfd_create(2)`).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// Refuses a wall clock that is set to a time that cannot be written.
    ///
    /// # Errors
    /// A sentence that says so.
    #[expect(clippy::disallowed_methods, reason = "beside the one place where time enters")]
    pub fn check() -> Result<(), String> {
        can_be_written(std::time::SystemTime::now())
    }

    /// A timer that rings at `at`.
    fn timer(clock: TimerfdClockId, at: Timespec, flags: TimerfdTimerFlags) -> rustix::io::Result<OwnedFd> {
        let timer = rustix::time::timerfd_create(clock, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let never = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let spec = Itimerspec {
            it_interval: never,
            it_value: at,
        };
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME | flags, &spec)?;
        Ok(timer)
    }

    /// Waits until the timer rings, or is cancelled.
    async fn rings(timer: rustix::io::Result<OwnedFd>) -> rustix::io::Result<()> {
        #[expect(
            deprecated,
            reason = "`OwnedFd` keeps the I/O safety that the deprecation asks for"
        )]
        let timer = AsyncFd::new(timer?).map_err(|_| Errno::MFILE)?;
        let _ready = timer.readable().await.map_err(|_| Errno::IO)?;
        Ok(())
    }
}

fn can_be_written(now: std::time::SystemTime) -> Result<(), String> {
    match Timestamp::try_from(now) {
        Ok(_) => Ok(()),
        Err(_) => Err(
            "this machine's clock is set to a time beyond the year 9999, or as far in the past: set it"
                .to_owned(),
        ),
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where time enters")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn uptime(&self) -> Uptime {
        let time = rustix::time::clock_gettime(ClockId::Boottime);
        let time = Duration::try_from(time).unwrap_or_default();
        Uptime::START.after(time)
    }

    fn boot(&self) -> Option<BootId> {
        BootId::present()
    }

    fn sleep_until(&self, deadline: Uptime) -> Sleep<'_> {
        Box::pin(async move {
            while let Some(wait) = self.uptime().until(deadline) {
                // What is too far away for the timer is looked at again before that.
                let at = self.uptime().after(wait.min(LONGEST_WATCH)).since_start();
                let at = Timespec {
                    tv_sec: at.as_secs(),
                    tv_nsec: at.subsec_nanos().into(),
                };
                let timer = Self::timer(TimerfdClockId::Boottime, at, TimerfdTimerFlags::empty());
                if let Err(error) = Self::rings(timer).await {
                    // No file descriptors left, say: a short nap keeps the caller's loop alive.
                    tracing::warn!(%error, "no timer to sleep on; waiting in short steps");
                    tokio::time::sleep(wait.min(NAP)).await;
                }
            }
        })
    }

    fn until_set(&self) -> Sleep<'_> {
        let at = after(self.now(), LONGEST_WATCH);
        let at = Timespec {
            tv_sec: at.as_second(),
            tv_nsec: at.subsec_nanosecond().max(0).into(),
        };
        // Armed here: what happens before the first poll is not missed.
        let timer = Self::timer(TimerfdClockId::Realtime, at, TimerfdTimerFlags::CANCEL_ON_SET);
        Box::pin(async move {
            if let Err(error) = Self::rings(timer).await {
                tracing::warn!(%error, "no timer to watch the wall clock with; looking at it now and then");
                tokio::time::sleep(NAP).await;
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

/// The second that `time` is in.
pub(crate) fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// `time` in whole seconds, as env files and JSON carry it (RFC 3339, UTC).
pub fn rfc3339(time: Timestamp) -> String {
    whole_second(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_wall_clock_that_no_time_can_be_written_of_is_said() {
        let after = |seconds| std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(can_be_written(after(1_705_314_600)), Ok(()));
        // 1 January of the year 10000.
        let said = can_be_written(after(253_402_300_800)).unwrap_err();
        assert!(said.contains("year 9999"), "{said}");
        assert_eq!(SystemClock::check(), Ok(()));
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

    #[test]
    fn the_uptime_of_the_system_grows() {
        let first = SystemClock.uptime();
        assert!(first > Uptime::START);
        assert!(SystemClock.uptime() >= first);
    }

    #[tokio::test]
    async fn the_system_clock_wakes_at_the_deadline() {
        let clock = SystemClock;
        let deadline = clock.uptime().after(Duration::from_millis(30));
        clock.sleep_until(deadline).await;
        assert!(clock.uptime() >= deadline);
        clock.sleep_until(Uptime::START).await;
    }

    #[tokio::test]
    async fn a_clock_that_nobody_sets_is_waited_for() {
        let mut set = SystemClock.until_set();
        assert!(futures_util::poll!(&mut set).is_pending());
    }
}
