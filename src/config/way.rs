//! The way to a file or folder: through which folder on it somebody else could put something else in its place.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fmt,
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use super::writers::{self, Exposure};
use crate::text::ShowPath;

/// As many links as the kernel follows (`path_resolution(7)`).
const MOST_LINKS: usize = 40;
/// Of a folder in which everybody removes and renames only what is theirs.
const STICKY: u32 = 0o1000;

/// A folder that others may change, and what they could exchange in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    folder: PathBuf,
    leads_to: PathBuf,
    exposure: Exposure,
}

impl Gap {
    /// The folder that others may change.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether it is the folder's mode alone: a volume of a pod's own is open to all, and nobody else has it.
    pub fn is_of_mode(&self) -> bool {
        matches!(self.exposure, Exposure::Mode(_))
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (folder, leads_to) = (self.folder.shown(), self.leads_to.shown());
        match self.exposure {
            Exposure::Owner(owner) => write!(
                f,
                "{folder} belongs to uid {owner}, who could put something else in the place of {leads_to}: move that to a \
                 folder of root's"
            ),
            Exposure::Mode(mode) => write!(
                f,
                "others than its owner may write {folder} (mode {mode:04o}) and put something else in the place of \
                 {leads_to}: run `chmod go-w {folder}`, or move that elsewhere"
            ),
        }
    }
}

/// The first folder on the way to `path`, from the root on and through links, in which others than root and `user` could
/// exchange what leads on. What is at its end is not looked at; a way that ends before is looked at as far as it goes.
pub fn gap(path: &Path, user: u32) -> Option<Gap> {
    let (mut here, mut links) = (PathBuf::from("/"), 0);
    let mut rest = names(path);
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&name);
        let (folder, entry) = (here.symlink_metadata().ok()?, next.symlink_metadata().ok()?);
        if let Some(exposure) = exchangeable(&here, &folder, &entry, user) {
            return Some(Gap {
                folder: here,
                leads_to: next,
                exposure,
            });
        }
        if !entry.is_symlink() {
            here = next;
            continue;
        }
        links += 1;
        let target = next.read_link().ok().filter(|_| links <= MOST_LINKS)?;
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        let mut names = names(&target);
        names.append(&mut rest);
        rest = names;
    }
    None
}

/// The names of a path, without the root and what stays where it is.
fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

fn exchangeable(path: &Path, folder: &Metadata, entry: &Metadata, user: u32) -> Option<Exposure> {
    let is_ours = entry.uid() == 0 || entry.uid() == user;
    match writers::exposure(folder, || writers::is_read_only(path), user) {
        Some(Exposure::Mode(mode)) if mode & STICKY != 0 && is_ours => None,
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// `<dir>/a/b`, and what is said of the way to it.
    fn scene() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        fs::create_dir_all(&path).unwrap();
        (dir, path)
    }

    fn said(dir: &Path, path: &Path, user: u32) -> Option<String> {
        let gap = gap(path, user)?;
        Some(gap.to_string().replace(&dir.display().to_string(), ""))
    }

    #[test]
    fn a_folder_above_that_others_may_write_is_named() {
        let (dir, path) = scene();
        let me = writers::own_user();
        assert_eq!(gap(&path, me), None);
        for open in [0o777, 0o775, 0o2777] {
            mode(&dir.path().join("a"), open);
            let found = said(dir.path(), &path, me).unwrap();
            assert_eq!(
                found,
                format!(
                    "others than its owner may write /a (mode {open:04o}) and put something else in the place of /a/b: run \
                     `chmod go-w /a`, or move that elsewhere"
                )
            );
        }
        // Its own mode is another question.
        mode(&dir.path().join("a"), 0o755);
        mode(&path, 0o777);
        assert_eq!(gap(&path, me), None);
    }

    #[test]
    fn in_a_sticky_folder_nobody_exchanges_what_is_not_theirs() {
        let (dir, path) = scene();
        mode(&dir.path().join("a"), 0o1777);
        let me = writers::own_user();
        assert_eq!(gap(&path, me), None);
        if me == 0 {
            std::os::unix::fs::lchown(&path, Some(4711), None).unwrap();
            assert!(gap(&path, me).is_some(), "it is theirs");
            assert_eq!(gap(&path, 4711), None);
        }
    }

    #[test]
    fn the_way_through_a_link_is_looked_at() {
        let (dir, path) = scene();
        let (elsewhere, me) = (tempfile::tempdir().unwrap(), writers::own_user());
        let link = elsewhere.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(gap(&link, me), None);
        mode(&dir.path().join("a"), 0o777);
        assert!(
            said(dir.path(), &link, me)
                .unwrap()
                .contains("in the place of /a/b")
        );
        fs::remove_file(&link).unwrap();
        symlink("link", &link).unwrap();
        assert_eq!(gap(&link, me), None, "it leads nowhere");
    }

    #[test]
    fn a_folder_of_somebody_else_is_named() {
        let (dir, path) = scene();
        let owner = fs::metadata(&path).unwrap().uid();
        if owner == 0 {
            std::os::unix::fs::chown(dir.path().join("a"), Some(4711), None).unwrap();
            assert_eq!(
                said(dir.path(), &path, 0).unwrap(),
                "/a belongs to uid 4711, who could put something else in the place of /a/b: move that to a folder of root's"
            );
            assert_eq!(gap(&path, 4711), None);
        } else {
            assert!(!gap(&path, owner + 1).unwrap().is_of_mode());
        }
        assert_eq!(gap(Path::new("/no/such/thing"), owner), None);
    }
}
