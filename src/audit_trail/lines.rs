//! The audit trail as it is kept: its lines, between its ends.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, named_params, params};

use crate::{
    audit_trail::{
        ends::{self, Ends},
        row, shown,
        week::is_routine,
    },
    sqlite::{
        column::{corrupt, integer, micros},
        fault::Fault,
    },
    telemetry::audit::{Actor, AuditEvent, AuditLine, ChainPoint, Decision},
    vault::Vault,
};

/// Chains `events` to the end, in order.
pub(crate) fn append(connection: &Connection, vault: &Vault, events: &[AuditEvent]) -> Result<(), Fault> {
    let Some(first) = events.first() else {
        return Ok(());
    };
    let mut ends = ends::verified(connection, vault)?;
    ends.go_behind_all(connection)?;
    let altered = warning(&ends, first.time);
    // What is replaced has a number that no trail reaches.
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO audit (sequence, time, actor, action, integration, capabilities, decision, detail, hash, \
         owner, agent) VALUES (:sequence, :time, :actor, :action, :integration, :capabilities, :decision, :detail, \
         :hash, :owner, :agent)",
    )?;
    for event in altered.iter().chain(events) {
        let line = ends.end.append(event);
        insert.execute(named_params! {
            ":sequence": integer(line.sequence),
            ":time": micros(line.time),
            ":actor": line.actor,
            ":action": line.action,
            ":integration": line.integration,
            ":capabilities": line.capabilities.join(" "),
            ":decision": line.decision,
            ":detail": line.detail,
            ":hash": line.hash,
            ":owner": event.concern.owner.as_ref().map_or("", |owner| owner.as_str()),
            ":agent": event.concern.agent.as_ref().map_or("", |agent| agent.as_str()),
        })?;
    }
    ends::write(connection, vault, &ends)
}

/// The last line, which is one that is kept: where it is one that is counted when it is old, another is written behind it.
pub(crate) fn lasting_head(
    connection: &Connection,
    vault: &Vault,
    now: Timestamp,
) -> Result<ChainPoint, Fault> {
    let end = ends::verified(connection, vault)?.end;
    let action: Option<String> = connection
        .prepare_cached("SELECT action FROM audit WHERE sequence = ?")?
        .query_row([integer(end.sequence)], |row| row.get(0))
        .optional()?;
    if !action.is_some_and(|action| is_routine(&action)) {
        return Ok(end);
    }
    let line = AuditEvent::new(now, Actor::Daemon, "audit.head", Decision::Allowed);
    append(connection, vault, &[line])?;
    Ok(ends::verified(connection, vault)?.end)
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
pub(crate) fn list(
    connection: &Connection,
    after: u64,
    limit: u32,
    newest: bool,
) -> Result<Vec<AuditLine>, Fault> {
    let order = if newest { "DESC" } else { "ASC" };
    let after = after.max(ends::as_found(connection)?.start.sequence);
    let shown = shown::source(connection)?;
    let mut statement = connection.prepare(&format!(
        "SELECT * FROM ({shown}) WHERE sequence > ? ORDER BY sequence {order} LIMIT ?"
    ))?;
    let mut rows = statement.query(params![integer(after), limit])?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        lines.push(shown::read(row).map_err(|reason| corrupt(row::line_label(row), reason))?);
    }
    if newest {
        lines.reverse();
    }
    Ok(lines)
}
