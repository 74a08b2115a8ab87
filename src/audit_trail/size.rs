//! How much disk the audit trail takes, and how much it may.
//!
//! It is looked at often and measured seldom: while the whole database is smaller than what the trail may take, nothing is
//! measured, and else only what is not the trail is counted, which is little.

use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

use crate::{
    audit_trail::ends,
    sqlite::{fault::Fault, pages::used},
    store::{TrailLimit, TrailSize},
};

/// What is pruned beyond what is too much, as a part of what the trail may take: so that it is not pruned line by line.
pub(crate) const SLACK: u64 = 16;

/// What the trail may take, as it was said last.
#[derive(Default)]
pub(crate) struct Limit(Mutex<Option<TrailLimit>>);

impl Limit {
    /// It may take `most` bytes, and half of its volume at most.
    pub(crate) fn set(&self, most: u64, volume: Option<u64>) -> TrailLimit {
        let half = volume.map(|bytes| bytes / 2).filter(|half| *half < most);
        let limit = TrailLimit {
            bytes: half.unwrap_or(most),
            of_volume: half.is_some(),
        };
        let before = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(limit);
        if limit.of_volume && before != Some(limit) {
            tracing::warn!(
                configured = most,
                bytes = limit.bytes,
                "the audit trail may take half of the volume of state_dir at most, which is less than audit.max_bytes"
            );
        }
        limit
    }

    pub(crate) fn get(&self) -> Option<TrailLimit> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The trail's size, beside what it may take.
pub(crate) fn told(connection: &Connection, limit: Option<TrailLimit>) -> Result<TrailSize, Fault> {
    Ok(TrailSize {
        bytes: used(connection)?.saturating_sub(others(connection)?),
        limit,
    })
}

/// How many of the oldest lines are to go, so that the trail takes no more than `most` bytes; 0 when it does not.
pub(crate) fn surplus(connection: &Connection, most: u64) -> Result<u64, Fault> {
    let used = used(connection)?;
    if used <= most {
        return Ok(0);
    }
    let bytes = used.saturating_sub(others(connection)?);
    if bytes <= most {
        return Ok(0);
    }
    let ends = ends::as_found(connection)?;
    let lines = ends.end.sequence.saturating_sub(ends.start.sequence);
    let excess = bytes - most;
    let share = u128::from(lines) * u128::from(excess) / u128::from(bytes);
    Ok(u64::try_from(share).unwrap_or(lines).clamp(1.min(lines), lines))
}

/// What is not the trail, in bytes.
fn others(connection: &Connection) -> Result<u64, Fault> {
    let mut names = connection.prepare_cached(
        "SELECT 'sqlite_schema' UNION ALL \
         SELECT name FROM sqlite_schema WHERE rootpage > 0 AND tbl_name NOT GLOB 'audit*'",
    )?;
    // One tree at a time, or all of them would be walked through, the trail too.
    let mut size =
        connection.prepare_cached("SELECT pgsize FROM dbstat WHERE name = ? AND aggregate = TRUE")?;
    let mut bytes = 0_u64;
    let mut names = names.query([])?;
    while let Some(row) = names.next()? {
        let name: String = row.get(0)?;
        let pages: i64 = size.query_row([name], |row| row.get(0))?;
        bytes = bytes.saturating_add(pages.unsigned_abs());
    }
    Ok(bytes)
}
