//! Who may write what decides something: manifests say who gets which token.

use std::{fs::File, os::unix::fs::MetadataExt, path::Path};

use rustix::fs::StatVfsMountFlags;

use super::group::Group;

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
    let read_only =
        || rustix::fs::fstatvfs(file).is_ok_and(|system| system.f_flag.contains(StatVfsMountFlags::RDONLY));
    if metadata.is_dir() && read_only() {
        return wrong_owner(path, metadata.uid(), user);
    }
    wrong_owner(path, metadata.uid(), user)
        .or_else(|| wrong_mode(path, metadata.mode(), || Group::of(&metadata)))
}

fn wrong_owner(path: &Path, owner: u32, user: u32) -> Option<String> {
    (owner != 0 && owner != user).then(|| {
        format!(
            "it belongs to uid {owner}, who could change it: run `chown {user} {}`",
            path.display()
        )
    })
}

fn wrong_mode(path: &Path, mode: u32, group: impl FnOnce() -> Group) -> Option<String> {
    let others = mode & 0o022;
    if others == 0 || (others == 0o020 && group() == Group::OursAlone) {
        return None;
    }
    Some(format!(
        "others than its owner may write it (mode {:04o}): run `chmod go-w {}`",
        mode & 0o7777,
        path.display()
    ))
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
        let judge = |mode, group| wrong_mode(Path::new("/x"), mode, || group).is_some();
        assert!(!judge(0o664, Group::OursAlone));
        assert!(judge(0o664, Group::Shared));
        assert!(judge(0o666, Group::OursAlone));
    }

    #[test]
    fn what_belongs_to_somebody_else_is_named() {
        let judge = |owner, user| wrong_owner(Path::new("/x"), owner, user);
        assert_eq!((judge(0, 7), judge(7, 7)), (None, None));
        assert_eq!(
            judge(8, 7).unwrap(),
            "it belongs to uid 8, who could change it: run `chown 7 /x`"
        );
    }
}
