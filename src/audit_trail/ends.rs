//! Where the audit trail begins and ends, bound to the keyring. Without the key nobody who writes the database can cut
//! the trail at an end, or write it anew, without a trace.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    sqlite::{
        bound::Bound,
        column::{self, corrupt, integer},
        fault::Fault,
    },
    store::{RecordFault, TrailFault, UnconfirmedEnds},
    telemetry::audit::ChainPoint,
    vault::{Field, Vault},
};

/// More lines than any trail has. What has a higher number was put there by somebody else.
const MOST_LINES: u64 = 1 << 62;

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
    pub(crate) fn of(row: &Row<'_>) -> Result<Self, RecordFault> {
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

    /// What a verification has to say of them.
    pub(crate) fn problem(&self) -> Option<TrailFault> {
        let once = || (self.altered > 0).then_some(TrailFault::EndsOnce { line: self.altered });
        self.unconfirmed.clone().map(TrailFault::Ends).or_else(once)
    }

    /// Moves the end to the last line there is, where lines lie behind it or it is beyond what any trail reaches. Which of
    /// the two was altered is not known. So nothing is written over, and the trail goes on.
    pub(crate) fn go_behind_all(&mut self, connection: &Connection) -> Result<(), Fault> {
        let last = line(connection, Order::Last)?.unwrap_or_default();
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
pub(crate) fn as_found(connection: &Connection) -> Result<Ends, Fault> {
    let found = read(connection, |row| Ok(Ends::of(row)))?;
    match found {
        Some(Ok(ends)) => Ok(ends),
        Some(Err(reason)) => Err(corrupt("of the audit trail's ends", reason).into()),
        None => of_lines(connection),
    }
}

/// The ends, and whether they are this broker's.
pub(crate) fn verified(connection: &Connection, vault: &Vault) -> Result<Ends, Fault> {
    let found = read(connection, |row| {
        Ok(Ends::of(row).map(|ends| {
            let verdict = ends.verify(vault, column::mac(row, "mac"));
            (ends, verdict)
        }))
    })?;
    let (mut ends, reason) = match found {
        Some(Ok((ends, Ok(())))) => return Ok(ends),
        Some(Ok((ends, Err(reason)))) => (ends, UnconfirmedEnds::Record(reason.into())),
        Some(Err(reason)) => (of_lines(connection)?, UnconfirmedEnds::Record(reason)),
        None => (of_lines(connection)?, UnconfirmedEnds::Removed),
    };
    ends.altered = ends.end.sequence.saturating_add(1);
    ends.unconfirmed = Some(reason);
    Ok(ends)
}

/// Notes the ends, bound to the keyring.
pub(crate) fn write(connection: &Connection, vault: &Vault, ends: &Ends) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO audit_ends (only, start_sequence, start_hash, end_sequence, end_hash, altered, mac) \
             VALUES (1, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            integer(ends.start.sequence),
            ends.start.hash,
            integer(ends.end.sequence),
            ends.end.hash,
            integer(ends.altered),
            ends.mac(vault).as_bytes(),
        ])?;
    Ok(())
}

/// Binds the ends of a trail from before they were bound, and those of a new one.
pub(crate) fn take_over(connection: &Connection, vault: &Vault) -> Result<(), Fault> {
    let is_unbound = read(connection, |row| Ok(column::mac(row, "mac").is_empty()))?;
    if is_unbound == Some(true) {
        return write(connection, vault, &as_found(connection)?);
    }
    tracing::error!(
        "a key check from an old copy of the database was put into it: the ends of the audit trail stay as they are"
    );
    Ok(())
}

/// Says in the log what is known against the ends.
pub(crate) fn report(connection: &Connection, vault: &Vault) -> Result<(), Fault> {
    if let Some(problem) = verified(connection, vault)?.problem() {
        tracing::error!("the audit trail is not whole: {problem}");
    }
    Ok(())
}

fn read<T>(
    connection: &Connection,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Fault> {
    let mut statement = connection.prepare_cached("SELECT * FROM audit_ends WHERE only = 1")?;
    Ok(statement.query_row([], read).optional()?)
}

/// The ends as the lines themselves have them. What was before the first is lost.
fn of_lines(connection: &Connection) -> Result<Ends, Fault> {
    let first = line(connection, Order::First)?.unwrap_or_default().sequence;
    Ok(Ends {
        start: ChainPoint {
            sequence: first.saturating_sub(1),
            ..ChainPoint::default()
        },
        end: line(connection, Order::Last)?.unwrap_or_default(),
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
fn line(connection: &Connection, order: Order) -> Result<Option<ChainPoint>, Fault> {
    let sql = match order {
        Order::First => "SELECT sequence, hash FROM audit WHERE sequence <= ? ORDER BY sequence ASC LIMIT 1",
        Order::Last => "SELECT sequence, hash FROM audit WHERE sequence <= ? ORDER BY sequence DESC LIMIT 1",
    };
    let mut statement = connection.prepare_cached(sql)?;
    let point = statement.query_row([integer(MOST_LINES)], |row| {
        let sequence: i64 = row.get(0)?;
        Ok(ChainPoint {
            sequence: u64::try_from(sequence).unwrap_or(0),
            hash: row.get(1)?,
        })
    });
    Ok(point.optional()?)
}
