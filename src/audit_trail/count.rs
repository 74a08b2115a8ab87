//! Counts the routine lines of the audit trail that are old: first a run of lines is read and added up beside the writer, then
//! its counts are written, then it is a week, then what was counted goes. Each is done in small steps; what a crash interrupts
//! is begun again, or gone on with, and before and after each step the trail is whole.

use std::{collections::HashMap, ops::ControlFlow};

use jiff::Timestamp;

use crate::{
    audit_trail::{
        clock::{self, Age, Day},
        ends,
        row::{line_label, read},
        week::{self, Count, Kept, Kind, Week, is_routine, where_routine},
    },
    sql::{
        Columns, Fault, Sql,
        bound::Bound,
        column::{corrupt, integer, micros},
        values,
    },
    store::RecordFault,
    telemetry::audit::ChainPoint,
    vault::Vault,
};

/// How many lines or counts one transaction changes at most, so that other writes need not wait for a long one.
pub(crate) const STEP: usize = 500;
/// How many lines are read at a time: for as long as that takes, the write-ahead log is not begun anew.
const READ: u32 = 5000;
/// How many kinds a week has at most; where there are more, it is shorter. They are in memory while they are added up.
const MOST_KINDS: usize = 50_000;
const SPAN: i64 = 7 * 24 * 3600 * 1_000_000;

/// A run of lines that is added up.
#[derive(Debug)]
pub(crate) struct Tally {
    start: ChainPoint,
    at: ChainPoint,
    /// No line behind this one belongs to it.
    limit: u64,
    /// It ends at the limit; otherwise only where a line says so.
    ends_at_limit: bool,
    /// Lines of before the trail had a time of its own go by theirs: only while they are older than this.
    by_own_time: Option<i64>,
    begins: Option<i64>,
    kinds: HashMap<Kind, Count>,
}

/// What reading on has come to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is more to be read.
    More,
    /// It is all of a week.
    Whole,
    /// There is no whole week yet that is old enough.
    NotYet,
}

/// A tally of the lines that are next, where there may be a week of them that is older than `before`.
pub(crate) fn next(sql: &dyn Sql, vault: &Vault, before: Timestamp) -> Result<Option<Tally>, Fault> {
    let ends = ends::verified(sql, vault)?;
    let start = week::chain_begins(sql, vault, &ends)?;
    let days = clock::days(sql, vault)?;
    let first = start.sequence + 1;
    let age = clock::age(&days, ends.end.sequence, before);
    let (limit, ends_at_limit, by_own_time) = match (covering(&days, first), age) {
        (Some(day), Age::UpTo(old)) => match days
            .iter()
            .find(|next| next.time >= day.time.saturating_add(SPAN))
        {
            Some(next) if next.sequence - 1 <= old => (next.sequence - 1, true, None),
            _ => return Ok(None),
        },
        // From before the trail had a time, and all of that is old by now.
        (None, Age::UpTo(_)) => (
            days.first().map_or(0, |day| day.sequence - 1),
            true,
            Some(i64::MAX),
        ),
        (None, Age::ByOwnTime(limit)) => (limit, false, Some(micros(before))),
        (Some(_), Age::ByOwnTime(_)) => return Ok(None),
    };
    Ok((first <= limit).then(|| Tally {
        at: start.clone(),
        start,
        limit,
        ends_at_limit,
        by_own_time,
        begins: None,
        kinds: HashMap::new(),
    }))
}

/// The day that a line is of.
fn covering(days: &[Day], line: u64) -> Option<&Day> {
    days.iter().rev().find(|day| day.sequence <= line)
}

impl Tally {
    /// Adds up the lines that are next, some thousand of them.
    ///
    /// # Errors
    /// A line that is missing, or that does not follow from the one before: over it nothing is counted.
    pub(crate) fn read_on(&mut self, sql: &dyn Sql) -> Result<Progress, Fault> {
        let values = values![integer(self.at.sequence), integer(self.limit), READ];
        let mut read_any = false;
        let mut ended = None;
        let statement =
            "SELECT * FROM audit WHERE sequence > ?1 AND sequence <= ?2 ORDER BY sequence LIMIT ?3";
        sql.each(statement, values, &mut |row| {
            read_any = true;
            ended = self.read_line(row)?;
            Ok(match ended {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            })
        })?;
        if let Some(ended) = ended {
            return Ok(ended);
        }
        Ok(if self.at.sequence == self.limit {
            if self.ends_at_limit {
                Progress::Whole
            } else {
                Progress::NotYet
            }
        } else if read_any {
            Progress::More
        } else {
            return Err(not_counted(self.at.sequence + 1));
        })
    }

