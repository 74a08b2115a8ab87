//! Reads whole tables, when the daemon starts.

use std::ops::ControlFlow;

use crate::{
    sql::{Columns, Fault, Sql, column},
    store::{StoreError, UnusableRecord},
};

/// Every row that `select` finds. One that cannot be used is left out, and said in `unusable` under what the column
/// `name` says: the others are as good as before.
pub(crate) fn load<T>(
    sql: &dyn Sql,
    select: &str,
    name: &str,
    unusable: &mut Vec<UnusableRecord>,
    mut read: impl FnMut(&dyn Columns) -> Result<T, StoreError>,
) -> Result<Vec<T>, Fault> {
    let mut records = Vec::new();
    sql.each_once(select, &[], &mut |row| {
        match read(row) {
            Ok(record) => records.push(record),
            Err(error) => unusable.push(UnusableRecord {
                name: column::label(row, name),
                problem: error,
                lasts: true,
            }),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(records)
}
