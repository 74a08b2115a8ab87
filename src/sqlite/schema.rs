//! The tables, brought up to date one version at a time. `PRAGMA user_version` says which version a database has.

use std::path::Path;

use rusqlite::{Connection, Transaction};

use crate::{
    sql::Fault,
    sqlite::{damage, fault::storage, integrity::first_finding},
    store::StoreError,
    text::ShowPath,
};

/// What takes the schema from the version before to the next, from 0 on. Only ever grows.
pub(crate) const MIGRATIONS: [&str; 17] = [
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
    include_str!("migrations/0007.sql"),
    include_str!("migrations/0008.sql"),
    include_str!("migrations/0009.sql"),
    include_str!("migrations/0010.sql"),
    include_str!("migrations/0011.sql"),
    include_str!("migrations/0012.sql"),
    include_str!("migrations/0013.sql"),
    include_str!("migrations/0014.sql"),
    include_str!("migrations/0015.sql"),
    include_str!("migrations/0016.sql"),
    include_str!("migrations/0017.sql"),
];

/// Changes nothing, and fails on a database of a version that this program does not know.
pub(crate) fn refuse_newer(connection: &Connection, path: &Path) -> Result<(), Fault> {
    let found = version(connection)?;
    let known = MIGRATIONS.len().try_into().unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer {
            path: path.shown().to_string(),
            found,
            known,
        }
        .into());
    }
    Ok(())
}

/// Makes the tables of a new database.
pub(crate) fn create(transaction: &Transaction<'_>) -> Result<(), Fault> {
    for (target, migration) in (1_i64..).zip(MIGRATIONS) {
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", target)?;
    }
    Ok(())
}

/// Runs the missing migrations, each in a transaction of its own together with its version number.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), Fault> {
    let found = version(connection)?;
    for (target, migration) in (1_i64..).zip(MIGRATIONS).filter(|(target, _)| *target > found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", target)?;
        transaction.commit()?;
        tracing::info!(version = target, "database schema brought up to date");
    }
    Ok(())
}

/// Looks for damage in the tables that everything depends on. What is wrong inside single rows is not for
/// here: they are reported one by one when they are read.
pub(crate) fn check(connection: &Connection, path: &Path) -> Result<(), Fault> {
    for table in ["master_keys", "integrations", "secrets", "renewals", "agents"] {
        if let Some(finding) = first_finding(connection, &format!("PRAGMA integrity_check({table})"))? {
            return Err(storage(path, damage::found(path, &finding)).into());
        }
    }
    Ok(())
}

/// Whether the database has the version that this program knows last.
pub(crate) fn is_current(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(usize::try_from(version(connection)?) == Ok(MIGRATIONS.len()))
}

/// Which version the database has; 0 before the first migration.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