    /// Adds up one line, or says why it is none of them.
    fn read_line(&mut self, row: &dyn Columns) -> Result<Option<Progress>, Fault> {
        let line = read(row).map_err(|reason| corrupt(line_label(row), reason))?;
        let Some(at) = self.at.followed_by(&line) else {
            return Err(not_counted(self.at.sequence + 1));
        };
        let time = micros(line.time);
        if let Some(before) = self.by_own_time {
            let begins = *self.begins.get_or_insert(time);
            if time.abs_diff(begins) >= SPAN.unsigned_abs() {
                return Ok(Some(Progress::Whole));
            }
            if time >= before {
                return Ok(Some(Progress::NotYet));
            }
        }
        if is_routine(&line.action) {
            if self.kinds.len() >= MOST_KINDS {
                return Ok(Some(Progress::Whole));
            }
            let kind = Kind::of(row).map_err(|reason| corrupt(line_label(row), reason))?;
            self.add(kind, line.sequence, time);
        }
        self.at = at;
        Ok(None)
    }

    fn add(&mut self, kind: Kind, sequence: u64, time: i64) {
        let count = self.kinds.entry(kind).or_insert_with_key(|kind| Count {
            kind: kind.clone(),
            lines: 0,
            first_time: time,
            sequence,
            time,
        });
        count.lines += 1;
        (count.sequence, count.time) = (sequence, time);
    }

    /// The week that it is, and what was counted in it, by place.
    pub(crate) fn finish(self) -> (Week, Vec<Count>) {
        let mut counts: Vec<Count> = self.kinds.into_values().collect();
        counts.sort_by_key(|count| count.sequence);
        let week = Week {
            cleared: self.start.clone(),
            start: self.start,
            end: self.at,
        };
        (week, counts)
    }
}

fn not_counted(line: u64) -> Fault {
    corrupt(format!("audit line {line}"), RecordFault::Unchained).into()
}

/// Removes counts that no week came to be of, at most [`STEP`]; returns how many.
pub(crate) fn remove_unfinished(sql: &dyn Sql) -> Result<u64, Fault> {
    let statement = format!(
        "DELETE FROM audit_counts WHERE sequence IN (SELECT sequence FROM audit_counts \
         WHERE sequence > (SELECT coalesce(max(last), 0) FROM audit_weeks) LIMIT {STEP})"
    );
    sql.execute(&statement, &[])
}

/// Writes counts of a week that is to be. Nobody sees them before that.
pub(crate) fn write(sql: &dyn Sql, vault: &Vault, counts: &[Count], end_hash: &str) -> Result<(), Fault> {
    counts
        .iter()
        .try_for_each(|count| count.put(sql, vault, end_hash))
}

/// From now on the week is one. False where the trail begins elsewhere by now.
pub(crate) fn begin(sql: &dyn Sql, vault: &Vault, week: &Week) -> Result<bool, Fault> {
    let ends = ends::verified(sql, vault)?;
    let is_next = week::chain_begins(sql, vault, &ends)? == week.start;
    if is_next {
        week::put(sql, vault, week)?;
    }
    Ok(is_next)
}

/// Removes lines of the newest week that were counted, and binds those that stay; looks at [`STEP`] lines at most. Returns
/// how many it looked at: none when all is done.
pub(crate) fn clear(sql: &dyn Sql, vault: &Vault) -> Result<u64, Fault> {
    let Some(mut week) = week::newest(sql, vault)?.filter(|week| !week.is_cleared()) else {
        return Ok(0);
    };
    let from = week.cleared.sequence;
    let to = week.end.sequence.min(from + STEP as u64);
    let mut at = week.cleared.clone();
    let mut staying = Vec::new();
    let statement = "SELECT * FROM audit WHERE sequence > ?1 AND sequence <= ?2 ORDER BY sequence";
    sql.each(statement, values![integer(from), integer(to)], &mut |row| {
        let line = read(row).map_err(|reason| corrupt(line_label(row), reason))?;
        at = at
            .followed_by(&line)
            .ok_or_else(|| not_counted(at.sequence + 1))?;
        if !is_routine(&line.action) {
            staying.push(line);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if at.sequence != to {
        return Err(not_counted(at.sequence + 1));
    }
    for line in &staying {
        let end_hash = &week.end.hash;
        let mac = Kept { line, end_hash }.mac(vault);
        sql.execute(
            "UPDATE audit SET mac = ?1 WHERE sequence = ?2",
            values![mac.as_bytes(), integer(line.sequence)],
        )?;
    }
    let statement = format!(
        "DELETE FROM audit WHERE sequence > ?1 AND sequence <= ?2 AND {}",
        where_routine()
    );
    sql.execute(&statement, values![integer(from), integer(to)])?;
    week.cleared = at;
    week::put(sql, vault, &week)?;
    Ok(to - from)
}
