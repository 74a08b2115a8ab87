//! The weeks of the audit trail whose routine lines are counted: what is kept of each, bound to the keyring.
//!
//! A week is a run of lines. Together, its counts and the lines that stay are as many as the run is long, and each of them is
//! bound to the hash of the run's last line, and by that to every line there was: none can be edited, removed, added, or taken
//! from another branch of the trail.

use std::ops::ControlFlow;

use crate::{
    audit_trail::ends::Ends,
    sql::{
        Columns, Fault, Sql,
        bound::Bound,
        column::{self, corrupt, integer, micros},
        values,
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
    pub(crate) fn of(row: &dyn Columns) -> Result<Self, RecordFault> {
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
pub(crate) fn all(sql: &dyn Sql, vault: &Vault) -> Result<Vec<(Week, Verdict)>, Fault> {
    let mut weeks = Vec::new();
    sql.each("SELECT * FROM audit_weeks ORDER BY first", &[], &mut |row| {
        weeks.push(checked(row, vault)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(weeks)
}

fn checked(row: &dyn Columns, vault: &Vault) -> Result<(Week, Verdict), Fault> {
    let week = Week::of(row).map_err(|reason| corrupt("of a week of the audit trail", reason))?;
    let verdict = week.verify(vault, column::mac(row, "mac"));
    Ok((week, verdict))
}

/// The first week in this order, which has to be this broker's.
fn one(sql: &dyn Sql, vault: &Vault, statement: &str) -> Result<Option<Week>, Fault> {
    let found = sql.one(statement, &[], |row| checked(row, vault))?;
    let Some(found) = found else { return Ok(None) };
    match found {
        (week, Ok(())) => Ok(Some(week)),
        (week, Err(reason)) => {
            let record = format!("of the audit trail's week up to line {}", week.end.sequence);
            Err(corrupt(record, reason).into())
        }
    }
}

/// The oldest week.
pub(crate) fn oldest(sql: &dyn Sql, vault: &Vault) -> Result<Option<Week>, Fault> {
    one(sql, vault, "SELECT * FROM audit_weeks ORDER BY first LIMIT 1")
}

/// The newest week.
pub(crate) fn newest(sql: &dyn Sql, vault: &Vault) -> Result<Option<Week>, Fault> {
    one(
        sql,
        vault,
        "SELECT * FROM audit_weeks ORDER BY first DESC LIMIT 1",
    )
}

/// The last line of the newest week, or where the trail begins: what comes after it is a chain of lines.
pub(crate) fn chain_begins(sql: &dyn Sql, vault: &Vault, ends: &Ends) -> Result<ChainPoint, Fault> {
    Ok(newest(sql, vault)?.map_or_else(|| ends.start.clone(), |week| week.end))
}

const UPDATE: &str = "UPDATE audit_weeks SET last = ?2, start_hash = ?3, end_hash = ?4, cleared = ?5, cleared_hash = ?6, \
                      mac = ?7 WHERE first = ?1";
const INSERT: &str = "INSERT INTO audit_weeks (first, last, start_hash, end_hash, cleared, cleared_hash, mac) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// Keeps a week as it is now.
pub(crate) fn put(sql: &dyn Sql, vault: &Vault, week: &Week) -> Result<(), Fault> {
    let mac = week.mac(vault);
    let values = values![
        integer(week.start.sequence + 1),
        integer(week.end.sequence),
        &week.start.hash,
        &week.end.hash,
        integer(week.cleared.sequence),
        &week.cleared.hash,
        mac.as_bytes(),
    ];
    if sql.execute(UPDATE, values)? == 0 {
        sql.execute(INSERT, values)?;
    }
    Ok(())
}

/// Forgets a week.
pub(crate) fn forget(sql: &dyn Sql, week: &Week) -> Result<(), Fault> {
    sql.execute(
        "DELETE FROM audit_weeks WHERE first = ?1",
        values![integer(week.start.sequence + 1)],
    )?;
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
    pub(crate) fn of(row: &dyn Columns) -> Result<Self, RecordFault> {
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
    pub(crate) fn of(row: &dyn Columns) -> Result<Self, RecordFault> {
        Ok(Self {
            kind: Kind::of(row)?,
            lines: column::number(row, "count")?,
            first_time: column::number(row, "first_time")?,
            sequence: column::number(row, "sequence")?,
            time: column::number(row, "time")?,
        })
    }

    pub(crate) fn put(&self, sql: &dyn Sql, vault: &Vault, end_hash: &str) -> Result<(), Fault> {
        let kind = &self.kind;
        let mac = Counted {
            count: self,
            end_hash,
        }
        .mac(vault);
        sql.execute(
            "INSERT INTO audit_counts (sequence, time, actor, action, integration, capabilities, decision, owner, \
             agent, count, first_time, mac) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            values![
                integer(self.sequence),
                self.time,
                &kind.actor,
                &kind.action,
                &kind.integration,
                &kind.capabilities,
                &kind.decision,
                &kind.owner,
                &kind.agent,
                integer(self.lines),
                self.first_time,
                mac.as_bytes(),
            ],
        )?;
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
