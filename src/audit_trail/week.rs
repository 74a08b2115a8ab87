//! The weeks of the audit trail whose routine lines are counted: what is kept of each, bound to the keyring.
//!
//! A week is a run of lines. Together, its counts and the lines that stay are as many as the run is long, and each of them is
//! bound to the hash of the run's last line, and by that to every line there was: none can be edited, removed, added, or taken
//! from another branch of the trail.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    audit_trail::ends::Ends,
    sqlite::{
        bound::Bound,
        column::{self, corrupt, integer, micros},
        fault::Fault,
    },
    store::RecordFault,
    telemetry::audit::{AuditLine, ChainPoint},
    vault::{Field, MacError, Vault},
};

/// What is counted: it is written without anybody doing something, the more the more agents there are.
const ROUTINE: [&str; 4] = [
    "token.renewed",
    "token.renewal_failed",
    "token.used",
    "token.refresh",
];

/// Whether a line of this action is counted.
pub(crate) fn is_routine(action: &str) -> bool {
    ROUTINE.contains(&action)
}

/// The same for a query.
pub(crate) fn where_routine() -> String {
    format!("action IN ('{}')", ROUTINE.join("', '"))
}

/// Whether something is this broker's, or why not.
pub(crate) type Verdict = Result<(), MacError>;

/// A run of lines that are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Week {
    /// The line before it.
    pub(crate) start: ChainPoint,
    /// Its last line.
    pub(crate) end: ChainPoint,
    /// The last line up to which what was counted is gone.
    pub(crate) cleared: ChainPoint,
}

impl Week {
    pub(crate) fn of(row: &Row<'_>) -> Result<Self, RecordFault> {
        let point = |sequence, hash| {
            Ok::<_, RecordFault>(ChainPoint {
                sequence: column::number(row, sequence)?,
                hash: column::text(row, hash)?.to_owned(),
            })
        };
        let mut start = point("first", "start_hash")?;
        start.sequence = start.sequence.saturating_sub(1);
        Ok(Self {
            start,
            end: point("last", "end_hash")?,
            cleared: point("cleared", "cleared_hash")?,
        })
    }

    /// Whether all that was counted is gone.
    pub(crate) fn is_cleared(&self) -> bool {
        self.cleared == self.end
    }
}

impl Bound for Week {
    const PURPOSE: &'static str = "audit week";

    fn fields(&self) -> Vec<Field<'_>> {
        [&self.start, &self.end, &self.cleared]
            .into_iter()
            .flat_map(|point| [integer(point.sequence).into(), point.hash.as_str().into()])
            .collect()
    }
}

/// The weeks, the oldest first, each with whether it is this broker's.
pub(crate) fn all(connection: &Connection, vault: &Vault) -> Result<Vec<(Week, Verdict)>, Fault> {
    let mut statement = connection.prepare_cached("SELECT * FROM audit_weeks ORDER BY first")?;
    let mut rows = statement.query([])?;
    let mut weeks = Vec::new();
    while let Some(row) = rows.next()? {
        weeks.push(checked(row, vault)?);
    }
    Ok(weeks)
}

fn checked(row: &Row<'_>, vault: &Vault) -> Result<(Week, Verdict), Fault> {
    let week = Week::of(row).map_err(|reason| corrupt("of a week of the audit trail", reason))?;
    let verdict = week.verify(vault, column::mac(row, "mac"));
    Ok((week, verdict))
}

/// The first week in this order, which has to be this broker's.
fn one(connection: &Connection, vault: &Vault, sql: &str) -> Result<Option<Week>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement
        .query_row([], |row| Ok(checked(row, vault)))
        .optional()?;
    let Some(found) = found else { return Ok(None) };
    match found? {
        (week, Ok(())) => Ok(Some(week)),
        (week, Err(reason)) => {
            let record = format!("of the audit trail's week up to line {}", week.end.sequence);
            Err(corrupt(record, reason).into())
        }
    }
}

/// The oldest week.
pub(crate) fn oldest(connection: &Connection, vault: &Vault) -> Result<Option<Week>, Fault> {
    one(
        connection,
        vault,
        "SELECT * FROM audit_weeks ORDER BY first LIMIT 1",
    )
}

/// The newest week.
pub(crate) fn newest(connection: &Connection, vault: &Vault) -> Result<Option<Week>, Fault> {
    one(
        connection,
        vault,
        "SELECT * FROM audit_weeks ORDER BY first DESC LIMIT 1",
    )
}

