//! How much of its file system the database may take beside itself.
//!
//! The write-ahead log holds each changed page anew, until a checkpoint copies the pages into the database and the log
//! begins again from its start. It needs room of its own, and a checkpoint needs room for what is new in the database; so on
//! a small file system the log has to be short, and something is kept in reserve for the checkpoint, or the two of them fill
//! the file system for good.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::Connection;
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::connection::BUSY_TIMEOUT;

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
pub(super) struct Room {
    size: Option<u64>,
    log: PathBuf,
    reserve: PathBuf,
}

impl Room {
    /// Beside the database at `path`.
    pub(super) fn beside(path: &Path) -> Self {
        Self {
            size: size(path.parent().unwrap_or(path)),
            log: path.with_extension("db-wal"),
            reserve: path.with_extension("reserve"),
        }
    }

    /// How long the log gets, in bytes, unless somebody reads for long.
    fn longest_log(&self) -> u64 {
        pages_before_checkpoint(self.size) * PAGE
    }

    /// Bounds the log, and keeps something in reserve.
    pub(super) fn set_up(&self, connection: &Connection) -> rusqlite::Result<()> {
        if let Some(size) = self.size.filter(|size| *size < LEAST) {
            tracing::warn!(
                database = %self.log.with_extension("db").display(), bytes = size, least = LEAST,
                "the file system of state_dir is small: it fills up soon, and then nothing can be connected or changed"
            );
        }
        let pages = pages_before_checkpoint(self.size);
        connection.pragma_update(None, "wal_autocheckpoint", pages.cast_signed())?;
        connection.pragma_update(None, "journal_size_limit", self.longest_log().cast_signed())?;
        self.keep_reserve();
        Ok(())
    }

    /// Where nothing more can be written and the log is what fills the file system, because somebody read for long: gives its
    /// room back. False where that is not so, or somebody reads still.
    pub(super) fn make(&self, connection: &Connection) -> bool {
        if self.log.metadata().map_or(0, |log| log.len()) <= 2 * self.longest_log() {
            return false;
        }
        let freed = fs::remove_file(&self.reserve).is_ok();
        let emptied = matches!(empty_log(connection, BUSY_TIMEOUT), Ok(true));
        if freed {
            self.keep_reserve();
        }
        if emptied {
            tracing::warn!(
                "the write-ahead log had filled the file system of state_dir; its room was given back"
            );
        }
        emptied
    }

    /// Takes room that a checkpoint may need. Where there is none, or the file system cannot set it aside, there is no reserve.
    fn keep_reserve(&self) {
        let bytes = self.longest_log().min(MOST_RESERVED);
        let keep = || -> io::Result<()> {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&self.reserve)?;
            if file.metadata()?.len() != bytes {
                set_aside(&file, bytes)?;
            }
            Ok(())
        };
        if let Err(error) = keep() {
            tracing::debug!(%error, "nothing is kept in reserve for a full disk");
            let _ = fs::remove_file(&self.reserve);
        }
    }
}

fn set_aside(file: &File, bytes: u64) -> io::Result<()> {
    file.set_len(0)?;
    Ok(fallocate(file, FallocateFlags::empty(), 0, bytes)?)
}

/// The size of the file system that `folder` is on, in bytes; `None` where it does not say.
pub(super) fn size(folder: &Path) -> Option<u64> {
    let volume = statvfs(folder).ok()?;
    Some(volume.f_blocks.saturating_mul(volume.f_frsize)).filter(|size| *size > 0)
}

/// After how many pages the write-ahead log is copied into the database, on a file system of this size.
fn pages_before_checkpoint(size: Option<u64>) -> u64 {
    size.map_or(PAGES, |size| (size / SHARE / PAGE).clamp(FEWEST, PAGES))
}

/// Copies the write-ahead log into the database and gives its room back. False when a reader is still at it, who is not
/// waited for.
pub(super) fn empty_log(connection: &Connection, patience: Duration) -> rusqlite::Result<bool> {
    connection.busy_timeout(Duration::ZERO)?;
    let emptied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        row.get::<_, bool>(0).map(|busy| !busy)
    });
    connection.busy_timeout(patience)?;
    emptied
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
