//! The oldest lines of the audit trail go, in small steps; what stays is a chain from where it begins.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::{telemetry::audit::ChainPoint, vault::Vault};

use super::{
    column::{corrupt, integer, micros},
    fault::Fault,
    trail_ends::{self, Ends},
};

/// How many lines one transaction prunes at most, so that other writes need not wait for a long one.
pub(super) const STEP: u64 = 1000;

/// Deletes lines older than `before` from the start, at most [`STEP`]; returns how many. A line that is younger ends it,
/// even where a clock that was set back put older ones behind it: the rest stays a chain.
pub(super) fn older(connection: &Connection, vault: &Vault, before: Timestamp) -> Result<u64, Fault> {
    let ends = trail_ends::verified(connection, vault)?;
    let limit = furthest(&ends, STEP);
    let keep: Option<i64> = connection
        .prepare_cached(
            "SELECT sequence FROM audit WHERE sequence > ? AND sequence <= ? AND time >= ? ORDER BY sequence LIMIT 1",
        )?
        .query_row(
            params![integer(ends.start.sequence), integer(limit), micros(before)],
            |row| row.get(0),
        )
        .optional()?;
    let last = keep.map_or(limit, |first_kept: i64| first_kept.unsigned_abs() - 1);
    up_to(connection, vault, ends, last)
}

/// Deletes the oldest lines, `lines` of them and at most [`STEP`]; returns how many.
pub(super) fn oldest(connection: &Connection, vault: &Vault, lines: u64) -> Result<u64, Fault> {
    let ends = trail_ends::verified(connection, vault)?;
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
        let reason = "it is missing; `audit verify` says more".to_owned();
        return Err(corrupt(format!("audit line {last}"), reason).into());
    };
    let deleted = connection
        .prepare_cached("DELETE FROM audit WHERE sequence <= ?")?
        .execute([integer(last)])?;
    ends.begin_behind(ChainPoint { sequence: last, hash });
    trail_ends::write(connection, vault, &ends)?;
    Ok(deleted as u64)
}
