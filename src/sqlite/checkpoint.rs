//! The write-ahead log is copied into the database, and its room given back.

use std::time::Duration;

use rusqlite::Connection;

/// How long a connection waits for another program, such as a backup, that holds the database for a moment.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Copies the write-ahead log into the database and gives its room back. False when a reader is still at it, who is not
/// waited for.
pub(crate) fn empty_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(Duration::ZERO)?;
    let emptied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        row.get::<_, bool>(0).map(|busy| !busy)
    });
    connection.busy_timeout(BUSY_TIMEOUT)?;
    emptied
}
