//! How much disk the audit trail may take, and how much of it is too much.

use std::sync::{Mutex, PoisonError};

use crate::{
    audit_trail::ends,
    sql::{Fault, Sql},
    store::TrailLimit,
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

/// How many of the oldest lines are to go of a trail that takes `bytes`, so that it takes no more than `most`; 0 when it does not.
pub(crate) fn surplus(sql: &dyn Sql, bytes: u64, most: u64) -> Result<u64, Fault> {
    if bytes <= most {
        return Ok(0);
    }
    let ends = ends::as_found(sql)?;
    let lines = ends.end.sequence.saturating_sub(ends.start.sequence);
    let excess = bytes - most;
    let share = u128::from(lines) * u128::from(excess) / u128::from(bytes);
    Ok(u64::try_from(share).unwrap_or(lines).clamp(1.min(lines), lines))
}
