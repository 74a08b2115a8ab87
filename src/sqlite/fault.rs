//! What can go wrong inside a database operation, and what it means.

use std::path::Path;

use rusqlite::{Error, ErrorCode, ffi};

use crate::{
    sql::Fault,
    sqlite::damage,
    store::{DatabaseFault, StorageFault, StoreError},
    text::ShowPath,
};

/// What a fault means, of a database in a file.
pub(crate) trait FileFault {
    /// Whether more room on the disk would have helped.
    fn is_of_full_disk(&self) -> bool;

    /// The error for the caller of the store whose database is at `path`.
    fn at(self, path: &Path) -> StoreError;
}

impl FileFault for Fault {
    fn is_of_full_disk(&self) -> bool {
        said(self).is_some_and(is_of_full_disk)
    }

    fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Database(error) => {
                let fault = error.downcast_ref().map(|error| judge(path, error));
                storage(
                    path,
                    fault.unwrap_or_else(|| DatabaseFault::Refused(error.to_string())),
                )
            }
        }
    }
}

/// What the database said.
pub(crate) fn said(fault: &Fault) -> Option<&Error> {
    match fault {
        Fault::Store(_) => None,
        Fault::Database(error) => error.downcast_ref(),
    }
}

/// Whether more room on the disk would have helped.
pub(crate) fn is_of_full_disk(error: &Error) -> bool {
    let extended = error.sqlite_error().map(|error| error.extended_code);
    error.sqlite_error_code() == Some(ErrorCode::DiskFull) || extended == Some(ffi::SQLITE_IOERR_SHMSIZE)
}

/// Whether all was written, and the disk did not say that it has it: the write-ahead log has it, and may be read again.
fn is_of_sync(error: &Error) -> bool {
    let extended = error.sqlite_error().map(|error| error.extended_code);
    matches!(
        extended,
        Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC)
    )
}

/// Whether a commit that failed so may lie in the write-ahead log as a whole, with its mark: the database undoes it in memory
/// alone, and the next start would find it done.
///
/// The mark is in the last frame. The sync comes after it, and the index of the log in memory after that, which wants room and
/// memory; an error of writing may be told of what was written. A full disk cut the last frame off before its end, and all
/// else is refused before anything is written.
pub(crate) fn may_be_in_log(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory)
    )
}

/// What is said of a commit that [may lie in the log](may_be_in_log) and was written over there.
pub(crate) fn taken_back(path: &Path, error: &Error) -> DatabaseFault {
    if !is_of_sync(error) {
        return judge(path, error);
    }
    DatabaseFault::TakenBack(error.to_string())
}

/// What is said of it while it could not be written over.
pub(crate) fn unconfirmed(error: &Error) -> DatabaseFault {
    DatabaseFault::Unconfirmed(error.to_string())
}

/// An error of the file, its folder or the disk.
pub(crate) fn storage(path: &Path, fault: impl Into<StorageFault>) -> StoreError {
    StoreError::Storage {
        path: path.shown().to_string(),
        fault: fault.into(),
    }
}

/// What it means that the database at `path` said this.
pub(crate) fn judge(path: &Path, error: &Error) -> DatabaseFault {
    let said = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => DatabaseFault::DiskFull(said),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => damage::judge(path, error),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => DatabaseFault::NotWritable(said),
        Some(ErrorCode::CannotOpen) => DatabaseFault::NotOpened(said),
        Some(ErrorCode::SystemIoFailure) if is_of_sync(error) => unconfirmed(error),
        Some(ErrorCode::SystemIoFailure) => DatabaseFault::DiskFailed(said),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DatabaseFault::Held(said),
        _ => DatabaseFault::Refused(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_fails_after_its_mark_was_written_may_be_in_the_log() {
        let fails = |code| may_be_in_log(&Error::SqliteFailure(ffi::Error::new(code), None));
        for code in [
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR_DIR_FSYNC,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_IOERR_TRUNCATE,
            ffi::SQLITE_IOERR_SHORT_READ,
            ffi::SQLITE_IOERR_SHMSIZE,
            ffi::SQLITE_IOERR_SHMMAP,
            ffi::SQLITE_NOMEM,
        ] {
            assert!(fails(code), "{code}");
        }
        for code in [
            ffi::SQLITE_FULL,
            ffi::SQLITE_BUSY,
            ffi::SQLITE_READONLY,
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY,
        ] {
            assert!(!fails(code), "{code}");
        }
    }

    #[test]
    fn what_was_written_and_not_confirmed_is_not_said_to_be_undone() {
        let said = |code| {
            let error = Error::SqliteFailure(ffi::Error::new(code), None);
            judge(Path::new("/d"), &error).to_string()
        };
        for code in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC] {
            assert!(said(code).contains("it is not known whether"), "{}", said(code));
        }
        for code in [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_READ] {
            assert!(
                said(code).contains("what was asked was not done"),
                "{}",
                said(code)
            );
        }
    }
}
