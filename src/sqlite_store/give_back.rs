//! Gives room in the database's file that nothing is in any more back to the disk.
//!
//! New databases do so step by step (`auto_vacuum=INCREMENTAL`). One of before cannot: at a start, where there is room for a
//! copy beside it, it is written anew once and then put in its own place. Until that moment it is as it was.

use std::{fs::File, path::Path};

use crate::{
    sql::Fault,
    sqlite::{
        checkpoint::{BUSY_TIMEOUT, empty_log},
        fault::storage,
        file_system, integrity,
        pages::{self, INCREMENTAL, number},
        schema,
    },
    sqlite_store::backup::DatabaseCopy,
    store::{Failed, StorageFault},
};
use rusqlite::{Connection, OpenFlags};

/// How many pages one transaction moves at most, so that other writes need not wait for a long one.
const STEP: i64 = 256;
/// The part of the file that may be free, since it fills up again.
const SPARE: i64 = 16;
/// The same, at least, in pages.
const LEAST_SPARE: i64 = 256;
/// What a start may take the time for to write anew, in bytes: a larger database waits until it is smaller.
const MOST_AT_START: u64 = 512 * 1024 * 1024;
/// What stays free on the volume beside a copy, in bytes.
const LEFT_FREE: u64 = 1024 * 1024;
/// Gives some pages back; returns how many, and none when there are few to spare.
pub(super) fn step(connection: &Connection) -> Result<i64, Fault> {
    if number(connection, "auto_vacuum")? != INCREMENTAL {
        return Ok(0);
    }
    let spare = (number(connection, "page_count")? / SPARE).max(LEAST_SPARE);
    let pages = (number(connection, "freelist_count")? - spare).min(STEP);
    if pages <= 0 {
        return Ok(0);
    }
    connection.execute_batch(&format!("PRAGMA incremental_vacuum({pages})"))?;
    Ok(pages)
}

/// Whether the database is one of before, and there is time and room to write it anew now.
pub(super) fn can_be_renewed(connection: &Connection, path: &Path) -> Result<bool, Fault> {
    if number(connection, "auto_vacuum")? != 0 {
        return Ok(false);
    }
    let used = pages::used(connection)?;
    let free = file_system::free(path.parent().unwrap_or(path)).unwrap_or(0);
    Ok(used <= MOST_AT_START && free >= used.saturating_add(used / 8).saturating_add(LEFT_FREE))
}

/// Writes the database at `path` anew, which nobody has open.
pub(super) fn renew(state_dir: &Path, path: &Path) -> Result<(), Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let old = Connection::open_with_flags(path, flags)?;
    old.busy_timeout(BUSY_TIMEOUT)?;
    if !empty_log(&old)? {
        return Err(storage(path, StorageFault::BeingRead).into());
    }
    let copy = DatabaseCopy::new_in(state_dir)?;
    pages::choose(&old)?;
    old.execute("VACUUM INTO ?", [copy.path().to_string_lossy().as_ref()])?;
    let failed = |error: std::io::Error| storage(path, StorageFault::system(Failed::WriteAnew, &error));
    let new = Connection::open_with_flags(copy.path(), flags)?;
    let is_same = schema::version(&new)? == schema::version(&old)?
        && number(&new, "application_id")? == number(&old, "application_id")?
        && integrity::quick_finding(&new)?.is_none();
    new.close().map_err(|(_, error)| error)?;
    old.close().map_err(|(_, error)| error)?;
    let log = path.with_extension("db-wal");
    if !is_same || log.exists() {
        return Err(storage(path, StorageFault::CopyDiffers).into());
    }
    File::open(copy.path())
        .and_then(|file| file.sync_all())
        .map_err(failed)?;
    copy.put(path).map_err(failed)?;
    File::open(state_dir)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)?;
    Ok(())
}
