//! The oldest lines of the audit trail go, in small steps; what stays is whole from where it begins.
//!
//! A week whose lines are counted goes as a whole: the trail begins behind it at once, and what is left of it, which nobody sees
//! any more, goes step by step.

use crate::{
    audit_trail::{
        clock::{self, Age},
        ends::{self, Ends},
        week::{self, Week},
    },
    sql::{
        Fault, Sql,
        column::{self, corrupt, integer, micros},
        values,
    },
    store::RecordFault,
    telemetry::audit::ChainPoint,
    vault::Vault,
};
use jiff::Timestamp;

/// How many lines one transaction prunes at most, so that other writes need not wait for a long one.
pub(crate) const STEP: u64 = 1000;

/// Deletes lines older than `before` from the start, some [`STEP`]; returns how many, and none only when there are no more.
/// Where lines go by their own time, one that is younger ends it, even where a clock that was set back put older ones behind
/// it: the rest stays a chain.
pub(crate) fn older(sql: &dyn Sql, vault: &Vault, before: Timestamp) -> Result<u64, Fault> {
    let ends = ends::verified(sql, vault)?;
    let left = sweep(sql, &ends)?;
    if left > 0 {
        return Ok(left);
    }
    let days = clock::days(sql, vault)?;
    let age = clock::age(&days, ends.end.sequence, before);
    let (limit, young) = match age {
        Age::UpTo(limit) => (limit, i64::MAX),
        Age::ByOwnTime(limit) => (limit, micros(before)),
    };
    if let Some(week) = week::oldest(sql, vault)? {
        let is_old = week.end.sequence <= limit && last_time(sql, &week)? < young;
        return if is_old {
            drop_week(sql, vault, ends, week)
        } else {
            Ok(0)
        };
    }
    let limit = furthest(&ends, STEP).min(limit);
    let keep = sql.number(
        "SELECT sequence FROM audit WHERE sequence > ?1 AND sequence <= ?2 AND time >= ?3 ORDER BY sequence LIMIT 1",
        values![integer(ends.start.sequence), integer(limit), young],
    )?;
    let last = keep.map_or(limit, |first_kept: i64| first_kept.unsigned_abs() - 1);
    up_to(sql, vault, ends, last)
}

/// Deletes the oldest lines, `lines` of them and at most [`STEP`], or a week of them; returns how many.
pub(crate) fn oldest(sql: &dyn Sql, vault: &Vault, lines: u64) -> Result<u64, Fault> {
    let ends = ends::verified(sql, vault)?;
    let left = sweep(sql, &ends)?;
    if left > 0 {
        return Ok(left);
    }
    if let Some(week) = week::oldest(sql, vault)? {
        return drop_week(sql, vault, ends, week);
    }
    let last = furthest(&ends, lines.min(STEP));
    up_to(sql, vault, ends, last)
}

/// The line that is `lines` behind the start, or the last one.
fn furthest(ends: &Ends, lines: u64) -> u64 {
    ends.end.sequence.min(ends.start.sequence.saturating_add(lines))
}

/// Lets the trail begin behind `last`.
fn up_to(sql: &dyn Sql, vault: &Vault, mut ends: Ends, last: u64) -> Result<u64, Fault> {
    if last <= ends.start.sequence {
        return Ok(0);
    }
    let hash = sql.one(
        "SELECT hash FROM audit WHERE sequence = ?1",
        values![integer(last)],
        |row| Ok(column::text(row, "hash").unwrap_or_default().to_owned()),
    )?;
    let Some(hash) = hash else {
        // Pruning on would hide that somebody removed it.
        return Err(corrupt(format!("audit line {last}"), RecordFault::Missing).into());
    };
    let deleted = sql.execute("DELETE FROM audit WHERE sequence <= ?1", values![integer(last)])?;
    ends.begin_behind(ChainPoint { sequence: last, hash });
    ends::write(sql, vault, &ends)?;
    clock::forget_before(sql, last)?;
    Ok(deleted)
}

/// Lets the trail begin behind a week.
fn drop_week(sql: &dyn Sql, vault: &Vault, mut ends: Ends, week: Week) -> Result<u64, Fault> {
    week::forget(sql, &week)?;
    ends.begin_behind(week.end);
    ends::write(sql, vault, &ends)?;
    clock::forget_before(sql, ends.start.sequence)?;
    sweep(sql, &ends)
}

/// Deletes what lies before the start, some [`STEP`]; returns how many.
fn sweep(sql: &dyn Sql, ends: &Ends) -> Result<u64, Fault> {
    let mut deleted = 0;
    for table in ["audit", "audit_counts"] {
        let statement = format!(
            "DELETE FROM {table} WHERE sequence IN \
             (SELECT sequence FROM {table} WHERE sequence <= ?1 ORDER BY sequence LIMIT {STEP})"
        );
        deleted += sql.execute(&statement, values![integer(ends.start.sequence)])?;
    }
    Ok(deleted)
}

/// The latest time that a line of a week tells.
fn last_time(sql: &dyn Sql, week: &Week) -> Result<i64, Fault> {
    let last = sql.number(
        "SELECT max(time) FROM (SELECT time FROM audit WHERE sequence > ?1 AND sequence <= ?2 \
         UNION ALL SELECT time FROM audit_counts WHERE sequence > ?1 AND sequence <= ?2) AS times",
        values![integer(week.start.sequence), integer(week.end.sequence)],
    )?;
    Ok(last.unwrap_or(i64::MIN))
}
