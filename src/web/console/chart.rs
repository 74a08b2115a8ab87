//! A day of renewals as a chart: one bar up for what was renewed in an hour, one down for what failed.
//!
//! Plain SVG attributes; colours come from the style sheet, because the page allows no style of its own.

use crate::store::RenewalHour;

use super::labels::{Moment, moment};

/// The chart's size, in its own units; the style sheet stretches it.
const WIDTH: u32 = 240;
/// How far bars rise above the line between the two kinds, and how far they hang below it.
const ABOVE: u64 = 84;
const BELOW: u64 = 36;
/// The least that a bar shows, so that one failure among thousands of renewals is seen.
const LEAST: u64 = 4;

/// The chart and its figures.
pub(super) struct Chart {
    pub(super) width: u32,
    pub(super) height: u64,
    /// Where the line between the two kinds is.
    pub(super) line: u64,
    pub(super) hours: Vec<Hour>,
    pub(super) renewed: u64,
    pub(super) failed: u64,
}

/// One hour.
pub(super) struct Hour {
    pub(super) from: Moment,
    pub(super) renewed: u64,
    pub(super) failed: u64,
    pub(super) x: u32,
    pub(super) width: u32,
    /// Heights of the two bars.
    pub(super) up: u64,
    pub(super) down: u64,
}

impl Hour {
    /// Where the upper bar begins.
    pub(super) fn top(&self) -> u64 {
        ABOVE - self.up
    }
}

impl Chart {
    pub(super) fn new(hours: &[RenewalHour]) -> Self {
        let most = |of: fn(&RenewalHour) -> u64| hours.iter().map(of).max().unwrap_or_default();
        let (most_renewed, most_failed) = (most(|hour| hour.renewed), most(|hour| hour.failed));
        let step = WIDTH / u32::try_from(hours.len().max(1)).unwrap_or(WIDTH);
        let bars = (0_u32..).step_by(step.max(1) as usize).zip(hours);
        let bars = bars.map(|(x, hour)| Hour {
            from: moment(hour.from),
            renewed: hour.renewed,
            failed: hour.failed,
            x,
            width: step.saturating_sub(2).max(1),
            up: height(hour.renewed, most_renewed, ABOVE),
            // A few failures beside many renewals look like few.
            down: height(hour.failed, most_failed.max(most_renewed / 4), BELOW),
        });
        Self {
            width: WIDTH,
            height: ABOVE + BELOW,
            line: ABOVE,
            hours: bars.collect(),
            renewed: hours.iter().map(|hour| hour.renewed).sum(),
            failed: hours.iter().map(|hour| hour.failed).sum(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.renewed == 0 && self.failed == 0
    }
}

fn height(count: u64, most: u64, room: u64) -> u64 {
    match count {
        0 => 0,
        _ => (count.saturating_mul(room) / most.max(1)).clamp(LEAST, room),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn day(counts: &[(u64, u64); 24]) -> Chart {
        let start = "2026-03-05T00:00:00Z".parse().unwrap();
        let hours: Vec<_> = (0..)
            .zip(*counts)
            .map(|(hour, (renewed, failed))| RenewalHour {
                from: crate::clock::after(start, Duration::from_secs(hour * 3600)),
                renewed,
                failed,
            })
            .collect();
        Chart::new(&hours)
    }

    #[test]
    fn the_day_fills_the_chart_from_left_to_right() {
        let chart = day(&[(1, 0); 24]);
        let places: Vec<u32> = chart.hours.iter().map(|hour| hour.x).collect();
        assert_eq!((places[0], places[1], places[23]), (0, 10, 230));
        assert!(places[23] + chart.hours[23].width <= chart.width);
        assert_eq!(chart.hours[5].from.machine, "2026-03-05T05:00:00Z");
    }

    #[test]
    fn the_tallest_bar_has_all_the_room_and_the_smallest_is_seen() {
        let mut counts = [(0, 0); 24];
        counts[3] = (100_000, 0);
        counts[4] = (50_000, 1);
        counts[5] = (1, 1_000_000_000_000);
        let chart = day(&counts);
        let bars = |hour: usize| (chart.hours[hour].up, chart.hours[hour].down);
        assert_eq!(bars(2), (0, 0), "nothing happened, nothing is drawn");
        assert_eq!(bars(3), (ABOVE, 0));
        assert_eq!(bars(4), (ABOVE / 2, LEAST));
        assert_eq!(bars(5).0, LEAST);
        assert!(bars(5).1 <= BELOW);
        assert_eq!(chart.hours[3].top(), 0);
    }

    #[test]
    fn an_empty_day_is_known_as_one() {
        assert!(day(&[(0, 0); 24]).is_empty());
        let mut counts = [(0, 0); 24];
        counts[0] = (0, 1);
        assert!(!day(&counts).is_empty());
    }
}
