//! The audit trail as people read it: filtered, page by page.
//!
//! A page is read along the primary key and looks at [`MOST_LOOKED_AT`] lines at most, so that it costs the same in a
//! trail of millions, and renewals pay for no index that only a reader would use.

use std::{fmt::Write, time::Duration};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter, types::Value};

use crate::{
    audit_trail::{ends, row::line_label, shown},
    clock,
    sqlite::{
        column::{corrupt, integer, micros},
        fault::Fault,
    },
    store::{RenewalHour, TrailFilter, TrailPage, TrailPlace},
};

/// How many lines are looked at for one page.
pub(crate) const MOST_LOOKED_AT: u64 = 100_000;
const HOUR: Duration = Duration::from_secs(3600);

/// The lines that fit `filter` from `place` on, `limit` at most.
pub(crate) fn page(
    connection: &Connection,
    filter: &TrailFilter,
    place: TrailPlace,
    limit: u32,
) -> Result<TrailPage, Fault> {
    // The trail's own bounds, so that a page reaches its ends whatever was removed from it in between.
    let ends = ends::as_found(connection)?;
    let (first, last) = (ends.start.sequence.saturating_add(1), ends.end.sequence);
    let (low, high) = looked_at(place, (first, last));
    let towards_the_past = !matches!(place, TrailPlace::After(_));
    // One more than the page holds tells whether there is another.
    let shown = shown::source(connection)?;
    let (low, high) = reach(connection, &shown, (low, high), (first, last), towards_the_past)?;
    let (sql, values) = statement(
        &shown,
        filter,
        (low, high),
        limit.saturating_add(1),
        towards_the_past,
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        lines.push(shown::read(row).map_err(|reason| corrupt(line_label(row), reason))?);
    }
    let full = lines.len() > limit as usize;
    lines.truncate(limit as usize);
    let at_the_end = lines.last().map(|line| line.sequence);
    let beyond = if towards_the_past {
        (low > first).then_some(low)
    } else {
        (high < last).then_some(high)
    };
    let ahead = if full { at_the_end } else { beyond };
    let (older, newer) = if towards_the_past {
        (ahead, (high < last).then_some(high))
    } else {
        lines.reverse();
        ((low > first).then_some(low), ahead)
    };
    Ok(TrailPage {
        lines,
        older,
        newer,
        cut_short: !full && beyond.is_some(),
    })
}

/// The lines that a page at this place looks at.
fn looked_at(place: TrailPlace, (first, last): (u64, u64)) -> (u64, u64) {
    let (low, high) = match place {
        TrailPlace::Newest => (last.saturating_sub(MOST_LOOKED_AT - 1), last),
        TrailPlace::Before(line) => {
            let high = line.saturating_sub(1).min(last);
            (high.saturating_sub(MOST_LOOKED_AT - 1), high)
        }
        TrailPlace::After(line) => {
            let low = line.saturating_add(1).max(first);
            (low, low.saturating_add(MOST_LOOKED_AT - 1).min(last))
        }
    };
    (low.max(first), high)
}

/// Where lines are counted, few are left of many: as many are looked at as anywhere else, whatever their numbers.
fn reach(
    connection: &Connection,
    shown: &str,
    (low, high): (u64, u64),
    (first, last): (u64, u64),
    towards_the_past: bool,
) -> Result<(u64, u64), Fault> {
    let counted: i64 = connection.query_row("SELECT coalesce(max(last), 0) FROM audit_weeks", [], |row| {
        row.get(0)
    })?;
    if low > counted.unsigned_abs() {
        return Ok((low, high));
    }
    let (condition, order) = if towards_the_past {
        ("<= ?1", "DESC")
    } else {
        (">= ?1", "ASC")
    };
    let from = if towards_the_past { high } else { low };
    let sql = format!(
        "SELECT sequence FROM ({shown}) WHERE sequence {condition} ORDER BY sequence {order} LIMIT 1 OFFSET {}",
        MOST_LOOKED_AT - 1
    );
    let furthest: Option<i64> = connection
        .prepare(&sql)?
        .query_row([integer(from)], |row| row.get(0))
        .optional()?;
    let furthest = furthest.map(i64::unsigned_abs);
    Ok(if towards_the_past {
        (furthest.unwrap_or(first).max(first), high)
    } else {
        (low, furthest.unwrap_or(last).min(last))
    })
}

/// The query for a page between two lines, both included, and its values in their order.
pub(crate) fn statement(
    shown: &str,
    filter: &TrailFilter,
    (low, high): (u64, u64),
    limit: u32,
    towards_the_past: bool,
) -> (String, Vec<Value>) {
    let mut sql = format!("SELECT * FROM ({shown}) WHERE sequence BETWEEN ? AND ?");
    let mut values: Vec<Value> = vec![integer(low).into(), integer(high).into()];
    let mut only = |condition: &str, value: String| {
        sql.push_str(condition);
        values.push(value.into());
    };
    if let Some(owner) = &filter.owner {
        only(" AND owner = ?", owner.to_string());
    }
    if let Some(agent) = &filter.agent {
        only(" AND agent = ?", agent.to_string());
    }
    if let Some(key) = &filter.capability {
        only(
            " AND instr(' ' || capabilities || ' ', ' ' || ? || ' ') > 0",
            key.to_string(),
        );
    }
    if let Some(actor) = &filter.actor {
        only(" AND actor = ?", actor.clone());
    }
    if !filter.integrations.is_empty() {
        let places = vec!["?"; filter.integrations.len()].join(", ");
        // Writing to a string cannot fail.
        let _ = write!(sql, " AND integration IN ({places})");
        let ids = filter.integrations.iter();
        values.extend(ids.map(|id| Value::from(id.to_string())));
    }
    let order = if towards_the_past { "DESC" } else { "ASC" };
    let _ = write!(sql, " ORDER BY sequence {order} LIMIT {limit}");
    (sql, values)
}

/// The renewals of the `hours` hours from `from` on, one entry for each hour; only an owner's where one is given.
pub(crate) fn renewals(
    connection: &Connection,
    owner: Option<&str>,
    from: Timestamp,
    hours: u32,
) -> Result<Vec<RenewalHour>, Fault> {
    let mut counts: Vec<RenewalHour> = (0..hours)
        .map(|hour| RenewalHour {
            from: clock::after(from, HOUR * hour),
            renewed: 0,
            failed: 0,
        })
        .collect();
    let end = clock::after(from, HOUR * hours);
    let mut statement = connection.prepare_cached(RENEWALS)?;
    let mut rows = statement.query(params![micros(from), micros(end), owner])?;
    while let Some(row) = rows.next()? {
        let (hour, failed, count): (i64, bool, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let entry = usize::try_from(hour).ok().and_then(|hour| counts.get_mut(hour));
        if let Some(entry) = entry {
            let kind = if failed {
                &mut entry.failed
            } else {
                &mut entry.renewed
            };
            *kind = count.unsigned_abs();
        }
    }
    Ok(counts)
}

/// Served by the index `audit_renewals` alone.
pub(crate) const RENEWALS: &str = "SELECT (time - ?1) / 3600000000 AS hour, action = 'token.renewal_failed' AS failed, \
                                   count(*) FROM audit \
                                   WHERE action IN ('token.renewed', 'token.renewal_failed') \
                                   AND time >= ?1 AND time < ?2 AND (?3 IS NULL OR owner = ?3) \
                                   GROUP BY hour, failed";
