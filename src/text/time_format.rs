//! Time for people: how long ago, how long yet, and durations as they are typed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock;

/// Reads a duration such as `90`, `90s`, `10m`, `1h30m` or `2d`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let problem = || {
        format!(
            "`{text}` is not a duration: write seconds, or a number and a unit such as `90s`, `10m`, `1h`"
        )
    };
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(problem)?;
        let (number, tail) = rest.split_at(digits);
        let number: u32 = number.parse().map_err(|_| problem())?;
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        total += unit_length(unit).ok_or_else(problem)? * number;
        rest = tail;
    }
    if text.is_empty() {
        Err(problem())
    } else {
        Ok(total)
    }
}

fn unit_length(unit: &str) -> Option<Duration> {
    Some(match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" | "min" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        "d" => Duration::from_secs(86_400),
        _ => return None,
    })
}

/// A duration in its two largest units at most, as [`parse_duration`] reads it: `45s`, `10m`, `1h30m`, `3d4h`.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let Some(first) = units.iter().position(|(length, _)| seconds >= *length) else {
        return if duration.is_zero() {
            "0s".to_owned()
        } else {
            format!("{}ms", duration.as_millis())
        };
    };
    let (length, name) = units[first];
    let text = format!("{}{name}", seconds / length);
    match units.get(first + 1) {
        // Seconds beside minutes only while there are few minutes: `14m7s` says no more than `14m`.
        Some((next, name)) if seconds % length / next > 0 && (*next > 1 || seconds < 600) => {
            format!("{text}{}{name}", seconds % length / next)
        }
        _ => text,
    }
}

/// `in 52m`, `3h ago`, `now`.
pub(crate) fn relative(now: Timestamp, time: Timestamp) -> String {
    let distance = time.duration_since(now);
    let text = short(Duration::from_secs(distance.unsigned_abs().as_secs()));
    match distance {
        d if d.abs() < SignedDuration::from_secs(1) => "now".to_owned(),
        d if d.is_negative() => format!("{text} ago"),
        _ => format!("in {text}"),
    }
}

/// Relative and exact: `in 52m (2024-01-15T10:30:00Z)`.
pub(crate) fn both(now: Timestamp, time: Timestamp) -> String {
    format!("{} ({})", relative(now, time), clock::rfc3339(time))
}

/// Exact and relative: `2024-01-15T10:30:00Z (in 52m)`.
pub(crate) fn clock_first(now: Timestamp, time: Timestamp) -> String {
    format!("{} ({})", clock::rfc3339(time), relative(now, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn durations_are_read_as_people_type_them() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("10m", 600),
            ("1h30m", 5400),
            ("2d", 172_800),
            ("0", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "m", "10x", "-5", "1.5h", "10 m", "5s5", "99999999999s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_written_short() {
        for (seconds, text) in [
            (0, "0s"),
            (45, "45s"),
            (61, "1m1s"),
            (847, "14m"),
            (3600, "1h"),
            (5400, "1h30m"),
            (273_600, "3d4h"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
        assert_eq!(short(Duration::from_millis(20)), "20ms");
    }

    #[test]
    fn moments_are_relative_to_now() {
        let now = at("2024-01-15T10:00:00Z");
        assert_eq!(relative(now, at("2024-01-15T10:52:00Z")), "in 52m");
        assert_eq!(relative(now, at("2024-01-15T07:00:00Z")), "3h ago");
        assert_eq!(relative(now, at("2024-01-15T10:00:00.4Z")), "now");
        assert_eq!(
            both(now, at("2024-01-15T10:30:00Z")),
            "in 30m (2024-01-15T10:30:00Z)"
        );
    }
}
