//! Files that hold a secret and that nobody else may read.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{ErrorKind, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::{group::Group, writers};
use crate::{
    file,
    text::{self, ShowPath},
};

/// No secret here is longer.
pub(super) const MAX_BYTES: u64 = 64 * 1024;

/// Who else may read the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Nobody: its mode has no bits for others, and for a group only where nobody but this process is in it, which may
    /// read then (`fsGroup` of Kubernetes' Secret volumes). And it belongs to root or to this process.
    Private,
    /// Someone else saw to that (systemd's credentials).
    Given,
}

impl Access {
    /// That of `path`, given the folder that `$CREDENTIALS_DIRECTORY` names. What lies in there has a mode that
    /// shows its access list, and belongs to root.
    pub(super) fn of(path: &Path, credentials: Option<&OsStr>) -> Self {
        match credentials {
            Some(folder) if path.parent() == Some(Path::new(folder)) => Self::Given,
            _ => Self::Private,
        }
    }
}

/// Reads a secret without the white space around it, or says what is wrong with the file and what to do.
pub(super) fn read(path: &Path, access: Access) -> Result<Zeroizing<String>, String> {
    let file = open(path)?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if access == Access::Private {
        let group = Group::of(&metadata, writers::own_user());
        check_private(path, metadata.uid(), metadata.mode(), group)?;
    }
    let mut bytes = buffer();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    text(&bytes)
}

/// Room for the longest secret, so that growing leaves no copies behind.
pub(super) fn buffer() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(
        usize::try_from(MAX_BYTES).unwrap_or_default() + 1,
    ))
}

/// The secret in these bytes, without the white space around it.
pub(super) fn text(bytes: &[u8]) -> Result<Zeroizing<String>, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it is longer than {MAX_BYTES} bytes"));
    }
    match text::of_file(bytes).map(str::trim) {
        Ok("") => Err("it is empty".to_owned()),
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(reason) => Err(reason.to_owned()),
    }
}

fn open(path: &Path) -> Result<File, String> {
    // Opening a FIFO must not wait for someone to write to it.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => "there is no such file".to_owned(),
            ErrorKind::PermissionDenied => file::beyond(path).unwrap_or_else(|| {
                format!(
                    "this process (uid {}) may not read it: run `chown` for that user, or start as another one",
                    rustix::process::geteuid().as_raw()
                )
            }),
            _ => error.to_string(),
        })
}

fn check_private(path: &Path, owner: u32, mode: u32, group: Group) -> Result<(), String> {
    let me = rustix::process::geteuid().as_raw();
    if owner != 0 && owner != me {
        return Err(format!(
            "it belongs to uid {owner}, who could replace it: run `chown {me} {}`",
            path.shown()
        ));
    }
    match group {
        // Reading is all that the group may do.
        Group::OursAlone if mode & 0o077 == 0o040 => Ok(()),
        Group::OursAlone | Group::Shared => check_mode(path, mode),
    }
}

/// Refuses a mode that lets anyone but the owner in.
pub(super) fn check_mode(path: &Path, mode: u32) -> Result<(), String> {
    let others = mode & 0o077;
    if others == 0 {
        return Ok(());
    }
    Err(format!(
        "it is open to others than its owner (mode {:04o}): run `chmod 600 {}`",
        mode & 0o7777,
        path.shown()
    ))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn file(mode: u32, content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    fn refused(path: &Path) -> String {
        read(path, Access::Private).err().unwrap()
    }

    #[test]
    fn a_private_file_is_read_and_trimmed() {
        for mode in [0o600, 0o400] {
            for content in [" s3cret\n", "\u{feff}s3cret\r\n"] {
                let (_dir, path) = file(mode, content.as_bytes());
                assert_eq!(read(&path, Access::Private).unwrap().as_str(), "s3cret");
            }
        }
    }

    #[test]
    fn what_systemd_hands_over_is_taken_as_it_is() {
        let folder = Some(OsStr::new("/run/credentials/x.service"));
        let of = |path: &str, folder| Access::of(Path::new(path), folder);
        assert!(of("/run/credentials/x.service/secret", folder) == Access::Given);
        assert!(of("/run/credentials/x.service/secret", None) == Access::Private);
        for elsewhere in ["/etc/secret", "/run/credentials/x.service/../secret", "secret"] {
            assert!(of(elsewhere, folder) == Access::Private, "{elsewhere}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_or_write_is_refused_with_the_remedy() {
        for mode in [0o640, 0o604, 0o660, 0o602] {
            let (_dir, path) = file(mode, b"s3cret");
            let path_text = path.display();
            assert_eq!(
                refused(&path),
                format!("it is open to others than its owner (mode {mode:04o}): run `chmod 600 {path_text}`")
            );
            assert_eq!(read(&path, Access::Given).unwrap().as_str(), "s3cret");
        }
    }

    #[test]
    fn a_file_of_someone_else_is_refused() {
        let me = rustix::process::geteuid().as_raw();
        let other = if me == 4711 { 4712 } else { 4711 };
        let error = check_private(Path::new("/k"), other, 0o600, Group::Shared).unwrap_err();
        assert_eq!(
            error,
            format!("it belongs to uid {other}, who could replace it: run `chown {me} /k`")
        );
        assert!(check_private(Path::new("/k"), 0, 0o600, Group::Shared).is_ok());
    }

    #[test]
    fn a_group_that_only_this_process_is_in_may_read_and_no_more() {
        let check = |mode, group| check_private(Path::new("/k"), 0, mode, group);
        for mode in [0o440, 0o640, 0o400] {
            assert_eq!(check(mode, Group::OursAlone), Ok(()), "{mode:o}");
        }
        for mode in [0o660, 0o444, 0o450, 0o604] {
            assert!(check(mode, Group::OursAlone).is_err(), "{mode:o}");
        }
        let refused = check(0o440, Group::Shared).unwrap_err();
        assert_eq!(
            refused,
            "it is open to others than its owner (mode 0440): run `chmod 600 /k`"
        );
        // The group is root's, or one that this process is not in.
        let (_dir, path) = file(0o440, b"s3cret");
        assert!(read(&path, Access::Private).is_err());
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, None, Some(65_000)).unwrap();
            assert!(read(&path, Access::Private).is_err());
        }
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let (_dir, empty) = file(0o600, b"\n");
        assert_eq!(refused(&empty), "it is empty");
        let (_dir, binary) = file(0o600, &[0xff, 0x00]);
        assert_eq!(refused(&binary), "it is not UTF-8 text");
        let (_dir, wide) = file(0o600, b"\xff\xfek\0");
        assert!(refused(&wide).contains("UTF-16"));
        let (dir, long) = file(0o600, &vec![b'a'; 70_000]);
        assert_eq!(refused(&long), "it is longer than 65536 bytes");
        assert_eq!(refused(dir.path()), "it is not a regular file");
        assert_eq!(refused(&dir.path().join("none")), "there is no such file");
    }

    #[test]
    fn a_fifo_does_not_hold_up_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        assert_eq!(refused(&path), "it is not a regular file");
    }
}
