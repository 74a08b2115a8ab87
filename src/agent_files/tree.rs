//! Removing what an agent may have filled with anything.
//!
//! A name is freed at once, whatever it is of: a directory is renamed away, into a folder that serves as the trash. What
//! is in the trash is removed in small steps ([`sweep`]), so that nobody waits for the million files of an agent that
//! went.

use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags, RenameFlags, StatxAttributes, StatxFlags, Uid},
    io::Errno,
    path::Arg,
};

/// Directories are opened like this: never through a link, never kept by a child process.
pub(crate) const OPEN_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// How names of directories start that are being removed. No agent can be called like that.
pub(crate) const REMOVED: &str = ".removed-";
/// How many names are held in memory at once, however many there are.
const CHUNK: usize = 512;

/// How many entries of the trash are removed in one step.
pub(crate) const SWEPT_AT_ONCE: usize = 4096;

/// Where what is to be removed is moved to.
#[derive(Clone)]
pub(crate) struct Trash {
    pub(crate) folder: Arc<OwnedFd>,
    /// Something was moved there since that was asked last.
    pub(crate) is_used: Arc<AtomicBool>,
}

impl Trash {
    /// Frees `name` in `parent`, as [`discard`] does.
    pub(crate) fn discard<P: Arg + Copy>(&self, parent: BorrowedFd<'_>, name: P) -> rustix::io::Result<()> {
        if discard(parent, name, self.folder.as_fd())? {
            self.is_used.store(true, Ordering::Release);
        }
        Ok(())
    }
}

/// Frees `name` in `parent`, whatever it is; links are removed, not followed. It is fine if there is none. True when
/// something was moved to `trash`.
pub(crate) fn discard<P: Arg + Copy>(
    parent: BorrowedFd<'_>,
    name: P,
    trash: BorrowedFd<'_>,
) -> rustix::io::Result<bool> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(false),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    match move_away(parent, name, trash) {
        // Only who may write a directory moves it elsewhere.
        Err(error @ (Errno::ACCESS | Errno::PERM)) => {
            take_back(parent, name).map_err(|_| error)?;
            move_away(parent, name, trash)?;
        }
        moved => moved?,
    }
    Ok(true)
}

/// Moves a directory to a name in the trash that is free.
fn move_away<P: Arg + Copy>(
    parent: BorrowedFd<'_>,
    name: P,
    trash: BorrowedFd<'_>,
) -> rustix::io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let place = format!("{REMOVED}{}", NEXT.fetch_add(1, Ordering::Relaxed));
        match rustix::fs::renameat_with(parent, name, trash, place, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            result => return result,
        }
    }
}

/// Opens a directory, also one that an agent made its own and closed to everybody else.
pub(crate) fn open<P: Arg + Copy>(parent: BorrowedFd<'_>, name: P) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::openat(parent, name, OPEN_DIR, Mode::empty()) {
        Err(Errno::ACCESS) => {
            take_back(parent, name)?;
            rustix::fs::openat(parent, name, OPEN_DIR, Mode::empty())
        }
        opened => opened,
    }
}

/// Makes a directory this process's own again, and nobody else's. It takes `CAP_CHOWN` where an agent owns it.
fn take_back<P: Arg>(parent: BorrowedFd<'_>, name: P) -> rustix::io::Result<()> {
    // Opened so that it needs no permission of the directory's own, and that the two changes go to one and the same.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let own = rustix::process::geteuid();
    let stat = rustix::fs::fstat(&directory)?;
    if Uid::from_raw(stat.st_uid) != own {
        rustix::fs::chownat(&directory, c"", Some(own), None, AtFlags::EMPTY_PATH)?;
    }
    // `fchmod` refuses descriptors that only name a path; the link in /proc leads to the directory itself.
    rustix::fs::chmod(format!("/proc/self/fd/{}", directory.as_raw_fd()), Mode::RWXU)
}

