//! Whether the audit trail is whole: its weeks, whose routine lines are counted, and the chain of lines behind them.

use rusqlite::Connection;

use crate::{
    audit_trail::{
        ends,
        row::{line_label, read},
        week::{self, Count, Counted, Kept, Verdict, Week, is_routine},
    },
    sqlite::{
        bound::Bound,
        column::{self, integer},
        fault::Fault,
    },
    store::{CountedFault, RecordFault, TrailFault, TrailReport},
    telemetry::audit::{ChainCheck, ChainFault, ChainPoint},
    vault::Vault,
};

/// Looks at all of the trail, from the last pruned line to the last written one, through `head` where one is given.
pub(crate) fn verify(
    connection: &Connection,
    vault: &Vault,
    head: Option<ChainPoint>,
) -> Result<TrailReport, Fault> {
    let ends = ends::verified(connection, vault)?;
    let mut at = ends.start.clone();
    let mut lines = 0;
    let mut head = head;
    let mut problem = ends.problem();
    for (week, verdict) in week::all(connection, vault)? {
        if let Some(found) = wrong_week(connection, vault, &week, verdict, &at)? {
            problem.get_or_insert(found);
            return Ok(TrailReport { lines, problem });
        }
        lines += week.end.sequence - week.start.sequence;
        if let Some(head) =
            head.take_if(|head| week.start.sequence < head.sequence && head.sequence <= week.end.sequence)
            && let Some(found) = wrong_head(connection, &week, &head)?
        {
            problem.get_or_insert(found);
        }
        at = week.end;
    }
    let report = chain(connection, at, ends.end, head)?;
    Ok(TrailReport {
        lines: lines + report.lines,
        problem: problem.or(report.problem),
    })
}

/// Recomputes the chain between two of its points.
fn chain(
    connection: &Connection,
    start: ChainPoint,
    end: ChainPoint,
    head: Option<ChainPoint>,
) -> Result<TrailReport, Fault> {
    let from = integer(start.sequence);
    let mut check = ChainCheck::new(start, end).through(head);
    let mut statement = connection.prepare("SELECT * FROM audit WHERE sequence > ? ORDER BY sequence")?;
    let mut rows = statement.query([from])?;
    let mut unread = None;
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(line) if check.line(&line) => {}
            Ok(_) => break,
            Err(reason) => {
                let line = format!("line {}", row.get::<_, i64>("sequence")?);
                unread = Some(TrailFault::Unreadable { line, reason });
                break;
            }
        }
    }
    let (lines, fault) = check.finish();
    Ok(TrailReport {
        lines: lines + u64::from(unread.is_some()),
        problem: unread.or_else(|| fault.map(TrailFault::Chain)),
    })
}

/// What is wrong with a week that is to follow `at`.
fn wrong_week(
    connection: &Connection,
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
    let counted = match counts(connection, vault, week)? {
        Ok(counted) => counted,
        Err(problem) => return Ok(Some(problem)),
    };
    let kept = match kept(connection, vault, week)? {
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
fn counts(connection: &Connection, vault: &Vault, week: &Week) -> Result<Result<u64, TrailFault>, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT * FROM audit_counts WHERE sequence > ? AND sequence <= ?")?;
    let mut rows = statement.query([integer(week.start.sequence), integer(week.end.sequence)])?;
    let mut all = 0_u64;
    while let Some(row) = rows.next()? {
        let wrong = |reason: RecordFault| TrailFault::Count {
            line: line_label(row),
            reason,
        };
        let count = match Count::of(row) {
            Ok(count) => count,
            Err(reason) => return Ok(Err(wrong(reason))),
        };
        let end_hash = &week.end.hash;
        let counted = Counted {
            count: &count,
            end_hash,
        };
        if let Err(reason) = counted.verify(vault, column::mac(row, "mac")) {
            return Ok(Err(wrong(reason.into())));
        }
        all = all.saturating_add(count.lines);
    }
    Ok(Ok(all))
}

/// How many lines of a week stay, or which of them is wrong.
fn kept(connection: &Connection, vault: &Vault, week: &Week) -> Result<Result<u64, TrailFault>, Fault> {
    let mut statement = connection
        .prepare_cached("SELECT * FROM audit WHERE sequence > ? AND sequence <= ? ORDER BY sequence")?;
    let mut rows = statement.query([integer(week.start.sequence), integer(week.end.sequence)])?;
    let mut kept = 0;
    let mut at = week.cleared.clone();
    while let Some(row) = rows.next()? {
        let line = match read(row) {
            Ok(line) => line,
            Err(reason) => {
                let line = line_label(row);
                return Ok(Err(TrailFault::Unreadable { line, reason }));
            }
        };
        if line.sequence <= week.cleared.sequence {
            let end_hash = &week.end.hash;
            let bound = Kept {
                line: &line,
                end_hash,
            };
            if let Err(reason) = bound.verify(vault, column::mac(row, "mac")) {
                let line = line.sequence;
                return Ok(Err(TrailFault::NotOurs { line, reason }));
            }
            kept += 1;
        } else {
            // What was counted and is not gone yet is still a chain.
            let Some(next) = at.followed_by(&line) else {
                return Ok(Err(TrailFault::Unchained { line: line.sequence }));
            };
            at = next;
            kept += u64::from(!is_routine(&line.action));
        }
    }
    if at == week.end {
        Ok(Ok(kept))
    } else {
        Ok(Err(missing(at.sequence + 1, week.end.sequence)))
    }
}

/// What is wrong with a head that is a line of a week.
fn wrong_head(connection: &Connection, week: &Week, head: &ChainPoint) -> Result<Option<TrailFault>, Fault> {
    let mut statement = connection.prepare_cached("SELECT hash FROM audit WHERE sequence = ?")?;
    let mut rows = statement.query([integer(head.sequence)])?;
    let hash = match rows.next()? {
        _ if head.sequence == week.end.sequence => Some(week.end.hash.clone()),
        Some(row) => Some(row.get(0)?),
        None => None,
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
