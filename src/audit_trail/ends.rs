//! Where the audit trail begins and ends, bound to the keyring. Without the key nobody who writes the database can cut
//! the trail at an end, or write it anew, without a trace.

use crate::{
    sql::{
        Columns, Fault, Sql,
        bound::Bound,
        column::{self, corrupt, integer},
        values,
    },
    store::{RecordFault, TrailFault, UnconfirmedEnds},
    telemetry::audit::ChainPoint,
    vault::{Field, Vault},
};

/// More lines than any trail has. What has a higher number was put there by somebody else.
pub(super) const MOST_LINES: u64 = 1 << 62;

/// The two ends, and what is known against them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The last line that was pruned.
    pub(crate) start: ChainPoint,
    /// The last line that was written.
    pub(crate) end: ChainPoint,
    /// The first line that was written when the ends turned out not to be this broker's; 0 when they never did.
    altered: u64,
    /// Why they are not this broker's, where that was found just now.
    pub(crate) unconfirmed: Option<UnconfirmedEnds>,
}

impl Ends {
    pub(crate) fn of(row: &dyn Columns) -> Result<Self, RecordFault> {
        let point = |sequence, hash| {
            Ok::<_, RecordFault>(ChainPoint {
                sequence: column::number(row, sequence)?,
                hash: column::text(row, hash)?.to_owned(),
            })
        };
        Ok(Self {
            start: point("start_sequence", "start_hash")?,
            end: point("end_sequence", "end_hash")?,
            altered: column::number(row, "altered")?,
            unconfirmed: None,
        })
    }

    /// Those of a trail that has no line yet.
    pub(crate) fn of_new_trail() -> Self {
        Self {
            start: ChainPoint::default(),
            end: ChainPoint::default(),
            altered: 0,
            unconfirmed: None,
        }
    }

    /// What a verification has to say of them.
    pub(crate) fn problem(&self) -> Option<TrailFault> {
        let once = || (self.altered > 0).then_some(TrailFault::EndsOnce { line: self.altered });
        self.unconfirmed.clone().map(TrailFault::Ends).or_else(once)
    }

    /// Moves the end to the last line there is, where lines lie behind it or it is beyond what any trail reaches. Which of
    /// the two was altered is not known. So nothing is written over, and the trail goes on.
    pub(crate) fn go_behind_all(&mut self, sql: &dyn Sql) -> Result<(), Fault> {
        let last = line(sql, Order::Last)?.unwrap_or_default();
        let is_beyond = self.unconfirmed.is_some() && self.end.sequence > MOST_LINES;
        if last.sequence <= self.end.sequence && !is_beyond {
            return Ok(());
        }
        self.end = last;
        self.altered = self.end.sequence.saturating_add(1);
        self.unconfirmed.get_or_insert(UnconfirmedEnds::LinesBehind);
        Ok(())
    }

    /// The trail begins behind `start` from now on. What was altered before that is gone.
    pub(crate) fn begin_behind(&mut self, start: ChainPoint) {
        if start.sequence.saturating_add(1) >= self.altered {
            self.altered = 0;
        }
        self.start = start;
    }
}

impl Bound for Ends {
    const PURPOSE: &'static str = "audit trail";

    fn fields(&self) -> Vec<Field<'_>> {
        vec![
            integer(self.start.sequence).into(),
            self.start.hash.as_str().into(),
            integer(self.end.sequence).into(),
            self.end.hash.as_str().into(),
            integer(self.altered).into(),
        ]
    }
}

/// The ends as the database has them, no matter who wrote them: for what shows lines and proves nothing.
pub(crate) fn as_found(sql: &dyn Sql) -> Result<Ends, Fault> {
    let found = read(sql, |row| Ok(Ends::of(row)))?;
    match found {
        Some(Ok(ends)) => Ok(ends),
        Some(Err(reason)) => Err(corrupt("of the audit trail's ends", reason).into()),
        None => of_lines(sql),
    }
}

