//! Security events that were acted on, so that a repetition is known, also after a restart.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::{
    budget::table::SECURITY_EVENTS,
    id::IntegrationId,
    sqlite::{column::micros, fault::Fault},
};

/// Whether the event was acted on already.
pub(super) fn is_known(connection: &Connection, id: &str) -> Result<bool, Fault> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM security_events WHERE id = ?")?;
    Ok(statement.exists([id])?)
}

/// Remembers an event that concerned this account, or nobody. One that is known stays as it is. Of too many, the
/// account's own oldest are forgotten, and only then the oldest of all.
pub(super) fn remember(
    connection: &Connection,
    id: &str,
    account: Option<&IntegrationId>,
    now: Timestamp,
) -> Result<(), Fault> {
    let account = account.map_or("", IntegrationId::as_str);
    let most = |limit: usize| i64::try_from(limit).unwrap_or(i64::MAX);
    let insert =
        "INSERT INTO security_events (id, received_at, account) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
    connection
        .prepare_cached(insert)?
        .execute(params![id, micros(now), account])?;
    let of_account = "DELETE FROM security_events WHERE account = ?1 AND number <= (\
        SELECT number FROM security_events WHERE account = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)";
    connection
        .prepare_cached(of_account)?
        .execute(params![account, most(SECURITY_EVENTS.each)])?;
    let of_all = "DELETE FROM security_events WHERE number <= (\
        SELECT number FROM security_events ORDER BY number DESC LIMIT 1 OFFSET ?)";
    connection
        .prepare_cached(of_all)?
        .execute([most(SECURITY_EVENTS.all)])?;
    Ok(())
}
