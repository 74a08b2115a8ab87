//! Whether the audit trail is whole: its weeks, whose routine lines are counted, and the chain of lines behind them.

use std::ops::ControlFlow;

use crate::{
    audit_trail::{
        ends,
        row::{line_label, read},
        week::{self, Count, Counted, Kept, Verdict, Week, is_routine},
    },
    sql::{
        Columns, Fault, Sql,
        bound::Bound,
        column::{self, integer},
        values,
    },
    store::{CountedFault, RecordFault, TrailFault, TrailReport},
    telemetry::audit::{ChainCheck, ChainFault, ChainPoint},
    vault::Vault,
};

/// Looks at all of the trail, from the last pruned line to the last written one, through `head` where one is given.
pub(crate) fn verify(sql: &dyn Sql, vault: &Vault, head: Option<ChainPoint>) -> Result<TrailReport, Fault> {
    let ends = ends::verified(sql, vault)?;
    let mut at = ends.start.clone();
    let mut lines = 0;
    let mut head = head;
    let mut problem = ends.problem();
    for (week, verdict) in week::all(sql, vault)? {
        if let Some(found) = wrong_week(sql, vault, &week, verdict, &at)? {
            problem.get_or_insert(found);
            return Ok(TrailReport { lines, problem });
        }
        lines += week.end.sequence - week.start.sequence;
        if let Some(head) =
            head.take_if(|head| week.start.sequence < head.sequence && head.sequence <= week.end.sequence)
            && let Some(found) = wrong_head(sql, &week, &head)?
        {
            problem.get_or_insert(found);
        }
        at = week.end;
    }
    let report = chain(sql, at, ends.end, head)?;
    Ok(TrailReport {
        lines: lines + report.lines,
        problem: problem.or(report.problem),
    })
}

/// Recomputes the chain between two of its points.
fn chain(
    sql: &dyn Sql,
    start: ChainPoint,
    end: ChainPoint,
    head: Option<ChainPoint>,
) -> Result<TrailReport, Fault> {
    let from = integer(start.sequence);
    let mut check = ChainCheck::new(start, end).through(head);
    let mut unread = None;
    let statement = "SELECT * FROM audit WHERE sequence > ?1 ORDER BY sequence";
    sql.each_once(statement, values![from], &mut |row| {
        match read(row) {
            Ok(line) if check.line(&line) => return Ok(ControlFlow::Continue(())),
            Ok(_) => {}
            Err(reason) => {
                let line = format!(
                    "line {}",
                    column::number::<i64>(row, "sequence").unwrap_or_default()
                );
                unread = Some(TrailFault::Unreadable { line, reason });
            }
        }
        Ok(ControlFlow::Break(()))
    })?;
    let (lines, fault) = check.finish();
    Ok(TrailReport {
        lines: lines + u64::from(unread.is_some()),
        problem: unread.or_else(|| fault.map(TrailFault::Chain)),
    })
}

/// What is wrong with a week that is to follow `at`.
fn wrong_week(
    sql: &dyn Sql,
    vault: &Vault,
    week: &Week,
    verdict: Verdict,
    at: &ChainPoint,
) -> Result<Option<TrailFault>, Fault> {
    let (first, last) = (week.start.sequence + 1, week.end.sequence);
    let wrong = |fault| TrailFault::Counted { first, last, fault };
    if let Err(reason) = verdict {
        return Ok(Some(wrong(CountedFault::NotOurs(reason))));
    }
    if week.start != *at {
        return Ok(Some(if week.start.sequence > at.sequence {
            missing(at.sequence + 1, first - 1)
        } else {
            wrong(CountedFault::Unchained { line: at.sequence })
        }));
    }
    let counted = match counts(sql, vault, week)? {
        Ok(counted) => counted,
        Err(problem) => return Ok(Some(problem)),
    };
    let kept = match kept(sql, vault, week)? {
        Ok(kept) => kept,
        Err(problem) => return Ok(Some(problem)),
    };
    let (all, found) = (last - week.start.sequence, counted.saturating_add(kept));
    Ok((all != found).then(|| wrong(CountedFault::Number { all, found })))
}

