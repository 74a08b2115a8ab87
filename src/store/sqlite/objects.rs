//! Triggers and views that are not this program's, or that it misses.
//!
//! They need no key to be written, and a trigger could undo what was acknowledged. Which ones there ought to be is what the
//! migrations make in an empty database.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::{fault::Fault, schema::MIGRATIONS};

/// A trigger or a view.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Object {
    kind: String,
    name: String,
    sql: String,
}

/// Takes away what this program did not make.
pub(super) fn remove_foreign(connection: &Connection) -> Result<(), Fault> {
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
pub(super) fn restore_missing(connection: &Connection) -> Result<(), Fault> {
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

fn ours() -> Result<BTreeSet<Object>, Fault> {
    let fresh = Connection::open_in_memory()?;
    for migration in MIGRATIONS {
        fresh.execute_batch(migration)?;
    }
    found(&fresh)
}

fn found(connection: &Connection) -> Result<BTreeSet<Object>, Fault> {
    let mut statement =
        connection.prepare("SELECT type, name, sql FROM sqlite_schema WHERE type IN ('trigger', 'view')")?;
    let objects = statement.query_map([], |row| {
        Ok(Object {
            kind: row.get(0)?,
            name: row.get(1)?,
            sql: row.get(2)?,
        })
    })?;
    Ok(objects.collect::<Result<_, _>>()?)
}