/// Removes what is in the trash, about `budget` entries of it. True when there is more.
///
/// Directories within directories are moved up before they are emptied: however deep and many they are, two descriptors
/// and no stack are enough.
///
/// # Errors
/// What keeps something from being removed. The rest is removed all the same.
pub(crate) fn sweep(trash: BorrowedFd<'_>, mut budget: usize) -> rustix::io::Result<bool> {
    loop {
        let places = removed_names(trash)?;
        if places.is_empty() || budget == 0 {
            return Ok(!places.is_empty());
        }
        let (mut removed, mut failed) = (0, None);
        for place in places {
            match empty(trash, &place, &mut budget) {
                Ok(()) => removed += 1,
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed.filter(|_| removed == 0) {
            return Err(error);
        }
    }
}

/// Whether there is anything to sweep.
pub(crate) fn has_trash(trash: BorrowedFd<'_>) -> bool {
    removed_names(trash).is_ok_and(|names| !names.is_empty())
}

fn removed_names(trash: BorrowedFd<'_>) -> rustix::io::Result<Vec<CString>> {
    let is_removed = |name: &CStr| name.to_bytes().starts_with(REMOVED.as_bytes());
    chosen_names(trash, CHUNK, is_removed)
}

fn empty(trash: BorrowedFd<'_>, place: &CStr, budget: &mut usize) -> rustix::io::Result<()> {
    let directory = match open(trash, place) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return rustix::fs::unlinkat(trash, place, AtFlags::empty()),
        Err(error) => return Err(error),
    };
    loop {
        if *budget == 0 {
            return Ok(());
        }
        *budget -= 1;
        match rustix::fs::unlinkat(trash, place, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        let names = some_names(directory.as_fd(), CHUNK.min(*budget))?;
        let (mut freed, mut failed) = (0, None);
        for name in &names {
            match clear(directory.as_fd(), name, trash, place) {
                Ok(()) => freed += 1,
                Err(error) => failed = Some(error),
            }
            *budget = budget.saturating_sub(1);
        }
        if let Some(error) = failed.filter(|_| freed == 0) {
            return Err(error);
        }
    }
}

fn clear(
    directory: BorrowedFd<'_>,
    name: &CStr,
    trash: BorrowedFd<'_>,
    place: &CStr,
) -> rustix::io::Result<()> {
    match discard(directory, name, trash) {
        Err(error @ Errno::ACCESS) => {
            // It could be read all the while, and is not this process's own.
            take_back(trash, place).map_err(|_| error)?;
            discard(directory, name, trash).map(drop)
        }
        discarded => discarded.map(drop),
    }
}

/// Whether somebody made it so that not even its owner may change or remove it (`chattr +i`, `chattr +a`).
pub(crate) fn is_locked<P: Arg>(parent: BorrowedFd<'_>, name: P) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let locked = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
    rustix::fs::statx(parent, name, flags, StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.intersects(locked))
}

/// The names in a directory, without `.` and `..`.
pub(crate) fn names(directory: BorrowedFd<'_>) -> rustix::io::Result<Vec<CString>> {
    some_names(directory, usize::MAX)
}

/// At most `limit` of the names in a directory, without `.` and `..`.
pub(crate) fn some_names(directory: BorrowedFd<'_>, limit: usize) -> rustix::io::Result<Vec<CString>> {
    chosen_names(directory, limit, |_| true)
}

fn chosen_names(
    directory: BorrowedFd<'_>,
    limit: usize,
    choose: impl Fn(&CStr) -> bool,
) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        if names.len() >= limit {
            break;
        }
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." && choose(name) {
            names.push(name.to_owned());
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
        assert!(discard(parent.as_fd(), "victim", parent.as_fd()).unwrap());
        assert!(!victim.exists(), "its name is free at once");
        assert!(!sweep(parent.as_fd(), usize::MAX).unwrap());
        assert_eq!(names(parent.as_fd()).unwrap(), [c"outside".to_owned()]);
        assert!(outside.join("kept").exists());
        assert!(!discard(parent.as_fd(), "victim", parent.as_fd()).unwrap());
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
        discard(parent.as_fd(), "d", parent.as_fd()).unwrap();
        assert!(!sweep(parent.as_fd(), usize::MAX).unwrap());
        assert!(names(parent.as_fd()).unwrap().is_empty());
    }

    #[test]
    fn a_link_itself_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("real")).unwrap();
        symlink("real", temp.path().join("link")).unwrap();
        let parent = opened(temp.path());
        discard(parent.as_fd(), "link", parent.as_fd()).unwrap();
        assert!(temp.path().join("real").is_dir());
        assert!(temp.path().join("link").symlink_metadata().is_err());
    }

    #[test]
    fn a_step_is_bounded_and_the_next_goes_on() {
        let temp = tempfile::tempdir().unwrap();
        let parent = opened(temp.path());
        for victim in 0..4 {
            let victim = temp.path().join(format!("victim-{victim}"));
            fs::create_dir_all(victim.join("deep")).unwrap();
            for number in 0..100 {
                fs::write(victim.join(format!("deep/{number}")), "").unwrap();
            }
            discard(parent.as_fd(), victim.file_name().unwrap(), parent.as_fd()).unwrap();
        }
        let mut steps = 1;
        while sweep(parent.as_fd(), 50).unwrap() {
            assert!(has_trash(parent.as_fd()));
            steps += 1;
        }
        assert!((9..30).contains(&steps), "{steps} steps for 408 entries");
        assert!(names(parent.as_fd()).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_removed_keeps_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let victim = temp.path().join("victim");
        fs::create_dir_all(victim.join("mounted")).unwrap();
        for number in 0..10 {
            fs::write(victim.join(number.to_string()), "").unwrap();
        }
        let Some(mounted) = crate::testing::small_tmpfs(&victim.join("mounted"), "64k") else {
            return;
        };
        let parent = opened(temp.path());
        discard(parent.as_fd(), "victim", parent.as_fd()).unwrap();
        assert_eq!(sweep(parent.as_fd(), 1000), Err(Errno::BUSY));
        let left = fs::read_dir(temp.path()).unwrap().next().unwrap().unwrap().path();
        assert_eq!(fs::read_dir(left).unwrap().count(), 1);
        drop(mounted);
        assert_eq!(sweep(parent.as_fd(), 1000), Ok(false));
    }
}
