//! How much of its file system the database may take beside itself.
//!
//! The write-ahead log holds each changed page anew, until a checkpoint copies the pages into the database and the log
//! begins again from its start. It needs room of its own, and a checkpoint needs room for what is new in the database; so on
//! a small file system the log has to be short, and something is kept in reserve for the checkpoint, or the two of them fill
//! the file system for good. On a full disk the reserve is for what cannot wait: renewals, and what makes room.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::{
    sqlite::{checkpoint::empty_log, file_system, reserve::Reserve},
    text::ShowPath,
};

/// A page of the database, in bytes.
const PAGE: u64 = 4096;
/// How many pages the write-ahead log gathers where there is room. Renewals come in swarms: a page that changes often is
/// copied into the database less often.
const PAGES: u64 = 4000;
/// The fewest: what one commit of a batch may change.
const FEWEST: u64 = 64;
/// The log's share of the file system.
const SHARE: u64 = 16;
/// The most that is kept in reserve, in bytes.
const MOST_RESERVED: u64 = 4 * 1024 * 1024;
/// A file system that is smaller than this is warned of, in bytes: the database of a few accounts and a month of their
/// audit trail, and as much again for what a backup or the write-ahead log takes for a while.
const LEAST: u64 = 16 * 1024 * 1024;

/// The room that a database has on its file system.
pub(crate) struct Room {
    size: Option<u64>,
    log: PathBuf,
    reserve: Reserve,
}

impl Room {
    /// Beside the database at `path`.
    pub(crate) fn beside(path: &Path) -> Self {
        let size = file_system::size(path.parent().unwrap_or(path));
        let longest_log = pages_before_checkpoint(size) * PAGE;
        Self {
            size,
            log: path.with_extension("db-wal"),
            reserve: Reserve::new(path.with_extension("reserve"), longest_log.min(MOST_RESERVED)),
        }
    }

    /// How long the log gets, in bytes, unless somebody reads for long.
    fn longest_log(&self) -> u64 {
        pages_before_checkpoint(self.size) * PAGE
    }

    /// Bounds the log, and keeps something in reserve.
    pub(crate) fn set_up(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if let Some(size) = self.size.filter(|size| *size < LEAST) {
            tracing::warn!(
                database = %self.log.with_extension("db").shown(), bytes = size, least = LEAST,
                "the file system of state_dir is small: it fills up soon, and then nothing can be connected or changed"
            );
        }
        connection.pragma_update(None, "journal_size_limit", self.longest_log().cast_signed())?;
        if !self.reserve.keep() && self.reserve.is_given_away() {
            tracing::warn!(
                "the disk is nearly full: nothing is kept in reserve, and only renewals and deletions are written until there is \
                 room"
            );
        }
        self.bound_log(connection)
    }

    /// Where the log has to fit into the reserve, it gets a part of its length.
    fn bound_log(&self, connection: &Connection) -> rusqlite::Result<()> {
        let pages = pages_before_checkpoint(self.size);
        let pages = if self.reserve.is_given_away() {
            pages / 4
        } else {
            pages
        };
        connection.pragma_update(None, "wal_autocheckpoint", pages.cast_signed())
    }

    /// Where nothing more can be written and the log is what fills the file system, because somebody read for long: gives its
    /// room back. False where that is not so, or somebody reads still.
    pub(crate) fn make(&mut self, connection: &Connection) -> bool {
        if self.log_length() <= 2 * self.longest_log() {
            return false;
        }
        let freed = self.reserve.release();
        let emptied = matches!(empty_log(connection), Ok(true));
        if freed {
            self.reserve.keep();
        }
        if emptied {
            tracing::warn!(
                "the write-ahead log had filled the file system of state_dir; its room was given back"
            );
        }
        emptied
    }

    /// Where the disk is full: gives the reserve, if there is one still, and what the log takes to what cannot wait.
    pub(crate) fn give_reserve(&mut self, connection: &Connection) {
        if self.reserve.release() {
            tracing::error!(
                "the disk is full: what was kept in reserve is there for renewals and deletions now, and nothing else is \
                 written until there is room"
            );
        }
        // Where somebody reads the log, it stays; and a log that gets longer is better than none.
        let _ = self.bound_log(connection);
        let _ = empty_log(connection);
    }

    /// Whether the reserve was given away and there is no room yet to keep it again.
    pub(crate) fn is_short(&mut self, connection: &Connection) -> bool {
        if !self.reserve.is_given_away() {
            return false;
        }
        if !self.reserve.keep() {
            // What fills the disk may be the log, because somebody read for long.
            let emptied = self.log_length() > self.longest_log() && matches!(empty_log(connection), Ok(true));
            if !emptied || !self.reserve.keep() {
                return self.reserve.is_given_away();
            }
        }
        tracing::info!("there is room on the disk again: everything is written");
        let _ = self.bound_log(connection);
        false
    }

    fn log_length(&self) -> u64 {
        self.log.metadata().map_or(0, |log| log.len())
    }

    /// Gives the reserve away where the file system is full, before there is a connection: opening takes room as well.
    pub(crate) fn give_reserve_of_full_disk(&mut self) -> bool {
        let full = self.reserve.is_file_system_full() && self.reserve.release();
        if full {
            tracing::error!(
                "the disk is full: the database is opened in what was kept in reserve, for renewals and deletions alone"
            );
        }
        full
    }
}

/// After how many pages the write-ahead log is copied into the database, on a file system of this size.
fn pages_before_checkpoint(size: Option<u64>) -> u64 {
    size.map_or(PAGES, |size| (size / SHARE / PAGE).clamp(FEWEST, PAGES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_takes_a_small_share_of_a_small_file_system() {
        const MIB: u64 = 1024 * 1024;
        for size in [8 * MIB, 16 * MIB, 64 * MIB, 200 * MIB] {
            let log = pages_before_checkpoint(Some(size)) * PAGE;
            assert!(log <= size / SHARE, "{log} of {size}");
        }
        assert_eq!(pages_before_checkpoint(Some(MIB)), FEWEST);
        assert_eq!(pages_before_checkpoint(Some(1024 * 1024 * MIB)), PAGES);
        assert_eq!(pages_before_checkpoint(None), PAGES);
    }
}