/// The last line of the newest week, or where the trail begins: what comes after it is a chain of lines.
pub(crate) fn chain_begins(connection: &Connection, vault: &Vault, ends: &Ends) -> Result<ChainPoint, Fault> {
    Ok(newest(connection, vault)?.map_or_else(|| ends.start.clone(), |week| week.end))
}

/// Keeps a week as it is now.
pub(crate) fn put(connection: &Connection, vault: &Vault, week: &Week) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO audit_weeks (first, last, start_hash, end_hash, cleared, cleared_hash, mac) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            integer(week.start.sequence + 1),
            integer(week.end.sequence),
            week.start.hash,
            week.end.hash,
            integer(week.cleared.sequence),
            week.cleared.hash,
            week.mac(vault).as_bytes(),
        ])?;
    Ok(())
}

/// Forgets a week.
pub(crate) fn forget(connection: &Connection, week: &Week) -> Result<(), Fault> {
    connection
        .prepare_cached("DELETE FROM audit_weeks WHERE first = ?")?
        .execute([integer(week.start.sequence + 1)])?;
    Ok(())
}

/// A line that stays, in a week that ends with this hash.
pub(crate) struct Kept<'a> {
    pub(crate) line: &'a AuditLine,
    pub(crate) end_hash: &'a str,
}

impl Bound for Kept<'_> {
    const PURPOSE: &'static str = "audit line";

    fn fields(&self) -> Vec<Field<'_>> {
        let line = self.line;
        let mut fields = vec![
            self.end_hash.into(),
            integer(line.sequence).into(),
            micros(line.time).into(),
            line.actor.as_str().into(),
            line.action.as_str().into(),
            line.integration.as_str().into(),
            line.decision.as_str().into(),
            line.detail.as_str().into(),
            line.hash.as_str().into(),
        ];
        fields.extend(line.capabilities.iter().map(|key| Field::from(key.as_str())));
        fields
    }
}

/// What lines that are counted together have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    pub(crate) actor: String,
    pub(crate) action: String,
    pub(crate) integration: String,
    pub(crate) capabilities: String,
    pub(crate) decision: String,
    pub(crate) owner: String,
    pub(crate) agent: String,
}

impl Kind {
    pub(crate) fn of(row: &Row<'_>) -> Result<Self, RecordFault> {
        let text = |name| column::text(row, name).map(str::to_owned);
        Ok(Self {
            actor: text("actor")?,
            action: text("action")?,
            integration: text("integration")?,
            capabilities: text("capabilities")?,
            decision: text("decision")?,
            owner: text("owner")?,
            agent: text("agent")?,
        })
    }
}

/// How many there were, the first and the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) kind: Kind,
    pub(crate) lines: u64,
    pub(crate) first_time: i64,
    pub(crate) sequence: u64,
    pub(crate) time: i64,
}

impl Count {
    pub(crate) fn of(row: &Row<'_>) -> Result<Self, RecordFault> {
        Ok(Self {
            kind: Kind::of(row)?,
            lines: column::number(row, "count")?,
            first_time: column::number(row, "first_time")?,
            sequence: column::number(row, "sequence")?,
            time: column::number(row, "time")?,
        })
    }

    pub(crate) fn put(&self, connection: &Connection, vault: &Vault, end_hash: &str) -> Result<(), Fault> {
        let kind = &self.kind;
        connection
            .prepare_cached(
                "INSERT INTO audit_counts (sequence, time, actor, action, integration, capabilities, decision, owner, \
                 agent, count, first_time, mac) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                integer(self.sequence),
                self.time,
                kind.actor,
                kind.action,
                kind.integration,
                kind.capabilities,
                kind.decision,
                kind.owner,
                kind.agent,
                integer(self.lines),
                self.first_time,
                Counted { count: self, end_hash }.mac(vault).as_bytes(),
            ])?;
        Ok(())
    }
}

/// A count in a week that ends with this hash.
pub(crate) struct Counted<'a> {
    pub(crate) count: &'a Count,
    pub(crate) end_hash: &'a str,
}

impl Bound for Counted<'_> {
    const PURPOSE: &'static str = "audit count";

    fn fields(&self) -> Vec<Field<'_>> {
        let Count {
            kind,
            lines,
            first_time,
            sequence,
            time,
        } = self.count;
        vec![
            self.end_hash.into(),
            integer(*sequence).into(),
            (*time).into(),
            kind.actor.as_str().into(),
            kind.action.as_str().into(),
            kind.integration.as_str().into(),
            kind.capabilities.as_str().into(),
            kind.decision.as_str().into(),
            kind.owner.as_str().into(),
            kind.agent.as_str().into(),
            integer(*lines).into(),
            (*first_time).into(),
        ]
    }
}
