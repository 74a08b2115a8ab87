//! The lines of the audit trail that a caller may read, for those who may not read all of it.

use crate::{
    store::{SharedStore, StoreError, TrailFilter, TrailPlace},
    telemetry::audit::AuditLine,
};

/// Those that fit `filter` after that line, oldest first: the first of them, or the last where the `newest` are wanted.
pub(super) async fn lines(
    store: &SharedStore,
    filter: TrailFilter,
    after: u64,
    limit: u32,
    newest: bool,
) -> Result<Vec<AuditLine>, StoreError> {
    let mut place = if newest {
        TrailPlace::Newest
    } else {
        TrailPlace::After(after)
    };
    let (mut lines, most) = (Vec::new(), limit as usize);
    // A page ends where many lines did not fit, too.
    while lines.len() < most {
        let left = u32::try_from(most - lines.len()).unwrap_or(limit);
        let page = store.trail(filter.clone(), place, left).await?;
        let next = if newest {
            lines.extend(page.lines);
            page.older.map(TrailPlace::Before)
        } else {
            lines.extend(page.lines.into_iter().rev());
            page.newer.map(TrailPlace::After)
        };
        match next {
            Some(next) if !newest || lines.last().is_none_or(|line| line.sequence > after) => place = next,
            _ => break,
        }
    }
    if newest {
        lines.reverse();
        lines.retain(|line| line.sequence > after);
    }
    Ok(lines)
}
