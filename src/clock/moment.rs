//! Where uptime becomes a time that people read, and a stored time becomes uptime again.

use jiff::{SignedDuration, Timestamp};

use super::Uptime;

/// One moment, as both clocks show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// What lives and pauses are measured by.
    pub uptime: Uptime,
    /// What people read.
    pub wall: Timestamp,
}

impl Moment {
    /// What the wall clock shows at another moment, as long as nobody sets it until then.
    pub fn wall_at(self, other: Uptime) -> Timestamp {
        let ahead = other.since_start().saturating_sub(self.uptime.since_start());
        let end = if ahead.is_negative() {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        };
        self.wall.checked_add(ahead).unwrap_or(end)
    }

    /// The uptime at which the wall clock shows `other`, as long as nobody sets it until then.
    pub fn uptime_at(self, other: Timestamp) -> Uptime {
        let ahead = other.duration_since(self.wall);
        Uptime::new(self.uptime.since_start().saturating_add(ahead))
    }

    /// What the wall clock showed at the machine's start, had nobody set it since.
    pub fn origin(self) -> Timestamp {
        self.wall_at(Uptime::START)
    }

    /// The moment `uptime` of a wall clock with this origin.
    pub fn of(origin: Timestamp, uptime: Uptime) -> Self {
        let at_start = Self {
            uptime: Uptime::START,
            wall: origin,
        };
        Self {
            uptime,
            wall: at_start.wall_at(uptime),
        }
    }

    /// How far the wall clock is ahead of another's that shows the same uptime.
    pub fn ahead_of(self, other: Self) -> SignedDuration {
        self.origin().duration_since(other.origin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_lead_to_each_other() {
        let at = |seconds| Uptime::new(SignedDuration::from_secs(seconds));
        let wall = |text: &str| text.parse::<Timestamp>().unwrap();
        let noon = Moment {
            uptime: at(60),
            wall: wall("2026-03-01T12:00:00Z"),
        };
        assert_eq!(noon.wall_at(at(3660)), wall("2026-03-01T13:00:00Z"));
        assert_eq!(noon.wall_at(at(0)), wall("2026-03-01T11:59:00Z"));
        assert_eq!(noon.uptime_at(wall("2026-03-01T11:00:00Z")), at(-3540));
        assert_eq!(Moment::of(noon.origin(), at(60)), noon);
        let later = Moment {
            uptime: at(70),
            wall: wall("2026-03-01T12:01:10Z"),
        };
        assert_eq!(later.ahead_of(noon), SignedDuration::from_secs(60));
        assert_eq!(noon.wall_at(Uptime::new(SignedDuration::MAX)), Timestamp::MAX);
        assert_eq!(noon.wall_at(Uptime::new(SignedDuration::MIN)), Timestamp::MIN);
    }
}