/// The ends, and whether they are this broker's.
pub(crate) fn verified(sql: &dyn Sql, vault: &Vault) -> Result<Ends, Fault> {
    let found = read(sql, |row| {
        Ok(Ends::of(row).map(|ends| {
            let verdict = ends.verify(vault, column::mac(row, "mac"));
            (ends, verdict)
        }))
    })?;
    let (mut ends, reason) = match found {
        Some(Ok((ends, Ok(())))) => return Ok(ends),
        Some(Ok((ends, Err(reason)))) => (ends, UnconfirmedEnds::Record(reason.into())),
        Some(Err(reason)) => (of_lines(sql)?, UnconfirmedEnds::Record(reason)),
        None => (of_lines(sql)?, UnconfirmedEnds::Removed),
    };
    ends.altered = ends.end.sequence.saturating_add(1);
    ends.unconfirmed = Some(reason);
    Ok(ends)
}

const UPDATE: &str = "UPDATE audit_ends SET start_sequence = ?1, start_hash = ?2, end_sequence = ?3, end_hash = ?4, \
                      altered = ?5, mac = ?6";
const INSERT: &str = "INSERT INTO audit_ends (\"only\", start_sequence, start_hash, end_sequence, end_hash, altered, mac) \
                      VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)";

/// Notes the ends, bound to the keyring.
pub(crate) fn write(sql: &dyn Sql, vault: &Vault, ends: &Ends) -> Result<(), Fault> {
    let mac = ends.mac(vault);
    let values = values![
        integer(ends.start.sequence),
        &ends.start.hash,
        integer(ends.end.sequence),
        &ends.end.hash,
        integer(ends.altered),
        mac.as_bytes(),
    ];
    if sql.execute(UPDATE, values)? == 0 {
        sql.execute(INSERT, values)?;
    }
    Ok(())
}

/// Binds the ends of a trail from before they were bound, and those of a new one.
pub(crate) fn take_over(sql: &dyn Sql, vault: &Vault) -> Result<(), Fault> {
    let is_unbound = read(sql, |row| Ok(column::mac(row, "mac").is_empty()))?;
    if is_unbound == Some(true) {
        return write(sql, vault, &as_found(sql)?);
    }
    tracing::error!(
        "a key check from an old copy of the database was put into it: the ends of the audit trail stay as they are"
    );
    Ok(())
}

/// Says in the log what is known against the ends.
pub(crate) fn report(sql: &dyn Sql, vault: &Vault) -> Result<(), Fault> {
    if let Some(problem) = verified(sql, vault)?.problem() {
        tracing::error!("the audit trail is not whole: {problem}");
    }
    Ok(())
}

fn read<T>(sql: &dyn Sql, read: impl FnMut(&dyn Columns) -> Result<T, Fault>) -> Result<Option<T>, Fault> {
    sql.one("SELECT * FROM audit_ends", &[], read)
}

/// The ends as the lines themselves have them. What was before the first is lost.
fn of_lines(sql: &dyn Sql) -> Result<Ends, Fault> {
    let first = line(sql, Order::First)?.unwrap_or_default().sequence;
    Ok(Ends {
        start: ChainPoint {
            sequence: first.saturating_sub(1),
            ..ChainPoint::default()
        },
        end: line(sql, Order::Last)?.unwrap_or_default(),
        altered: 0,
        unconfirmed: None,
    })
}

/// Which line.
#[derive(Clone, Copy)]
enum Order {
    First,
    Last,
}

/// The first line, or the last, of those that a trail can have.
fn line(sql: &dyn Sql, order: Order) -> Result<Option<ChainPoint>, Fault> {
    let statement = match order {
        Order::First => "SELECT sequence, hash FROM audit WHERE sequence <= ?1 ORDER BY sequence ASC LIMIT 1",
        Order::Last => "SELECT sequence, hash FROM audit WHERE sequence <= ?1 ORDER BY sequence DESC LIMIT 1",
    };
    sql.one(statement, values![integer(MOST_LINES)], |row| {
        let point = || {
            Ok::<_, RecordFault>(ChainPoint {
                sequence: column::number(row, "sequence").unwrap_or(0),
                hash: column::text(row, "hash")?.to_owned(),
            })
        };
        Ok(point().map_err(|reason| corrupt("of the audit trail", reason))?)
    })
}
