//! Removing what an agent may have filled with anything.

use std::{
    ffi::CString,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{AtFlags, Dir, Mode, RenameFlags},
    io::Errno,
    path::Arg,
};

use super::directory::OPEN_DIR;

/// How names of directories start that are being removed. No agent can be called like that.
pub(super) const REMOVED: &str = ".removed-";
/// How many names are held in memory at once, however many there are.
const CHUNK: usize = 512;
/// How often a directory is emptied that somebody keeps filling.
const PASSES: usize = 4096;

/// Removes `name` in `parent`, whatever it is; links are removed, not followed. It is fine if there is none.
///
/// A directory is renamed first, so that it is gone from its place at once, and nested ones are moved up
/// before they are emptied: however deep and many they are, two descriptors and no stack are enough.
pub(super) fn remove<P: Arg + Copy>(parent: BorrowedFd<'_>, name: P) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let mut trash = Trash::new(parent);
    trash.take(parent, name)?;
    trash.empty_all()
}

/// Directories on their way out, numbered, so that none of their names has to be remembered.
struct Trash<'a> {
    parent: BorrowedFd<'a>,
    id: u64,
    taken: u64,
}

impl<'a> Trash<'a> {
    fn new(parent: BorrowedFd<'a>) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Self { parent, id, taken: 0 }
    }

    fn place(&self, number: u64) -> String {
        format!("{REMOVED}{}-{number}", self.id)
    }

    /// Moves a directory to a name that is free.
    fn take<P: Arg + Copy>(&mut self, from: BorrowedFd<'_>, name: P) -> rustix::io::Result<()> {
        loop {
            let place = self.place(self.taken);
            self.taken += 1;
            match rustix::fs::renameat_with(from, name, self.parent, place, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                result => return result,
            }
        }
    }

    fn empty_all(&mut self) -> rustix::io::Result<()> {
        let mut number = 0;
        while number < self.taken {
            self.empty(&self.place(number))?;
            number += 1;
        }
        Ok(())
    }

    fn empty(&mut self, place: &str) -> rustix::io::Result<()> {
        let directory = match rustix::fs::openat(self.parent, place, OPEN_DIR, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return rustix::fs::unlinkat(self.parent, place, AtFlags::empty());
            }
            Err(error) => return Err(error),
        };
        for _ in 0..PASSES {
            for name in some_names(directory.as_fd(), CHUNK)? {
                match rustix::fs::unlinkat(&directory, &name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(Errno::ISDIR | Errno::PERM) => self.take(directory.as_fd(), &name)?,
                    Err(error) => return Err(error),
                }
            }
            match rustix::fs::unlinkat(self.parent, place, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::NOTEMPTY)
    }
}

/// The names in a directory, without `.` and `..`.
pub(super) fn names(directory: BorrowedFd<'_>) -> rustix::io::Result<Vec<CString>> {
    some_names(directory, usize::MAX)
}

/// At most `limit` of the names in a directory, without `.` and `..`.
pub(super) fn some_names(directory: BorrowedFd<'_>, limit: usize) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
        if names.len() == limit {
            break;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn opened(path: &std::path::Path) -> std::os::fd::OwnedFd {
        rustix::fs::open(path, OPEN_DIR, Mode::empty()).unwrap()
    }

    #[test]
    fn junk_goes_and_what_links_point_to_stays() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        let victim = temp.path().join("victim");
        fs::create_dir_all(victim.join("a/b/c")).unwrap();
        fs::write(victim.join("a/b/c/file"), "x").unwrap();
        fs::write(victim.join(".removed-0-0"), "planted").unwrap();
        symlink(&outside, victim.join("a/link")).unwrap();
        symlink("/nowhere", victim.join("dangling")).unwrap();
        for number in 0..CHUNK + 10 {
            fs::write(victim.join(format!("junk-{number}")), "").unwrap();
        }
        let parent = opened(temp.path());
        remove(parent.as_fd(), "victim").unwrap();
        assert_eq!(names(parent.as_fd()).unwrap(), [c"outside".to_owned()]);
        assert!(outside.join("kept").exists());
        remove(parent.as_fd(), "victim").unwrap();
    }

    #[test]
    fn nesting_deeper_than_the_limit_of_open_files_goes_too() {
        let temp = tempfile::tempdir().unwrap();
        let parent = opened(temp.path());
        let mut inner = opened(temp.path());
        for _ in 0..3000 {
            rustix::fs::mkdirat(&inner, "d", Mode::RWXU).unwrap();
            inner = rustix::fs::openat(&inner, "d", OPEN_DIR, Mode::empty()).unwrap();
        }
        remove(parent.as_fd(), "d").unwrap();
        assert!(names(parent.as_fd()).unwrap().is_empty());
    }

    #[test]
    fn a_link_itself_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("real")).unwrap();
        symlink("real", temp.path().join("link")).unwrap();
        remove(opened(temp.path()).as_fd(), "link").unwrap();
        assert!(temp.path().join("real").is_dir());
        assert!(temp.path().join("link").symlink_metadata().is_err());
    }
}
