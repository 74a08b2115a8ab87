//! Whether others than the owner may write a file or folder that decides who gets which token.

use std::{
    fs::{File, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

use rustix::fs::{StatVfs, StatVfsMountFlags};

use super::group::Group;
use crate::text::ShowPath;

/// Why somebody else than root and `user` could change the open file or folder, and what to do; `None` when nobody could.
/// A group that nobody but this process is in counts as this process.
///
/// The mode of a folder that is mounted read-only says nothing, because nothing is written through it: that of a
/// `ConfigMap` is 0777.
pub fn others(path: &Path, file: &File, user: u32) -> Option<String> {
    let metadata = match file.metadata() {
        Ok(metadata) => metadata,
        Err(error) => return Some(format!("nobody knows who may write it: {error}")),
    };
    let is_read_only = || rustix::fs::fstatvfs(file).is_ok_and(|system| read_only(&system));
    Some(match exposure(&metadata, is_read_only, user)? {
        Exposure::Owner(owner) => format!(
            "it belongs to uid {owner}, who could change it: run `chown {user} {}`",
            path.shown()
        ),
        Exposure::Mode(mode) => format!(
            "others than its owner may write it (mode {mode:04o}): run `chmod go-w {}`",
            path.shown()
        ),
    })
}

/// How somebody else may change a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exposure {
    /// It belongs to this user.
    Owner(u32),
    /// This mode lets others write it.
    Mode(u32),
}

/// How others than root and `user` may change what these are the metadata of; `None` when nobody may.
pub(super) fn exposure(
    metadata: &Metadata,
    is_read_only: impl FnOnce() -> bool,
    user: u32,
) -> Option<Exposure> {
    if let Some(owner) = wrong_owner(metadata.uid(), user) {
        return Some(owner);
    }
    if metadata.is_dir() && is_read_only() {
        return None;
    }
    wrong_mode(metadata.mode(), || Group::of(metadata, user))
}

/// Whether nothing can be written through what this folder is mounted by.
pub(super) fn is_read_only(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|system| read_only(&system))
}

fn read_only(system: &StatVfs) -> bool {
    system.f_flag.contains(StatVfsMountFlags::RDONLY)
}

fn wrong_owner(owner: u32, user: u32) -> Option<Exposure> {
    (owner != 0 && owner != user).then_some(Exposure::Owner(owner))
}

fn wrong_mode(mode: u32, group: impl FnOnce() -> Group) -> Option<Exposure> {
    let others = mode & 0o022;
    let is_ours = others == 0 || (others == 0o020 && group() == Group::OursAlone);
    (!is_ours).then_some(Exposure::Mode(mode & 0o7777))
}

/// The user that this process is.
pub fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt,
    };

    use super::*;

    fn judge(mode: u32, folder: bool) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        if folder {
            fs::create_dir(&path).unwrap();
        } else {
            fs::write(&path, "").unwrap();
        }
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let found = others(&path, &File::open(&path).unwrap(), own_user())?;
        Some(found.replace(&path.display().to_string(), "/x"))
    }

    #[test]
    fn what_others_may_write_is_named_with_the_remedy() {
        for folder in [false, true] {
            for mode in [0o600, 0o644, 0o755, 0o444] {
                assert_eq!(judge(mode, folder), None, "{mode:o}");
            }
            for mode in [0o666, 0o646, 0o777, 0o1777] {
                assert_eq!(
                    judge(mode, folder),
                    Some(format!(
                        "others than its owner may write it (mode {mode:04o}): run `chmod go-w /x`"
                    ))
                );
            }
        }
    }

    #[test]
    fn a_group_may_write_where_nobody_else_is_in_it() {
        let judge = |mode, group| wrong_mode(mode, || group).is_some();
        assert!(!judge(0o664, Group::OursAlone));
        assert!(judge(0o664, Group::Shared));
        assert!(judge(0o666, Group::OursAlone));
    }

    #[test]
    fn what_belongs_to_somebody_else_is_named() {
        assert_eq!((wrong_owner(0, 7), wrong_owner(7, 7)), (None, None));
        assert_eq!(wrong_owner(8, 7), Some(Exposure::Owner(8)));
        let dir = tempfile::tempdir().unwrap();
        let owner = dir.path().metadata().unwrap().uid();
        if owner != 0 {
            let found = others(dir.path(), &File::open(dir.path()).unwrap(), owner + 1).unwrap();
            assert!(
                found.starts_with(&format!("it belongs to uid {owner}, who could change it")),
                "{found}"
            );
        }
    }
}