fn missing(first: u64, last: u64) -> TrailFault {
    ChainFault::Missing { first, last }.into()
}

/// How many lines the counts of a week tell of, or which of them is wrong.
fn counts(sql: &dyn Sql, vault: &Vault, week: &Week) -> Result<Result<u64, TrailFault>, Fault> {
    let mut all = 0_u64;
    let mut wrong = None;
    let statement = "SELECT * FROM audit_counts WHERE sequence > ?1 AND sequence <= ?2";
    let (from, to) = (integer(week.start.sequence), integer(week.end.sequence));
    sql.each(statement, values![from, to], &mut |row| {
        match counted(row, vault, week) {
            Ok(lines) => all = all.saturating_add(lines),
            Err(reason) => {
                let line = line_label(row);
                wrong = Some(TrailFault::Count { line, reason });
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(wrong.map_or(Ok(all), Err))
}

fn counted(row: &dyn Columns, vault: &Vault, week: &Week) -> Result<u64, RecordFault> {
    let count = Count::of(row)?;
    let counted = Counted {
        count: &count,
        end_hash: &week.end.hash,
    };
    counted.verify(vault, column::mac(row, "mac"))?;
    Ok(count.lines)
}

/// How many lines of a week stay, or which of them is wrong.
fn kept(sql: &dyn Sql, vault: &Vault, week: &Week) -> Result<Result<u64, TrailFault>, Fault> {
    let mut kept = 0;
    let mut at = week.cleared.clone();
    let mut wrong = None;
    let statement = "SELECT * FROM audit WHERE sequence > ?1 AND sequence <= ?2 ORDER BY sequence";
    let (from, to) = (integer(week.start.sequence), integer(week.end.sequence));
    sql.each(statement, values![from, to], &mut |row| {
        match keeps(row, vault, week, &mut at) {
            Ok(stays) => kept += u64::from(stays),
            Err(problem) => {
                wrong = Some(problem);
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if wrong.is_none() && at != week.end {
        wrong = Some(missing(at.sequence + 1, week.end.sequence));
    }
    Ok(wrong.map_or(Ok(kept), Err))
}

/// Whether a line of a week stays; `at` is the line before.
fn keeps(row: &dyn Columns, vault: &Vault, week: &Week, at: &mut ChainPoint) -> Result<bool, TrailFault> {
    let line = read(row).map_err(|reason| TrailFault::Unreadable {
        line: line_label(row),
        reason,
    })?;
    if line.sequence <= week.cleared.sequence {
        let end_hash = &week.end.hash;
        let bound = Kept {
            line: &line,
            end_hash,
        };
        if let Err(reason) = bound.verify(vault, column::mac(row, "mac")) {
            let line = line.sequence;
            return Err(TrailFault::NotOurs { line, reason });
        }
        return Ok(true);
    }
    // What was counted and is not gone yet is still a chain.
    let next = at.followed_by(&line);
    *at = next.ok_or(TrailFault::Unchained { line: line.sequence })?;
    Ok(!is_routine(&line.action))
}

/// What is wrong with a head that is a line of a week.
fn wrong_head(sql: &dyn Sql, week: &Week, head: &ChainPoint) -> Result<Option<TrailFault>, Fault> {
    let kept = sql.one(
        "SELECT hash FROM audit WHERE sequence = ?1",
        values![integer(head.sequence)],
        |row| Ok(column::text(row, "hash").unwrap_or_default().to_owned()),
    )?;
    let is_last = head.sequence == week.end.sequence;
    let hash = if is_last {
        Some(week.end.hash.clone())
    } else {
        kept
    };
    let line = head.sequence;
    Ok(match hash {
        Some(hash) if hash == head.hash => None,
        Some(_) => Some(ChainFault::OtherHead { line }.into()),
        None => Some(TrailFault::HeadCounted {
            line,
            last: week.end.sequence,
        }),
    })
}
