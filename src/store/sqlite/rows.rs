//! Reads whole tables, when the daemon starts.

use rusqlite::{Connection, Row};

use super::fault::Fault;
use crate::store::StoreError;

/// Every row that `select` finds. One that cannot be read is left out, and said in `problems`: the others are as good as
/// before.
pub(super) fn load<T>(
    connection: &Connection,
    select: &str,
    problems: &mut Vec<String>,
    mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, Fault> {
    let mut statement = connection.prepare(select)?;
    let mut rows = statement.query([])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(record) => records.push(record),
            Err(error) => problems.push(error.to_string()),
        }
    }
    Ok(records)
}
