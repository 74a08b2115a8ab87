//! Security events that were acted on, so that a repetition is known, also after a restart.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{column::micros, fault::Fault};

/// How many are remembered; the oldest make room. Google repeats an event for hours at most.
pub(super) const REMEMBERED: i64 = 10_000;

/// Whether the event was acted on already.
pub(super) fn is_known(connection: &Connection, id: &str) -> Result<bool, Fault> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM security_events WHERE id = ?")?;
    Ok(statement.exists([id])?)
}

/// Remembers an event. One that is known stays as it is.
pub(super) fn remember(connection: &Connection, id: &str, now: Timestamp) -> Result<(), Fault> {
    connection
        .prepare_cached("INSERT INTO security_events (id, received_at) VALUES (?, ?) ON CONFLICT DO NOTHING")?
        .execute(params![id, micros(now)])?;
    connection
        .prepare_cached(
            "DELETE FROM security_events WHERE number <= (SELECT max(number) FROM security_events) - ?",
        )?
        .execute([REMEMBERED])?;
    Ok(())
}
