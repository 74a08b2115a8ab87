//! Copies of the database, whole and of one moment, also while it is written.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};
use tempfile::TempDir;

use crate::{
    sql::{Fault, Sql},
    sqlite::{
        connection, damage,
        fault::{FileFault, storage},
        folder, integrity, schema,
    },
    sqlite_store::lineage,
    store::{Failed, StorageFault, StoreError},
};

/// What the folders of copies begin with.
const PREFIX: &str = ".copy-";

/// A copy that is whole and on disk; gone with this value.
pub struct DatabaseCopy {
    folder: TempDir,
    file: PathBuf,
}

impl DatabaseCopy {
    /// An empty one in a folder of its own inside `folder`.
    pub(super) fn new_in(folder: &Path) -> Result<Self, StoreError> {
        let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(folder);
        let made = made.map_err(|error| storage(folder, StorageFault::system(Failed::CopyHere, &error)))?;
        let file = made.path().join(folder::DATABASE);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file)
            .map_err(|error| storage(&file, StorageFault::system(Failed::Create, &error)))?;
        Ok(Self { folder: made, file })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Reads it. One that is not of this version has other tables.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&dyn Sql) -> Result<T, Fault>) -> Result<T, StoreError> {
        let connection = connection::open_reader(&self.file)?;
        let read = || {
            if !schema::is_current(&connection)? {
                return Err(storage(&self.file, StorageFault::NotCurrent).into());
            }
            work(&connection)
        };
        read().map_err(|fault: Fault| fault.at(&self.file))
    }

    /// Moves it to `to`, on the same file system, in place of what is there.
    pub fn put(self, to: &Path) -> io::Result<()> {
        fs::rename(&self.file, to)?;
        self.folder.close()
    }
}

/// Removes what copies a daemon that was killed left in `folder`.
pub(super) fn tidy(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
        {
            // A process that still uses it has it open.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Copies the database of `source`, as it is at this moment, into a folder of its own in `folder`. The access tokens stay
/// behind: they live for an hour, and nobody uses them after a restore.
pub(super) fn take(source: &Connection, folder: &Path) -> Result<DatabaseCopy, Fault> {
    let made = DatabaseCopy::new_in(folder)?;
    let mut copy = Connection::open_with_flags(
        &made.file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // In one step, which is one read of the source: the writer goes on meanwhile.
    match Backup::new(source, &mut copy)?.step(-1)? {
        StepResult::Done => {}
        _ => return Err(storage(folder, StorageFault::Busy).into()),
    }
    make_whole(&copy)?;
    copy.pragma_update(None, "secure_delete", true)?;
    // Of other versions only the copy itself is taken.
    if schema::is_current(&copy)? {
        copy.execute("DELETE FROM secrets WHERE requested IS NOT NULL", [])?;
        lineage::mark_copy(&copy)?;
    }
    if let Some(finding) = integrity::quick_finding(&copy)? {
        let original = source.path().map_or(folder, Path::new);
        return Err(storage(original, damage::found(original, &finding)).into());
    }
    close(copy, &made.file)?;
    Ok(made)
}

/// Closes a database whose one file is at `path`, and has the disk confirm it.
pub(super) fn close(connection: Connection, path: &Path) -> Result<(), Fault> {
    connection.close().map_err(|(_, error)| error)?;
    let synced = File::open(path).and_then(|file| file.sync_all());
    Ok(synced.map_err(|error| storage(path, StorageFault::system(Failed::Write, &error)))?)
}

/// Puts all of a database into its one file.
pub(super) fn make_whole(connection: &Connection) -> Result<(), Fault> {
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get(0))?;
    debug_assert_eq!(mode, "delete", "nobody else has it open");
    Ok(())
}

/// Copies the database in `state_dir` into a folder of its own in `folder`, while no daemon runs on it.
pub(super) fn take_of_stopped(state_dir: &Path, folder: &Path) -> Result<DatabaseCopy, StoreError> {
    let _lock = folder::claim_as_it_is(state_dir)?;
    lineage::refuse_unfinished_restore(state_dir)?;
    let path = state_dir.join(folder::DATABASE);
    if !path.exists() {
        return Err(storage(state_dir, StorageFault::NoDatabase));
    }
    let source = connection::open_reader(&path)?;
    connection::recognise(&source, &path)
        .and_then(|()| take(&source, folder))
        .map_err(|fault| fault.at(&path))
}
