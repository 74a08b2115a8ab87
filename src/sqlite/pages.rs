//! The pages of the database's file: how many there are, and what becomes of those that nothing is in any more.

use rusqlite::Connection;

/// The value of `auto_vacuum` that gives room back step by step.
pub(crate) const INCREMENTAL: i64 = 2;

/// A setting or a count of the database.
pub(crate) fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}

/// What all of the file takes, in bytes.
pub(crate) fn all(connection: &Connection) -> rusqlite::Result<u64> {
    bytes(connection, number(connection, "page_count")?)
}

/// What the pages take that hold something, in bytes.
pub(crate) fn used(connection: &Connection) -> rusqlite::Result<u64> {
    let pages = number(connection, "page_count")?.saturating_sub(number(connection, "freelist_count")?);
    bytes(connection, pages)
}

fn bytes(connection: &Connection, pages: i64) -> rusqlite::Result<u64> {
    Ok(pages
        .saturating_mul(number(connection, "page_size")?)
        .unsigned_abs())
}

/// Says to a new database that it is to give room back, before anything is in it. Leaves any other as it is.
pub(crate) fn choose_for_new(connection: &Connection) -> rusqlite::Result<()> {
    if number(connection, "page_count")? == 0 {
        choose(connection)?;
    }
    Ok(())
}

/// Has a database give room back from when it is written anew on.
pub(crate) fn choose(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "auto_vacuum", INCREMENTAL)
}
