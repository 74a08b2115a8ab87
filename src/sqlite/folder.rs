//! The state folder: for the daemon's user alone, and for one daemon at a time.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::{
    sqlite::fault::storage,
    store::{Failed, StorageFault, StoreError},
    text::ShowPath,
};

/// The database inside the state folder.
pub(crate) const DATABASE: &str = "broker.db";
/// What a daemon holds locked while it owns the folder.
pub(crate) const LOCK: &str = "broker.lock";

/// Held as long as this daemon owns the state folder. The kernel releases it when the process ends, however
/// it ends.
pub(crate) struct FolderLock(#[expect(dead_code, reason = "open as long as the lock is held")] File);

/// Makes the folder if need be, closes it to other users, and claims it.
pub(crate) fn claim(folder: &Path) -> Result<FolderLock, StoreError> {
    ensure_private(folder)?;
    let path = folder.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| storage(&path, StorageFault::system(Failed::Open, &error)))?;
    lock(file, folder)
}

/// Claims a folder in which nothing is made; `None` where no daemon has ever run.
pub(crate) fn claim_as_it_is(folder: &Path) -> Result<Option<FolderLock>, StoreError> {
    let path = folder.join(LOCK);
    match OpenOptions::new().write(true).open(&path) {
        Ok(file) => lock(file, folder).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(storage(&path, StorageFault::system(Failed::Open, &error))),
    }
}

fn lock(file: File, folder: &Path) -> Result<FolderLock, StoreError> {
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(FolderLock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked(folder.shown().to_string())),
        Err(error) => Err(storage(
            &folder.join(LOCK),
            StorageFault::system(Failed::Lock, &error),
        )),
    }
}

/// The database file: an empty one when there is none, closed to other users. The files that `SQLite` puts
/// beside it take over its mode.
pub(crate) fn database_file(folder: &Path) -> Result<PathBuf, StoreError> {
    let path = folder.join(DATABASE);
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
    {
        Ok(file) => file
            .set_permissions(Permissions::from_mode(0o600))
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(|error| storage(&path, StorageFault::system(Failed::Create, &error)))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            for suffix in ["", "-wal", "-shm"] {
                close_to_others(&folder.join(format!("{DATABASE}{suffix}")))?;
            }
        }
        Err(error) => return Err(storage(&path, StorageFault::system(Failed::Create, &error))),
    }
    Ok(path)
}

fn close_to_others(path: &Path) -> Result<(), StoreError> {
    let Some(mode) = mode(path)? else { return Ok(()) };
    if !is_open_to_others(mode) {
        return Ok(());
    }
    tracing::warn!(path = %path.shown(), "was open to other users (mode {mode:04o}); closed it");
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|error| {
        let error = error.to_string();
        storage(path, StorageFault::OpenFile { mode, error })
    })
}

fn ensure_private(folder: &Path) -> Result<(), StoreError> {
    let Some(mode) = mode(folder)? else {
        return DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .and_then(|()| fs::set_permissions(folder, Permissions::from_mode(0o700)))
            .map_err(|error| storage(folder, StorageFault::system(Failed::Create, &error)));
    };
    if !is_open_to_others(mode) {
        return Ok(());
    }
    // Somebody's `/tmp` or home, named by mistake, must not be closed to its users.
    if !is_ours(folder).map_err(|error| storage(folder, StorageFault::system(Failed::Read, &error)))? {
        return Err(storage(folder, StorageFault::SharedFolder { mode }));
    }
    tracing::warn!(path = %folder.shown(), "was open to other users (mode {mode:04o}); closed it");
    fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(|error| {
        let error = error.to_string();
        storage(folder, StorageFault::OpenFolder { mode, error })
    })
}

/// True when the folder holds a broker's state already, or nothing (but for what a new file system brings).
fn is_ours(folder: &Path) -> io::Result<bool> {
    if folder.join(DATABASE).exists() || folder.join(LOCK).exists() {
        return Ok(true);
    }
    for entry in fs::read_dir(folder)? {
        if entry?.file_name() != "lost+found" {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_open_to_others(mode: u32) -> bool {
    mode & 0o077 != 0
}

fn mode(path: &Path) -> Result<Option<u32>, StoreError> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found.permissions().mode() & 0o7777)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(storage(path, StorageFault::system(Failed::Read, &error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        mode(path).unwrap().unwrap()
    }

    #[test]
    fn a_new_folder_is_private() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        let _lock = claim(&folder).unwrap();
        let database = database_file(&folder).unwrap();
        assert_eq!(mode_of(&folder), 0o700);
        assert_eq!(mode_of(&database), 0o600);
        assert_eq!(mode_of(&folder.join(LOCK)), 0o600);
    }

    #[test]
    fn an_open_folder_of_our_own_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        open(folder.path(), 0o755);
        fs::create_dir(folder.path().join("lost+found")).unwrap();
        drop(claim(folder.path()).unwrap());
        assert_eq!(mode_of(folder.path()), 0o700, "an empty one");

        let database = database_file(folder.path()).unwrap();
        open(folder.path(), 0o2770);
        open(&database, 0o644);
        drop(claim(folder.path()).unwrap());
        database_file(folder.path()).unwrap();
        assert_eq!(mode_of(folder.path()), 0o700, "one with a database");
        assert_eq!(mode_of(&database), 0o600);
    }

    #[test]
    fn somebody_elses_open_folder_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("letter.txt"), "").unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
        let error = claim(folder.path()).err().unwrap().to_string();
        assert_eq!(
            error,
            format!(
                "{}: is open to other users (mode 1777) and holds files that are not token-broker's: \
                 give state_dir a folder of its own",
                folder.path().display()
            )
        );
        assert_eq!(mode_of(folder.path()), 0o1777);
    }

    #[test]
    fn a_folders_name_ends_no_line_of_a_message() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a\nb");
        let lock = claim(&odd).unwrap();
        let error = claim(&odd).err().unwrap().to_string();
        assert!(error.contains("a\\nb") && !error.contains('\n'), "{error}");
        drop(lock);
    }

    #[test]
    fn a_claimed_folder_is_not_claimed_again() {
        let folder = tempfile::tempdir().unwrap();
        let lock = claim(folder.path()).unwrap();
        assert!(matches!(claim(folder.path()), Err(StoreError::Locked(_))));
        drop(lock);
        assert!(claim(folder.path()).is_ok());
    }
}
