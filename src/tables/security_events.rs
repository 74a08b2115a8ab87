//! Security events that were acted on, so that a repetition is known, also after a restart.

use jiff::Timestamp;

use crate::{
    budget::table::SECURITY_EVENTS,
    id::IntegrationId,
    sql::{Fault, Sql, column::micros, values},
};

/// Whether the event was acted on already.
pub(crate) fn is_known(sql: &dyn Sql, id: &str) -> Result<bool, Fault> {
    let found = sql.number("SELECT 1 FROM security_events WHERE id = ?1", values![id])?;
    Ok(found.is_some())
}

/// Remembers an event that concerned this account, or nobody. One that is known stays as it is. Of too many, the
/// account's own oldest are forgotten, and only then the oldest of all.
pub(crate) fn remember(
    sql: &dyn Sql,
    id: &str,
    account: Option<&IntegrationId>,
    now: Timestamp,
) -> Result<(), Fault> {
    let account = account.map_or("", IntegrationId::as_str);
    let most = |limit: usize| i64::try_from(limit).unwrap_or(i64::MAX);
    sql.execute(
        "INSERT INTO security_events (id, received_at, account) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        values![id, micros(now), account],
    )?;
    sql.execute(
        "DELETE FROM security_events WHERE account = ?1 AND number <= (\
         SELECT number FROM security_events WHERE account = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        values![account, most(SECURITY_EVENTS.each)],
    )?;
    sql.execute(
        "DELETE FROM security_events WHERE number <= (\
         SELECT number FROM security_events ORDER BY number DESC LIMIT 1 OFFSET ?1)",
        values![most(SECURITY_EVENTS.all)],
    )?;
    Ok(())
}
