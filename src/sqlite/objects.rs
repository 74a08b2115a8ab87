//! Triggers, views and indexes that are not this program's, or that it misses, and tables that it misses.
//!
//! They need no key to be written. A trigger could undo what was acknowledged, and an index on an expression that fails could
//! refuse what is written. Which ones there ought to be is what the migrations make in an empty database.

use std::{collections::BTreeSet, path::Path};

use rusqlite::Connection;

use crate::{
    sql::Fault,
    sqlite::{
        fault::storage,
        schema::{MIGRATIONS, version},
    },
    store::StorageFault,
};

/// A trigger, a view or an index.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Object {
    kind: String,
    name: String,
    sql: String,
}

/// Fails where a table is not there, or not whole, that a database of its version has. Changes nothing.
pub(crate) fn check_tables(connection: &Connection, path: &Path) -> Result<(), Fault> {
    let version = usize::try_from(version(connection)?).unwrap_or_default();
    let found = columns(connection)?;
    let expected = columns(&made_by(MIGRATIONS.get(..version).unwrap_or(&MIGRATIONS))?)?;
    match expected.difference(&found).next() {
        None => Ok(()),
        Some((table, column)) => Err(storage(path, foreign_schema(&found, table, column)).into()),
    }
}

/// What is said where a column of a table is not there.
fn foreign_schema(found: &BTreeSet<(String, String)>, table: &str, column: &str) -> StorageFault {
    let has_table = found.iter().any(|(other, _)| other == table);
    StorageFault::Schema {
        table: table.to_owned(),
        column: has_table.then(|| column.to_owned()),
    }
}

/// Notices what somebody does to the schema while the database is open.
#[derive(Default)]
pub(crate) struct Guard {
    /// The number of the schema when it was last committed as it ought to be: each change gives it another one.
    good: Option<i64>,
    /// The number in the transaction under way.
    found: Option<i64>,
}

impl Guard {
    /// At the beginning of a transaction that writes, in which nobody else changes anything: takes away what this program did
    /// not make, where the schema is another than before.
    pub(crate) fn begin(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let found = number(connection)?;
        self.found = Some(found);
        if self.good == Some(found) {
            return Ok(());
        }
        remove_foreign(connection)?;
        // What needs nothing of what is missing goes on.
        if let Err(error) = restore_missing(connection) {
            tracing::error!(%error, "what was taken out of the database's schema could not be put back");
        }
        self.found = Some(number(connection)?);
        Ok(())
    }

    /// The transaction was committed.
    pub(crate) fn committed(&mut self) {
        self.good = self.found;
    }
}

/// The schema's number.
fn number(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("PRAGMA schema_version")?
        .query_row([], |row| row.get(0))
}

/// Takes away what this program did not make.
pub(crate) fn remove_foreign(connection: &Connection) -> rusqlite::Result<()> {
    for Object { kind, name, .. } in found(connection)?.difference(&ours()?) {
        tracing::error!(
            kind,
            name,
            "somebody put this into the database's schema: it was removed"
        );
        let name = name.replace('"', "\"\"");
        connection.execute_batch(&format!("DROP {kind} \"{name}\""))?;
    }
    Ok(())
}

/// Puts back what was taken away of a database that is up to date.
pub(crate) fn restore_missing(connection: &Connection) -> rusqlite::Result<()> {
    for Object { kind, name, sql } in ours()?.difference(&found(connection)?) {
        tracing::error!(
            kind,
            name,
            "somebody took this out of the database's schema: it was put back"
        );
        connection.execute_batch(sql)?;
    }
    Ok(())
}

fn ours() -> rusqlite::Result<BTreeSet<Object>> {
    found(&made_by(&MIGRATIONS)?)
}

/// An empty database as these migrations make it.
fn made_by(migrations: &[&str]) -> rusqlite::Result<Connection> {
    let fresh = Connection::open_in_memory()?;
    for migration in migrations {
        fresh.execute_batch(migration)?;
    }
    Ok(fresh)
}

/// The columns of each table, with the table's name before them.
fn columns(connection: &Connection) -> rusqlite::Result<BTreeSet<(String, String)>> {
    let mut statement = connection.prepare(
        "SELECT tables.name, columns.name FROM sqlite_schema AS tables JOIN pragma_table_info(tables.name) AS columns \
         WHERE tables.type = 'table'",
    )?;
    let columns = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    columns.collect()
}

fn found(connection: &Connection) -> rusqlite::Result<BTreeSet<Object>> {
    // An index without a text belongs to its table's definition.
    let mut statement = connection.prepare(
        "SELECT type, name, sql FROM sqlite_schema WHERE type IN ('trigger', 'view', 'index') AND sql IS NOT NULL",
    )?;
    let objects = statement.query_map([], |row| {
        Ok(Object {
            kind: row.get(0)?,
            name: row.get(1)?,
            sql: row.get(2)?,
        })
    })?;
    objects.collect()
}
