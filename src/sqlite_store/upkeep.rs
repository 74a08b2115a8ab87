//! What is done to the audit trail over time, and the room on the disk that it gives back.

use jiff::Timestamp;
use rusqlite::Connection;

use crate::{
    audit_trail::{
        size,
        upkeep::{self, Keeper},
    },
    sql::{Fault, Sql},
    sqlite::{file_system, operation::Rank, pages::used},
    sqlite_store::{database::SqliteStore, give_back},
    store::{StoreError, StoreFuture, TrailLimit, TrailSize},
    vault::Vault,
};

impl Keeper for SqliteStore {
    fn read_step<T, F>(&self, work: F) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql, &Vault) -> Result<T, Fault> + Send + 'static,
    {
        self.read_bound(move |connection, vault| work(connection, vault))
    }

    fn write_step<T, F>(&self, mut work: F) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        F: FnMut(&dyn Sql, &Vault) -> Result<T, Fault> + Send + 'static,
    {
        self.write_bound(Rank::Vital, move |connection, vault| work(connection, vault))
    }

    fn surplus(&self, most: u64) -> StoreFuture<'_, u64> {
        self.read(move |connection| {
            // While the whole database is smaller than that, nothing is measured.
            if used(connection)? <= most {
                return Ok(0);
            }
            size::surplus(connection, bytes(connection)?, most)
        })
    }
}

/// Deletes the lines that are older than `before`; returns how many.
pub(super) async fn prune(store: &SqliteStore, before: Timestamp) -> Result<u64, StoreError> {
    let pruned = upkeep::prune(store, before).await?;
    give_back(store).await?;
    Ok(pruned)
}

/// Deletes the oldest lines until the trail takes clearly less than `most` bytes, or than half of its volume; returns how many.
pub(super) async fn bound(store: &SqliteStore, most: u64) -> Result<u64, StoreError> {
    let limit = store
        .trail_limit
        .set(most, file_system::size(&store.state_dir))
        .bytes;
    let pruned = upkeep::bound(store, limit).await?;
    if pruned > 0 {
        give_back(store).await?;
    }
    Ok(pruned)
}

/// Counts the routine lines of each whole week that is older than `before`, in place of keeping them; returns how many lines
/// were gone through.
pub(super) async fn count(store: &SqliteStore, before: Timestamp) -> Result<u64, StoreError> {
    let lines = upkeep::count(store, before).await?;
    give_back(store).await?;
    Ok(lines)
}

/// Gives room that is free back to the disk.
async fn give_back(store: &SqliteStore) -> Result<(), StoreError> {
    while store.write(Rank::Vital, give_back::step).await? > 0 {}
    Ok(())
}

/// The trail's size, beside what it may take.
pub(super) fn told(connection: &Connection, limit: Option<TrailLimit>) -> Result<TrailSize, Fault> {
    Ok(TrailSize {
        bytes: bytes(connection)?,
        limit,
    })
}

/// How much of the file the trail takes. Only what is not the trail is counted, which is little.
fn bytes(connection: &Connection) -> Result<u64, Fault> {
    Ok(used(connection)?.saturating_sub(others(connection)?))
}

/// What is not the trail, in bytes.
fn others(connection: &Connection) -> Result<u64, Fault> {
    let mut names = connection.prepare_cached(
        "SELECT 'sqlite_schema' UNION ALL \
         SELECT name FROM sqlite_schema WHERE rootpage > 0 AND tbl_name NOT GLOB 'audit*'",
    )?;
    // One tree at a time, or all of them would be walked through, the trail too.
    let mut size =
        connection.prepare_cached("SELECT pgsize FROM dbstat WHERE name = ? AND aggregate = TRUE")?;
    let mut bytes = 0_u64;
    let mut names = names.query([])?;
    while let Some(row) = names.next()? {
        let name: String = row.get(0)?;
        let pages: i64 = size.query_row([name], |row| row.get(0))?;
        bytes = bytes.saturating_add(pages.unsigned_abs());
    }
    Ok(bytes)
}
