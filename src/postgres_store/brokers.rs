//! The rows of the brokers: who writes under which name, when it was seen last, and what it committed last.

use crate::{
    postgres::session::Session,
    sql::{Fault, Sql, column, values},
    store::StoreError,
};

/// A broker that was not seen for so long is taken to be gone, in seconds by the database's clock.
const GONE: u32 = 30;

/// This broker, and this process of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Me {
    pub(super) name: String,
    pub(super) instance: String,
    /// The database, for people.
    pub(super) shown: String,
}

impl Me {
    fn replaced(&self) -> StoreError {
        StoreError::Replaced {
            path: self.shown.clone(),
            broker: self.name.clone(),
        }
    }
}

/// How a broker came to the database.
pub(super) struct Claimed {
    /// No broker of this name was there before.
    pub(super) is_new: bool,
    /// The last transaction that one of this name committed.
    pub(super) batch: i64,
}

/// Takes the name for this process, from one of the same name that was there before. In a transaction in which nobody else does.
///
/// # Errors
/// [`StoreError::Taken`] while a broker of another name is there.
pub(super) fn claim(sql: &dyn Sql, me: &Me) -> Result<Claimed, Fault> {
    let other = sql.one(
        "SELECT name FROM brokers WHERE name <> ?1 AND seen_at > clock_timestamp() - make_interval(secs => ?2) LIMIT 1",
        values![&me.name, GONE],
        |row| Ok(column::text(row, "name").unwrap_or_default().to_owned()),
    )?;
    if let Some(broker) = other {
        let path = me.shown.clone();
        return Err(StoreError::Taken { path, broker }.into());
    }
    let taken = sql.number(
        "UPDATE brokers SET instance = ?2, version = ?3, started_at = clock_timestamp(), seen_at = clock_timestamp() \
         WHERE name = ?1 RETURNING batch",
        values![&me.name, &me.instance, env!("CARGO_PKG_VERSION")],
    )?;
    if let Some(batch) = taken {
        return Ok(Claimed { is_new: false, batch });
    }
    sql.execute(
        "INSERT INTO brokers (name, instance, version) VALUES (?1, ?2, ?3)",
        values![&me.name, &me.instance, env!("CARGO_PKG_VERSION")],
    )?;
    Ok(Claimed {
        is_new: true,
        batch: 0,
    })
}

/// Writes the number of a transaction into it. Who waits for this row waits for the transaction.
///
/// # Errors
/// [`StoreError::Replaced`] where another process has the name.
pub(super) fn number(sql: &dyn Sql, me: &Me, batch: i64) -> Result<(), Fault> {
    let numbered = sql.execute(
        "UPDATE brokers SET batch = ?1, seen_at = clock_timestamp() WHERE name = ?2 AND instance = ?3",
        values![batch, &me.name, &me.instance],
    )?;
    if numbered == 0 {
        return Err(me.replaced().into());
    }
    Ok(())
}

/// The number of the last transaction that was committed: after one that was under way has come to its end, and a standby has what
/// is read.
pub(super) fn committed(session: &Session, me: &Me) -> Result<i64, Fault> {
    let sql: &dyn Sql = session;
    let found = sql.number(
        "UPDATE brokers SET barrier = barrier + 1 WHERE name = ?1 AND instance = ?2 RETURNING batch",
        values![&me.name, &me.instance],
    )?;
    found.ok_or_else(|| me.replaced().into())
}

/// The broker is gone, and another one may come at once.
pub(super) fn leave(sql: &dyn Sql, me: &Me) -> Result<(), Fault> {
    sql.execute(
        "UPDATE brokers SET seen_at = '-infinity' WHERE name = ?1 AND instance = ?2",
        values![&me.name, &me.instance],
    )?;
    Ok(())
}
