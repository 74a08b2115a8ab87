//! What the checks of a database find, as `SQLite` makes them.

use rusqlite::Connection;

/// The first damage in the whole database, but for what is wrong inside single rows.
pub(crate) fn finding(connection: &Connection) -> rusqlite::Result<Option<String>> {
    first_finding(connection, "PRAGMA integrity_check")
}

/// The same, without a look at whether indexes fit their tables.
pub(crate) fn quick_finding(connection: &Connection) -> rusqlite::Result<Option<String>> {
    first_finding(connection, "PRAGMA quick_check")
}

/// The first damage that a check finds, but for what is wrong inside single rows.
pub(crate) fn first_finding(connection: &Connection, check: &str) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare(check)?;
    let findings = statement.query_map([], |row| row.get::<_, String>(0))?;
    for finding in findings {
        let finding = finding?;
        if finding != "ok" && !finding.contains(" value in ") {
            return Ok(Some(finding));
        }
    }
    Ok(None)
}
