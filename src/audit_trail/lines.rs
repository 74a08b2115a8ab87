//! The audit trail as it is kept: its lines, between its ends.

use std::ops::ControlFlow;

use jiff::Timestamp;

use crate::{
    audit_trail::{
        ends::{self, Ends},
        row, shown,
        week::is_routine,
    },
    sql::{
        Fault, Sql,
        column::{self, corrupt, integer, micros},
        values,
    },
    telemetry::audit::{Actor, AuditEvent, AuditLine, ChainPoint, Decision},
    vault::Vault,
};

const INSERT: &str = "INSERT INTO audit (sequence, time, actor, action, integration, capabilities, decision, detail, hash, \
                      owner, agent) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

/// Chains `events` to the end, in order.
pub(crate) fn append(sql: &dyn Sql, vault: &Vault, events: &[AuditEvent]) -> Result<(), Fault> {
    let Some(first) = events.first() else {
        return Ok(());
    };
    let mut ends = ends::verified(sql, vault)?;
    ends.go_behind_all(sql)?;
    let altered = warning(&ends, first.time);
    for event in altered.iter().chain(events) {
        let line = ends.end.append(event);
        make_way(sql, line.sequence)?;
        sql.execute(
            INSERT,
            values![
                integer(line.sequence),
                micros(line.time),
                &line.actor,
                &line.action,
                &line.integration,
                &line.capabilities.join(" "),
                &line.decision,
                &line.detail,
                &line.hash,
                event.concern.owner.as_ref().map_or("", |owner| owner.as_str()),
                event.concern.agent.as_ref().map_or("", |agent| agent.as_str()),
            ],
        )?;
    }
    ends::write(sql, vault, &ends)
}

/// Removes what has the number of a line that is to be, which somebody else put there: beyond what any trail reaches, lines are
/// not looked at.
fn make_way(sql: &dyn Sql, sequence: u64) -> Result<(), Fault> {
    if sequence > ends::MOST_LINES {
        sql.execute(
            "DELETE FROM audit WHERE sequence = ?1",
            values![integer(sequence)],
        )?;
    }
    Ok(())
}

/// The last line, which is one that is kept: where it is one that is counted when it is old, another is written behind it.
pub(crate) fn lasting_head(sql: &dyn Sql, vault: &Vault, now: Timestamp) -> Result<ChainPoint, Fault> {
    let end = ends::verified(sql, vault)?.end;
    let action = sql.one(
        "SELECT action FROM audit WHERE sequence = ?1",
        values![integer(end.sequence)],
        |row| Ok(column::text(row, "action").unwrap_or_default().to_owned()),
    )?;
    if !action.is_some_and(|action| is_routine(&action)) {
        return Ok(end);
    }
    let line = AuditEvent::new(now, Actor::Daemon, "audit.head", Decision::Allowed);
    append(sql, vault, &[line])?;
    Ok(ends::verified(sql, vault)?.end)
}

/// What the trail itself says of ends that are not this broker's: once, because they are its own from then on.
fn warning(ends: &Ends, time: Timestamp) -> Option<AuditEvent> {
    ends.unconfirmed.as_ref()?;
    let detail = ends.problem().map(|fault| fault.to_string()).unwrap_or_default();
    tracing::error!("the audit trail is not whole: {detail}");
    Some(AuditEvent {
        detail,
        ..AuditEvent::new(time, Actor::Daemon, "audit.altered", Decision::Failed)
    })
}

/// Lines after `after`, oldest first: the first `limit` of them, or the last.
pub(crate) fn list(sql: &dyn Sql, after: u64, limit: u32, newest: bool) -> Result<Vec<AuditLine>, Fault> {
    let order = if newest { "DESC" } else { "ASC" };
    let after = after.max(ends::as_found(sql)?.start.sequence);
    let shown = shown::source(sql)?;
    let statement =
        format!("SELECT * FROM ({shown}) AS shown WHERE sequence > ?1 ORDER BY sequence {order} LIMIT ?2");
    let mut lines = Vec::new();
    sql.each_once(&statement, values![integer(after), limit], &mut |row| {
        lines.push(shown::read(row).map_err(|reason| corrupt(row::line_label(row), reason))?);
        Ok(ControlFlow::Continue(()))
    })?;
    if newest {
        lines.reverse();
    }
    Ok(lines)
}
