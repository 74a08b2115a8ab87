//! The audit trail as people read it: filtered, page by page.
//!
//! A page is read along the primary key and looks at [`MOST_LOOKED_AT`] lines at most, so that it costs the same in a
//! trail of millions, and renewals pay for no index that only a reader would use.

use std::{fmt::Write, ops::ControlFlow, time::Duration};

use jiff::Timestamp;

use crate::{
    audit_trail::{ends, row::line_label, shown},
    clock,
    sql::{
        Fault, Sql, Value,
        column::{self, corrupt, integer, micros},
        values,
    },
    store::{RecordFault, RenewalHour, TrailFilter, TrailPage, TrailPlace},
};

/// How many lines are looked at for one page.
pub(crate) const MOST_LOOKED_AT: u64 = 100_000;
const HOUR: Duration = Duration::from_secs(3600);

/// The lines that fit `filter` from `place` on, `limit` at most.
pub(crate) fn page(
    sql: &dyn Sql,
    filter: &TrailFilter,
    place: TrailPlace,
    limit: u32,
) -> Result<TrailPage, Fault> {
    // The trail's own bounds, so that a page reaches its ends whatever was removed from it in between.
    let ends = ends::as_found(sql)?;
    let (first, last) = (ends.start.sequence.saturating_add(1), ends.end.sequence);
    let (low, high) = looked_at(place, (first, last));
    let towards_the_past = !matches!(place, TrailPlace::After(_));
    // One more than the page holds tells whether there is another.
    let shown = shown::source(sql)?;
    let (low, high) = reach(sql, &shown, (low, high), (first, last), towards_the_past)?;
    let filter = Filter::of(filter);
    let (statement, values) = statement(
        &shown,
        &filter,
        (low, high),
        limit.saturating_add(1),
        towards_the_past,
    );
    let mut lines = Vec::new();
    sql.each_once(&statement, &values, &mut |row| {
        lines.push(shown::read(row).map_err(|reason| corrupt(line_label(row), reason))?);
        Ok(ControlFlow::Continue(()))
    })?;
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
    sql: &dyn Sql,
    shown: &str,
    (low, high): (u64, u64),
    (first, last): (u64, u64),
    towards_the_past: bool,
) -> Result<(u64, u64), Fault> {
    let counted = "SELECT coalesce(max(last), 0) FROM audit_weeks";
    let counted = sql.number(counted, &[])?.unwrap_or_default();
    if low > counted.unsigned_abs() {
        return Ok((low, high));
    }
    let (condition, order) = if towards_the_past {
        ("<= ?1", "DESC")
    } else {
        (">= ?1", "ASC")
    };
    let from = if towards_the_past { high } else { low };
    let statement = format!(
        "SELECT sequence FROM ({shown}) AS shown WHERE sequence {condition} ORDER BY sequence {order} LIMIT 1 OFFSET {}",
        MOST_LOOKED_AT - 1
    );
    let mut furthest = None;
    sql.each_once(&statement, values![integer(from)], &mut |row| {
        furthest = column::number::<i64>(row, "sequence").ok();
        Ok(ControlFlow::Break(()))
    })?;
    let furthest = furthest.map(i64::unsigned_abs);
    Ok(if towards_the_past {
        (furthest.unwrap_or(first).max(first), high)
    } else {
        (low, furthest.unwrap_or(last).min(last))
    })
}

/// A filter, as texts that rows are compared with.
pub(crate) struct Filter {
    owner: Option<String>,
    agent: Option<String>,
    capability: Option<String>,
    actor: Option<String>,
    integrations: Vec<String>,
}

impl Filter {
    pub(crate) fn of(filter: &TrailFilter) -> Self {
        Self {
            owner: filter.owner.as_ref().map(ToString::to_string),
            agent: filter.agent.as_ref().map(ToString::to_string),
            capability: filter.capability.as_ref().map(ToString::to_string),
            actor: filter.actor.clone(),
            integrations: filter.integrations.iter().map(ToString::to_string).collect(),
        }
    }
}

/// A capability is one of the words of its column.
const HAS_CAPABILITY: &str =
    "replace(' ' || capabilities || ' ', ' ' || {} || ' ', '') <> ' ' || capabilities || ' '";

/// The query for a page between two lines, both included, and its values in their order.
pub(crate) fn statement<'a>(
    shown: &str,
    filter: &'a Filter,
    (low, high): (u64, u64),
    limit: u32,
    towards_the_past: bool,
) -> (String, Vec<Value<'a>>) {
    let mut statement = format!("SELECT * FROM ({shown}) AS shown WHERE sequence BETWEEN ?1 AND ?2");
    let mut values: Vec<Value<'a>> = vec![integer(low).into(), integer(high).into()];
    for (condition, value) in [
        ("owner = {}", &filter.owner),
        ("agent = {}", &filter.agent),
        (HAS_CAPABILITY, &filter.capability),
        ("actor = {}", &filter.actor),
    ] {
        if let Some(value) = value {
            values.push(value.into());
            statement.push_str(" AND ");
            statement.push_str(&condition.replace("{}", &format!("?{}", values.len())));
        }
    }
    if !filter.integrations.is_empty() {
        let before = values.len();
        values.extend(filter.integrations.iter().map(Value::from));
        let places: Vec<_> = (before + 1..=values.len())
            .map(|number| format!("?{number}"))
            .collect();
        // Writing to a string cannot fail.
        let _ = write!(statement, " AND integration IN ({})", places.join(", "));
    }
    let order = if towards_the_past { "DESC" } else { "ASC" };
    let _ = write!(statement, " ORDER BY sequence {order} LIMIT {limit}");
    (statement, values)
}

/// The renewals of the `hours` hours from `from` on, one entry for each hour; only an owner's where one is given.
pub(crate) fn renewals(
    sql: &dyn Sql,
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
    let values = values![micros(from), micros(end), owner];
    sql.each(RENEWALS, values, &mut |row| {
        let read = || {
            let hour: usize = column::number(row, "hour")?;
            let failed: i64 = column::number(row, "failed")?;
            Ok::<_, RecordFault>((hour, failed != 0, column::number::<u64>(row, "renewals")?))
        };
        if let Ok((hour, failed, count)) = read()
            && let Some(entry) = counts.get_mut(hour)
        {
            let kind = if failed {
                &mut entry.failed
            } else {
                &mut entry.renewed
            };
            *kind = count;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(counts)
}

/// Served by the index `audit_renewals` alone.
pub(crate) const RENEWALS: &str = "SELECT (time - ?1) / 3600000000 AS hour, \
                                   CASE WHEN action = 'token.renewal_failed' THEN 1 ELSE 0 END AS failed, \
                                   count(*) AS renewals FROM audit \
                                   WHERE action IN ('token.renewed', 'token.renewal_failed') \
                                   AND time >= ?1 AND time < ?2 AND (?3 IS NULL OR owner = ?3) \
                                   GROUP BY hour, failed";
