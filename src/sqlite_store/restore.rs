//! Puts a backup in the place of the database, while no daemon runs.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, chown},
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{
    file,
    sql::Fault,
    sqlite::{
        connection,
        fault::{said, storage},
        folder::{self, FolderLock},
        integrity, objects, schema,
    },
    sqlite_store::{
        SqliteStore,
        backup::{self, DatabaseCopy},
        key_check, lineage,
    },
    store::{Failed, StorageFault, StoreError, StoredKeyring},
    tables::keyring as keyring_table,
    vault::Vault,
};

/// A backup that was copied into the state folder and found to be good, and is not in force yet. No daemon starts while
/// this value lives.
pub struct Restore {
    state_dir: PathBuf,
    copy: DatabaseCopy,
    accounts: u64,
    _lock: FolderLock,
}

impl Restore {
    /// Copies `backup`, with the write-ahead log that lies beside it if there is one, and looks whether the copy can take the
    /// place of the database in `state_dir`. Changes neither of the two. Blocks.
    ///
    /// # Errors
    /// A daemon runs ([`StoreError::Locked`]); the backup is no database of this program, is damaged, is of a newer version
    /// ([`StoreError::Newer`]), or is sealed with a key that `vault` lacks ([`StoreError::WrongKey`]).
    ///
    /// `keyring` takes the place of the backup's own: the same keys, wrapped by the seal that is in use now. A backup from
    /// before databases had one is brought up to date where it is given one.
    pub fn prepare(
        state_dir: &Path,
        backup: &Path,
        vault: &Arc<Vault>,
        keyring: Option<&StoredKeyring>,
    ) -> Result<Self, StoreError> {
        let lock = folder::claim(state_dir)?;
        give(state_dir, folder::LOCK)?;
        backup::tidy(state_dir);
        let copy = DatabaseCopy::new_in(state_dir)?;
        copy_file(backup, copy.path())?;
        let log = beside(backup, "-wal");
        if log.exists() {
            copy_file(&log, &beside(copy.path(), "-wal"))?;
        }
        let unfit = |fault| match fault {
            Fault::Store(error) => error,
            fault @ Fault::Database(_) => storage(backup, why_unfit(&fault)),
        };
        let accounts = examine(copy.path(), backup, vault).map_err(unfit)?;
        if let Some(keyring) = keyring {
            seal_anew(copy.path(), vault, keyring).map_err(unfit)?;
        }
        Ok(Self {
            state_dir: state_dir.to_owned(),
            copy,
            accounts,
            _lock: lock,
        })
    }

    /// How many accounts the backup has.
    pub fn accounts(&self) -> u64 {
        self.accounts
    }

    /// Whether there is a database that it replaces.
    pub fn replaces(&self) -> bool {
        self.state_dir.join(folder::DATABASE).exists()
    }

    /// Puts the backup in the database's place. What is replaced is kept in the same folder, under the name of the database
    /// followed by `suffix`, and by a number where that name is taken; returns where, if there was one. Blocks.
    pub fn put_in_place(self, suffix: &str) -> Result<Option<PathBuf>, StoreError> {
        let path = self.state_dir.join(folder::DATABASE);
        let kept = free(&beside(&path, suffix));
        // From here on a daemon starts only when it is done.
        lineage::note_restore(&self.state_dir, false)?;
        give(&self.state_dir, lineage::NOTE)?;
        let exchange = || -> io::Result<bool> {
            let replaces = move_away(&path, &kept)?;
            move_away(&beside(&path, "-wal"), &beside(&kept, "-wal"))?;
            match fs::remove_file(beside(&path, "-shm")) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.copy.put(&path)?;
            File::open(&self.state_dir)?.sync_all()?;
            Ok(replaces)
        };
        let replaces =
            exchange().map_err(|error| storage(&path, StorageFault::NotReplaced(error.to_string())))?;
        give(&self.state_dir, folder::DATABASE)?;
        lineage::note_restore(&self.state_dir, true)?;
        Ok(replaces.then_some(kept))
    }
}

/// Looks at the copy of `backup`. Returns how many accounts it has.
fn examine(copy: &Path, backup: &Path, vault: &Vault) -> Result<u64, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(copy, flags)?;
    connection::recognise(&connection, backup)?;
    if let Some(finding) = integrity::finding(&connection)? {
        return Err(storage(backup, StorageFault::DamagedBackup(finding)).into());
    }
    objects::check_tables(&connection, backup)?;
    key_check::verify(&connection, backup, vault)?;
    let accounts: i64 = connection.query_row("SELECT count(*) FROM integrations", [], |row| row.get(0))?;
    backup::make_whole(&connection)?;
    backup::close(connection, copy)?;
    Ok(accounts.unsigned_abs())
}

/// Gives the copy this keyring.
fn seal_anew(copy: &Path, vault: &Arc<Vault>, keyring: &StoredKeyring) -> Result<(), Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(copy, flags)?;
    if schema::version(&connection)? < key_check::FIRST_VERSION {
        drop(connection);
        // It is brought up to date on the way.
        let folder = copy.parent().unwrap_or(copy);
        drop(SqliteStore::open_with(folder, vault, Some(keyring))?);
        connection = Connection::open_with_flags(copy, flags)?;
    } else {
        let transaction = connection.transaction()?;
        keyring_table::write(&*transaction, keyring)?;
        transaction.commit()?;
    }
    backup::make_whole(&connection)?;
    backup::close(connection, copy)
}

/// Why a file cannot be restored, for what the database says of it.
fn why_unfit(fault: &Fault) -> StorageFault {
    let Some(error) = said(fault) else {
        return StorageFault::UnreadBackup(String::new());
    };
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StorageFault::NoBackup(error.to_string())
        }
        _ => StorageFault::UnreadBackup(error.to_string()),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The path, or it with the first number that makes it one at which nothing lies.
fn free(path: &Path) -> PathBuf {
    let is_taken = |path: &Path| {
        let log = beside(path, "-wal");
        [path, &log].iter().any(|path| path.symlink_metadata().is_ok())
    };
    let (mut free, mut number) = (path.to_owned(), 1);
    while is_taken(&free) {
        number += 1;
        free = beside(path, &format!("-{number}"));
    }
    free
}

fn copy_file(from: &Path, to: &Path) -> Result<(), StoreError> {
    // For the owner alone, whatever the backup's mode is.
    let mut made = OpenOptions::new();
    made.write(true).create(true).truncate(true).mode(0o600);
    let copy = || io::copy(&mut file::open(from)?, &mut made.open(to)?);
    copy()
        .map(drop)
        .map_err(|error| storage(from, StorageFault::system(Failed::CopyIn, &error)))
}

/// Renames what is there; false when nothing is.
fn move_away(from: &Path, to: &Path) -> io::Result<bool> {
    match fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// What root made in the folder is its owner's, who is the daemon's user.
fn give(folder: &Path, name: &str) -> Result<(), StoreError> {
    let path = folder.join(name);
    let give = || -> io::Result<()> {
        let (owner, made) = (fs::metadata(folder)?, fs::metadata(&path)?);
        if (made.uid(), made.gid()) == (owner.uid(), owner.gid()) {
            return Ok(());
        }
        chown(&path, Some(owner.uid()), Some(owner.gid()))
    };
    give().map_err(|error| storage(&path, StorageFault::system(Failed::Give, &error)))
}
