//! How connections are opened and set up.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::{
    sql::Fault,
    sqlite::{
        checkpoint::BUSY_TIMEOUT,
        fault::{FileFault, storage},
        pages,
        volume::Room,
    },
    store::{StorageFault, StoreError},
};

/// Marks the file as token-broker's (`PRAGMA application_id`): "tkbr".
const APPLICATION_ID: i64 = 0x746b_6272;
/// More than the statements there are, so that each is compiled once.
const STATEMENTS: usize = 64;

/// The connection that writes, to a database that was found to be ours, and the room that it has.
pub(crate) fn open_writer(path: &Path) -> Result<(Connection, Room), StoreError> {
    let connection = open(path)?;
    let mut room = Room::beside(path);
    let mut set_up = || -> Result<String, Fault> {
        // Until the database is known to be ours and of a version we know, nothing is to be written to it,
        // not even what its own write-ahead log holds.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        pages::choose_for_new(&connection)?;
        claim(&connection, path)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "secure_delete", true)?;
        room.set_up(&connection)?;
        // In KiB: what a start or a swarm of renewals read stays in memory for good.
        connection.pragma_update(None, "cache_size", -1024)?;
        Ok(connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?)
    };
    match set_up().map_err(|fault| fault.at(path))?.as_str() {
        "wal" => Ok((connection, room)),
        other => Err(storage(path, StorageFault::NoWriteAheadLog(other.to_owned()))),
    }
}

/// A connection that cannot write.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let connection = open(path)?;
    connection
        .pragma_update(None, "query_only", true)
        // In KiB: readers are few and short, memory is better spent elsewhere.
        .and_then(|()| connection.pragma_update(None, "cache_size", -256))
        .map_err(|error| Fault::from(error).at(path))?;
    Ok(connection)
}

fn open(path: &Path) -> Result<Connection, StoreError> {
    // Our mutexes are outside: each connection has one user at a time.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        // Otherwise an outer join whose plan looks at a bound value is compiled anew for each new value.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        Ok(connection)
    });
    opened.map_err(|error| Fault::from(error).at(path))
}

/// Refuses a database that is not ours, or of a version that is not known. Changes nothing.
pub(crate) fn recognise(connection: &Connection, path: &Path) -> Result<(), Fault> {
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application != APPLICATION_ID || super::schema::version(connection)? == 0 {
        return Err(storage(path, StorageFault::NotOurs).into());
    }
    super::schema::refuse_newer(connection, path)
}

/// Marks an empty database as ours, and refuses one that belongs to another program.
fn claim(connection: &Connection, path: &Path) -> Result<(), Fault> {
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application == APPLICATION_ID {
        return super::schema::refuse_newer(connection, path);
    }
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != 0 || objects != 0 {
        return Err(storage(path, StorageFault::OfAnotherProgram).into());
    }
    Ok(connection.pragma_update(None, "application_id", APPLICATION_ID)?)
}
