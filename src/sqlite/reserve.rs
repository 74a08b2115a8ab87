//! Room on the disk that is taken beforehand, in a file that holds nothing.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate};

use crate::sqlite::file_system;

/// The reserve beside a database.
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
    given_away: bool,
}

impl Reserve {
    /// At `path`, of that many bytes, as it was left.
    pub(crate) fn new(path: PathBuf, bytes: u64) -> Self {
        Self {
            path,
            bytes,
            given_away: false,
        }
    }

    /// Takes the room, unless it is taken or that would leave less free than it takes: what was given away would be taken
    /// from those that it was given to. True when it is there. Where the file system cannot set room aside, there is no
    /// reserve, and none was given away.
    pub(crate) fn keep(&mut self) -> bool {
        let is_kept = fs::metadata(&self.path).is_ok_and(|file| file.len() == self.bytes);
        let kept = if !is_kept && self.free().is_some_and(|free| free < 2 * self.bytes) {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        } else {
            self.set_aside()
        };
        if let Err(error) = &kept {
            tracing::debug!(%error, "nothing is kept in reserve for a full disk");
            let _ = fs::remove_file(&self.path);
        }
        self.given_away = kept.as_ref().is_err_and(is_of_full_disk);
        kept.is_ok()
    }

    /// Gives the room back. False where there was none.
    pub(crate) fn release(&mut self) -> bool {
        let released = fs::remove_file(&self.path).is_ok();
        self.given_away |= released;
        released
    }

    /// It was given to what cannot wait, or there was no room for it in the first place.
    pub(crate) fn is_given_away(&self) -> bool {
        self.given_away
    }

    /// Less is free than the reserve would take.
    pub(crate) fn is_file_system_full(&self) -> bool {
        self.free().is_some_and(|free| free < self.bytes)
    }

    fn free(&self) -> Option<u64> {
        file_system::free(self.path.parent().unwrap_or(Path::new("/")))
    }

    fn set_aside(&self) -> io::Result<()> {
        let file: File = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)?;
        if file.metadata()?.len() != self.bytes {
            file.set_len(0)?;
            fallocate(&file, FallocateFlags::empty(), 0, self.bytes)?;
        }
        Ok(())
    }
}

fn is_of_full_disk(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
