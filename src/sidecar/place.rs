//! The directory that the pod's containers share: opened, and made again where somebody removed it.

use std::{
    fs::{self, Permissions},
    io::ErrorKind,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use crate::{
    agent_files::{directory::AgentDir, error::FileError},
    text::ShowPath,
};

/// The shared directory.
pub(super) struct Place {
    path: PathBuf,
    /// Its mode and group when it was there last; `None` before it was there at all.
    shape: Option<(u32, u32)>,
}

impl Place {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, shape: None }
    }

    /// Opens it. One that was there before and is gone is made again as it was: who has it mounted keeps what was removed,
    /// and who comes by its path finds the new one.
    ///
    /// # Errors
    /// When it cannot be used, as a sentence.
    pub(super) fn open(&mut self) -> Result<AgentDir, String> {
        let (path, sentence) = (self.path.clone(), |error: FileError| self.sentence(&error));
        let found = match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if let Some(shape) = self.shape {
                    self.make_again(shape).map_err(|error| {
                        format!("{} is gone and cannot be made again: {error}", path.shown())
                    })?;
                }
                fs::metadata(&path)
            }
            found => found,
        };
        let dir = AgentDir::shared(&path).map_err(sentence)?;
        self.shape = found
            .ok()
            .map(|found| (found.mode() & 0o7777, found.gid()))
            .or(self.shape);
        Ok(dir)
    }

    fn make_again(&self, (mode, gid): (u32, u32)) -> std::io::Result<()> {
        fs::create_dir_all(&self.path)?;
        // The group first: giving it away takes the setgid bit.
        if fs::metadata(&self.path)?.gid() != gid {
            chown(&self.path, None, Some(gid))?;
        }
        fs::set_permissions(&self.path, Permissions::from_mode(mode))?;
        tracing::warn!(
            "{} was gone and is made again: start those containers again that have it mounted",
            self.path.shown()
        );
        Ok(())
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What went wrong with something in it.
    pub(super) fn sentence(&self, error: &FileError) -> String {
        format!("{}{error}", self.path.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_is_made_again_as_it_was_and_nothing_else_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("above/shared");
        let mut place = Place::new(path.clone());
        assert!(place.open().is_err(), "a volume that is not mounted");
        fs::create_dir_all(&path).unwrap();
        for mode in [0o2770, 0o750] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            place.open().map_err(|error| panic!("{error}")).unwrap();
            fs::remove_dir_all(folder.path().join("above")).unwrap();
            place.open().map_err(|error| panic!("{error}")).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
        }
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(place.open().is_err(), "something else is in its place");
    }
}
