//! Files that a person names: what lies there instead of a regular file is said by its kind, and nothing is waited for.

use std::{
    fs::{self, File, FileType, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::text::ShowPath;

/// Where the files lie that whoever starts a command hands to it opened, such as the pipes of a shell's `<(…)`.
const HANDED: [&str; 4] = ["/dev/fd", "/dev/stdin", "/proc/self/fd", "/proc/thread-self/fd"];

/// The folders that the kernel keeps this process to, without links, where it does.
static WITHIN: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// From now on the kernel opens nothing to this process but what is in these folders.
pub(crate) fn keep_within(folders: impl IntoIterator<Item = PathBuf>) {
    let real = folders
        .into_iter()
        .filter_map(|folder| folder.canonicalize().ok());
    let _ = WITHIN.set(real.collect());
}

/// Why this process cannot open `path`, whatever its mode says, and what to do; `None` where it lies in a folder that it may
/// reach.
pub(crate) fn beyond(path: &Path) -> Option<String> {
    let within = WITHIN.get()?;
    let real = path.canonicalize().ok()?;
    if within.iter().any(|folder| real.starts_with(folder)) {
        return None;
    }
    let real = real.shown();
    Some(format!(
        "{real} is in no folder that the daemon was told of when it started, and the kernel opens it no other ([sandbox] landlock): \
         restart the daemon"
    ))
}

/// The error, with the reason where [`beyond`] knows it.
pub(crate) fn explained(path: &Path, error: io::Error) -> io::Error {
    match beyond(path) {
        Some(reason) if error.kind() == io::ErrorKind::PermissionDenied => {
            io::Error::new(io::ErrorKind::PermissionDenied, reason)
        }
        _ => error,
    }
}

/// What this is, with its article, where it is no regular file.
pub(crate) fn other_kind(kind: FileType) -> Option<&'static str> {
    if kind.is_file() {
        return None;
    }
    Some(if kind.is_dir() {
        "a folder"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    })
}

/// Opens a regular file, also behind a link.
///
/// # Errors
/// One that names the kind of anything else, or the system's.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // Opening a FIFO must not wait for someone to write to it.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| explained(path, error))?;
    match other_kind(file.metadata()?.file_type()) {
        None => Ok(file),
        Some(kind) => Err(is_other(kind)),
    }
}

/// Opens what a command is given: a file, a device, or what was handed to it opened. It does not wait for somebody who might
/// write to a FIFO that lies in a folder.
///
/// # Errors
/// The system's, or one that names the kind of what cannot be read.
pub(crate) fn input(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    let is_handed = HANDED.iter().any(|place| path.starts_with(place));
    if let Some(kind @ ("a FIFO" | "a folder" | "a socket")) = other_kind(kind)
        && !is_handed
    {
        return Err(is_other(kind));
    }
    File::open(path).map_err(|error| explained(path, error))
}

/// Reads what a command is given ([`input`]), `most` bytes at most.
///
/// # Errors
/// The same, or one that says how long it may be.
pub(crate) fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    read_from(input(path)?, most)
}

/// Reads a regular file ([`open`]), `most` bytes at most, into memory that is wiped and does not move while it fills.
///
/// # Errors
/// The same, or one that says how long it may be.
pub(crate) fn read_whole(path: &Path, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    check_length(&bytes, most)?;
    Ok(bytes)
}

/// Reads to the end, `most` bytes at most.
///
/// # Errors
/// The system's, or one that says how long it may be.
pub(crate) fn read_from(from: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most as u64 + 1).read_to_end(&mut bytes)?;
    check_length(&bytes, most)?;
    Ok(bytes)
}

fn check_length(bytes: &[u8], most: usize) -> io::Result<()> {
    if bytes.len() > most {
        return Err(io::Error::other(format!("it is longer than {most} bytes")));
    }
    Ok(())
}

fn is_other(kind: &str) -> io::Error {
    io::Error::other(format!("it is {kind}, not a regular file"))
}

/// `statfs(2)`'s numbers for file systems in memory.
const TMPFS_MAGIC: i64 = 0x0102_1994;
const RAMFS_MAGIC: i64 = 0x8584_58f6;

/// True for a folder whose files are in memory alone: they do not survive the machine's end.
pub(crate) fn is_in_memory(path: &Path) -> bool {
    // The field's type differs between architectures; the numbers fit all of them.
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_lossless,
        reason = "the type differs between architectures"
    )]
    let kind = rustix::fs::statfs(path).map(|found| found.f_type as i64);
    kind.is_ok_and(|kind| kind == TMPFS_MAGIC || kind & 0xffff_ffff == RAMFS_MAGIC)
}

#[cfg(test)]
mod tests {
    use std::os::{fd::AsRawFd, unix::fs::symlink};

    use super::*;

    #[test]
    fn memory_is_told_from_disk() {
        assert!(!is_in_memory(Path::new("/proc")));
        if Path::new("/dev/shm").is_dir() {
            assert!(is_in_memory(Path::new("/dev/shm")));
        }
    }

    #[test]
    fn only_regular_files_are_opened_and_nobody_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "text").unwrap();
        symlink("file", at("link")).unwrap();
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            at("fifo"),
            rustix::fs::Mode::from_raw_mode(0o600),
        )
        .unwrap();
        for name in ["file", "link"] {
            assert!(open(&at(name)).is_ok(), "{name}");
            assert_eq!(read(&at(name), 4).unwrap(), b"text");
            assert_eq!(read_whole(&at(name), 4).unwrap().as_slice(), b"text");
            assert!(read_whole(&at(name), 3).is_err(), "{name}");
        }
        for (path, kind) in [
            (at("fifo"), "a FIFO"),
            (dir.path().to_owned(), "a folder"),
            ("/dev/null".into(), "a device"),
        ] {
            let error = open(&path).unwrap_err().to_string();
            assert_eq!(error, format!("it is {kind}, not a regular file"));
            assert_eq!(read_whole(&path, 4).unwrap_err().to_string(), error);
        }
        for name in ["fifo", "."] {
            let error = read(&at(name), 4).unwrap_err().to_string();
            assert!(error.ends_with(", not a regular file"), "{error}");
        }
        assert_eq!(
            read(&at("file"), 3).unwrap_err().to_string(),
            "it is longer than 3 bytes"
        );
        assert_eq!(read(Path::new("/dev/null"), 3).unwrap(), b"");
        assert!(read(Path::new("/dev/zero"), 3).is_err(), "it has no end");
    }

    #[test]
    fn a_pipe_that_was_handed_over_is_read() {
        let (reader, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, b"key").unwrap();
        drop(writer);
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        assert_eq!(read(Path::new(&path), 3).unwrap(), b"key");
    }
}
