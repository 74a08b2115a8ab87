//! The oldest lines of the audit trail go, in small steps; what stays is whole from where it begins.
//!
//! A week whose lines are counted goes as a whole: the trail begins behind it at once, and what is left of it, which nobody sees
//! any more, goes step by step.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    audit_trail::{
        clock::{self, Age},
        ends::{self, Ends},
        week::{self, Week},
    },
    sqlite::{
        column::{corrupt, integer, micros},
        fault::Fault,
    },
    store::RecordFault,
    telemetry::audit::ChainPoint,
    vault::Vault,
};

/// How many lines one transaction prunes at most, so that other writes need not wait for a long one.
pub(crate) const STEP: u64 = 1000;

/// Deletes lines older than `before` from the start, some [`STEP`]; returns how many, and none only when there are no more.
/// Where lines go by their own time, one that is younger ends it, even where a clock that was set back put older ones behind
/// it: the rest stays a chain.
pub(crate) fn older(connection: &Connection, vault: &Vault, before: Timestamp) -> Result<u64, Fault> {
    let ends = ends::verified(connection, vault)?;
    let left = sweep(connection, &ends)?;
    if left > 0 {
        return Ok(left);
    }
    let days = clock::days(connection, vault)?;
    let age = clock::age(&days, ends.end.sequence, before);
    let (limit, young) = match age {
        Age::UpTo(limit) => (limit, i64::MAX),
        Age::ByOwnTime(limit) => (limit, micros(before)),
    };
    if let Some(week) = week::oldest(connection, vault)? {
        let is_old = week.end.sequence <= limit && last_time(connection, &week)? < young;
        return if is_old {
            drop_week(connection, vault, ends, week)
        } else {
            Ok(0)
        };
    }
    let limit = furthest(&ends, STEP).min(limit);
    let keep: Option<i64> = connection
        .prepare_cached(
            "SELECT sequence FROM audit WHERE sequence > ? AND sequence <= ? AND time >= ? ORDER BY sequence LIMIT 1",
        )?
        .query_row(
            params![integer(ends.start.sequence), integer(limit), young],
            |row| row.get(0),
        )
        .optional()?;
    let last = keep.map_or(limit, |first_kept: i64| first_kept.unsigned_abs() - 1);
    up_to(connection, vault, ends, last)
}

/// Deletes the oldest lines, `lines` of them and at most [`STEP`], or a week of them; returns how many.
pub(crate) fn oldest(connection: &Connection, vault: &Vault, lines: u64) -> Result<u64, Fault> {
    let ends = ends::verified(connection, vault)?;
    let left = sweep(connection, &ends)?;
    if left > 0 {
        return Ok(left);
    }
    if let Some(week) = week::oldest(connection, vault)? {
        return drop_week(connection, vault, ends, week);
    }
    let last = furthest(&ends, lines.min(STEP));
    up_to(connection, vault, ends, last)
}

/// The line that is `lines` behind the start, or the last one.
fn furthest(ends: &Ends, lines: u64) -> u64 {
    ends.end.sequence.min(ends.start.sequence.saturating_add(lines))
}

/// Lets the trail begin behind `last`.
fn up_to(connection: &Connection, vault: &Vault, mut ends: Ends, last: u64) -> Result<u64, Fault> {
    if last <= ends.start.sequence {
        return Ok(0);
    }
    let hash: Option<String> = connection
        .prepare_cached("SELECT hash FROM audit WHERE sequence = ?")?
        .query_row([integer(last)], |row| row.get(0))
        .optional()?;
    let Some(hash) = hash else {
        // Pruning on would hide that somebody removed it.
        return Err(corrupt(format!("audit line {last}"), RecordFault::Missing).into());
    };
    let deleted = connection
        .prepare_cached("DELETE FROM audit WHERE sequence <= ?")?
        .execute([integer(last)])?;
    ends.begin_behind(ChainPoint { sequence: last, hash });
    ends::write(connection, vault, &ends)?;
    clock::forget_before(connection, last)?;
    Ok(deleted as u64)
}

/// Lets the trail begin behind a week.
fn drop_week(connection: &Connection, vault: &Vault, mut ends: Ends, week: Week) -> Result<u64, Fault> {
    week::forget(connection, &week)?;
    ends.begin_behind(week.end);
    ends::write(connection, vault, &ends)?;
    clock::forget_before(connection, ends.start.sequence)?;
    sweep(connection, &ends)
}

/// Deletes what lies before the start, some [`STEP`]; returns how many.
fn sweep(connection: &Connection, ends: &Ends) -> Result<u64, Fault> {
    let mut deleted = 0;
    for table in ["audit", "audit_counts"] {
        let sql = format!(
            "DELETE FROM {table} WHERE sequence IN \
             (SELECT sequence FROM {table} WHERE sequence <= ? ORDER BY sequence LIMIT {STEP})"
        );
        deleted += connection
            .prepare_cached(&sql)?
            .execute([integer(ends.start.sequence)])?;
    }
    Ok(deleted as u64)
}

/// The latest time that a line of a week tells.
fn last_time(connection: &Connection, week: &Week) -> Result<i64, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT max(time) FROM (SELECT time FROM audit WHERE sequence > ?1 AND sequence <= ?2 \
         UNION ALL SELECT time FROM audit_counts WHERE sequence > ?1 AND sequence <= ?2)",
    )?;
    let range = [integer(week.start.sequence), integer(week.end.sequence)];
    let last: Option<i64> = statement.query_row(range, |row| row.get(0))?;
    Ok(last.unwrap_or(i64::MIN))
}
