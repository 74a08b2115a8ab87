//! Reads whole tables, when the daemon starts.

use rusqlite::{Connection, Row};

use crate::{
    sqlite::{column, fault::Fault},
    store::{StoreError, UnusableRecord},
};

/// Every row that `select` finds. One that cannot be used is left out, and said in `unusable` under what the column
/// `name` says: the others are as good as before.
pub(crate) fn load<T>(
    connection: &Connection,
    select: &str,
    name: &str,
    unusable: &mut Vec<UnusableRecord>,
    mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, Fault> {
    let mut statement = connection.prepare(select)?;
    let mut rows = statement.query([])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(record) => records.push(record),
            Err(error) => unusable.push(UnusableRecord {
                name: column::label(row, name),
                problem: error,
                lasts: true,
            }),
        }
    }
    Ok(records)
}
