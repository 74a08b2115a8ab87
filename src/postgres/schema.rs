//! The tables, brought up to date one version at a time. A row of `schema_state` says which version a database has, and is the
//! lock of who changes it.
//!
//! A version first adds what the next program needs (expand), so that the program before goes on beside it; what nobody needs any
//! more is taken away by a later one (contract). `least` is the oldest program that a database still fits.

use crate::{
    postgres::session::Session,
    sql::{Fault, Sql, Value, column, values},
    store::{RecordFault, StoreError},
};

/// What takes the schema from the version before to the next, from 0 on, and the least version that a program has to know from then
/// on. Only ever grows.
const MIGRATIONS: [(&str, i64); 1] = [(include_str!("migrations/0001.sql"), 1)];

/// The version that this program knows last.
pub(crate) const KNOWN: i64 = 1;
const _: () = assert!(KNOWN.unsigned_abs() == MIGRATIONS.len() as u64);

const MAKE: &str = "CREATE TABLE IF NOT EXISTS schema_state (\"only\" INTEGER PRIMARY KEY CHECK (\"only\" = 1), \
                    version BIGINT NOT NULL, least BIGINT NOT NULL); \
                    INSERT INTO schema_state VALUES (1, 0, 0) ON CONFLICT DO NOTHING";

/// Where a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    /// The version of its schema; 0 where it has none.
    pub(crate) version: i64,
    /// The oldest program, by the version that it knows, that still fits.
    least: i64,
}

/// Where the database is. Changes nothing.
pub(crate) fn state(session: &Session, shown: &str) -> Result<State, Fault> {
    let exists = "SELECT count(*) FROM pg_tables WHERE tablename = 'schema_state' AND schemaname = ANY (current_schemas(false))";
    if (session as &dyn Sql).number(exists, &[])? == Some(0) {
        return Ok(State { version: 0, least: 0 });
    }
    read(session, "", shown)
}

fn read(session: &Session, how: &str, shown: &str) -> Result<State, Fault> {
    let statement = format!("SELECT version, least FROM schema_state{how}");
    let found = (session as &dyn Sql).one(&statement, &[], |row| {
        let read = || {
            Ok::<_, RecordFault>(State {
                version: column::number(row, "version")?,
                least: column::number(row, "least")?,
            })
        };
        Ok(read().map_err(|reason| column::corrupt("of the schema's version", reason))?)
    })?;
    let state = found.unwrap_or(State { version: 0, least: 0 });
    if state.least > KNOWN {
        return Err(StoreError::Newer {
            path: shown.to_owned(),
            found: state.version,
            known: KNOWN,
        }
        .into());
    }
    Ok(state)
}

/// Brings the schema up to date; returns the version from before. One broker at a time does.
pub(crate) fn migrate(session: &Session, shown: &str) -> Result<i64, Fault> {
    if state(session, shown)?.version >= KNOWN {
        return Ok(KNOWN);
    }
    session.run(MAKE)?;
    session.run("BEGIN")?;
    let migrated = run_missing(session, shown);
    session.run(if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    migrated
}

fn run_missing(session: &Session, shown: &str) -> Result<i64, Fault> {
    let found = read(session, " FOR UPDATE", shown)?;
    for (target, (migration, least)) in (1_i64..).zip(MIGRATIONS) {
        if target > found.version {
            session.run(migration)?;
            let values: &[Value<'_>] = values![target, least];
            session.execute("UPDATE schema_state SET version = ?1, least = ?2", values)?;
            tracing::info!(version = target, "database schema brought up to date");
        }
    }
    Ok(found.version)
}
