//! Where the database lies, by device and inode: a path may come to mean another folder while the daemon runs. What is
//! written then goes into files that no later start finds.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::{
    sqlite::{
        fault::storage,
        folder::{DATABASE, LOCK},
    },
    store::{Failed, StorageFault, StoreError},
};

/// A file or folder, whatever its name: device and inode.
type Identity = (u64, u64);

fn identity(path: &Path) -> io::Result<Identity> {
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// The state folder and what is held open in it.
pub(crate) struct Place {
    /// Held open: a folder that nobody holds may get another inode number where layers are laid over each other (overlayfs).
    _folder: File,
    known: [(PathBuf, Identity); 3],
    log: PathBuf,
    /// The write-ahead log, which comes with the first change.
    known_log: OnceLock<Identity>,
}

impl Place {
    /// As it is now, when the lock and the database have just been opened.
    pub(crate) fn of(folder: &Path) -> Result<Self, StoreError> {
        let know = |path: PathBuf| match identity(&path) {
            Ok(identity) => Ok((path, identity)),
            Err(error) => Err(storage(&path, StorageFault::system(Failed::LookAt, &error))),
        };
        let opened = File::open(folder);
        Ok(Self {
            _folder: opened.map_err(|error| storage(folder, StorageFault::system(Failed::Open, &error)))?,
            known: [
                know(folder.to_owned())?,
                know(folder.join(LOCK))?,
                know(folder.join(DATABASE))?,
            ],
            log: folder.join(format!("{DATABASE}-wal")),
            known_log: OnceLock::new(),
        })
    }

    /// Whether each path still leads to what was opened.
    ///
    /// # Errors
    /// The first that does not, and what to do.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        for (path, known) in &self.known {
            Self::compare(path, *known)?;
        }
        match (self.known_log.get(), identity(&self.log)) {
            (Some(known), _) => Self::compare(&self.log, *known),
            (None, Ok(first)) => {
                // The first to see it saw the same.
                let _ = self.known_log.set(first);
                Ok(())
            }
            (None, Err(_)) => Ok(()),
        }
    }

    fn compare(path: &Path, known: Identity) -> Result<(), StoreError> {
        match identity(path) {
            Ok(found) if found == known => Ok(()),
            Ok(_) => Err(storage(path, StorageFault::Replaced)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(storage(path, StorageFault::Gone)),
            Err(error) => Err(storage(path, StorageFault::system(Failed::LookAt, &error))),
        }
    }
}
