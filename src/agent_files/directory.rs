//! An agent's directory on disk.
//!
//! The agent may be root inside its container and hold the directory mounted for writing, so nothing in it
//! is trusted: every name is used relative to a directory that was opened without following links, files are
//! made anew under a name of their own and renamed into place, and nothing that was there is written through.

use std::{
    ffi::CStr,
    fs,
    hash::RandomState,
    io::Read,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid},
    io::Errno,
    path::Arg,
};
use zeroize::Zeroizing;

use super::{
    entry::{Entry, Owner},
    error::FileError,
    mark::Mark,
    tree::{self, OPEN_DIR, Trash},
};

/// Far more than any of an agent's files.
const MOST_READ: usize = 1024 * 1024;

/// Takes away what the daemon put into an agent's directory.
pub(crate) fn unlink_entries(dir: &OwnedFd) {
    for entry in Entry::ALL {
        for name in [entry.name(), entry.temporary()] {
            let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
        }
    }
}

/// Why the system refused something in `parent`: what somebody locked is named as that.
pub(crate) fn refused<P: Arg>(
    parent: BorrowedFd<'_>,
    name: P,
    doing: &'static str,
    entry: Option<Entry>,
    error: Errno,
) -> FileError {
    if error == Errno::PERM && (tree::is_locked(parent, name) || tree::is_locked(parent, c"")) {
        return FileError::Locked { doing, entry };
    }
    FileError::os(doing, entry, error)
}

/// An agent's directory, opened for a look.
pub(crate) struct Look(pub(crate) OwnedFd);

impl Look {
    /// How the directory is.
    pub(crate) fn mark(&self, keys: &RandomState) -> Option<Mark> {
        let stat = rustix::fs::fstat(&self.0).ok()?;
        Some(Mark::of_directory(&stat, keys))
    }

    /// How an entry is; `None` where there is none.
    pub(crate) fn entry(&self, entry: Entry, keys: &RandomState) -> Option<Mark> {
        mark_of(self.0.as_fd(), entry, keys)
    }
}

fn mark_of(dir: BorrowedFd<'_>, entry: Entry, keys: &RandomState) -> Option<Mark> {
    let stat = rustix::fs::statat(dir, entry.name(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(Mark::of(&stat, keys))
}

/// An agent's directory, held open for one round of writing.
pub(crate) struct AgentDir {
    pub(crate) fd: OwnedFd,
    pub(crate) owner: Owner,
    pub(crate) euid: u32,
    /// The directory was not there before.
    pub(crate) made: bool,
    /// Where what was planted goes; the directory itself where there is no other place.
    pub(crate) trash: Option<Trash>,
}

impl AgentDir {
    /// Opens a directory that containers share and that somebody else made. Where it is setgid, as the kubelet makes a
    /// volume of a pod with `fsGroup`, its group may read what is in it; else this process's user alone.
    pub(crate) fn shared(path: &Path) -> Result<Self, FileError> {
        let failed = |error| FileError::os("opened", None, error);
        // The path is the operator's own, and may lead through links.
        let fd =
            rustix::fs::open(path, OPEN_DIR.difference(OFlags::NOFOLLOW), Mode::empty()).map_err(failed)?;
        let stat = rustix::fs::fstat(&fd).map_err(failed)?;
        let has_group = Mode::from_raw_mode(stat.st_mode).contains(Mode::SGID);
        Ok(Self {
            fd,
            owner: Owner {
                uid: None,
                gid: has_group.then_some(stat.st_gid),
            },
            euid: rustix::process::geteuid().as_raw(),
            made: false,
            trash: None,
        })
    }

    /// True when the directory was not there before.
    pub(crate) fn was_made(&self) -> bool {
        self.made
    }

    /// Who may read it.
    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    /// Removes what a process that was killed was making: it may hold a token.
    pub(crate) fn sweep(&self) {
        for entry in Entry::ALL {
            let _ = self.remove_temporary(entry);
        }
    }

    /// Removes whatever is where an entry's successor is made.
    pub(crate) fn remove_temporary(&self, entry: Entry) -> rustix::io::Result<()> {
        self.discard(entry.temporary())
    }

    /// Frees a name, whatever was planted there.
    fn discard(&self, name: &CStr) -> rustix::io::Result<()> {
        if let Some(trash) = &self.trash {
            return trash.discard(self.fd.as_fd(), name);
        }
        if tree::discard(self.fd.as_fd(), name, self.fd.as_fd())? {
            // What is left is swept with what is planted next.
            let _ = tree::sweep(self.fd.as_fd(), tree::SWEPT_AT_ONCE);
        }
        Ok(())
    }

    /// How the directory is.
    pub(crate) fn mark(&self, keys: &RandomState) -> Option<Mark> {
        let stat = rustix::fs::fstat(&self.fd).ok()?;
        Some(Mark::of_directory(&stat, keys))
    }

    /// How an entry is; `None` where there is none.
    pub(crate) fn entry(&self, entry: Entry, keys: &RandomState) -> Option<Mark> {
        mark_of(self.fd.as_fd(), entry, keys)
    }

    /// The directory itself.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The daemon owns the directory, so that only root can plant something in it.
    pub(crate) fn assert_ownership(&self) -> Result<(), FileError> {
        let failed = |error| FileError::os("protected", None, error);
        let stat = rustix::fs::fstat(&self.fd).map_err(failed)?;
        let gid = self.owner.gid.filter(|gid| *gid != stat.st_gid);
        let uid = Some(self.euid).filter(|uid| *uid != stat.st_uid);
        if uid.is_some() || gid.is_some() {
            rustix::fs::fchown(&self.fd, uid.map(Uid::from_raw), gid.map(Gid::from_raw))
                .map_err(|error| self.chown_refused(error))?;
        }
        let mode = self.owner.dir_mode();
        if Mode::from_raw_mode(stat.st_mode) != mode {
            rustix::fs::fchmod(&self.fd, mode).map_err(failed)?;
        }
        Ok(())
    }

    /// Replaces a file; a reader sees the old content or the new one, whole. Returns how the new one is.
    pub(crate) fn write(&self, entry: Entry, content: &[u8], keys: &RandomState) -> Result<Mark, FileError> {
        let written = self.make(entry, content).and_then(|file| {
            self.put_in_place(entry)?;
            // Of what was written, not of what has its name by now.
            rustix::fs::fstat(&file).map_err(|error| FileError::os("written", Some(entry), error))
        });
        let stat = written.inspect_err(|_| {
            let _ = rustix::fs::unlinkat(&self.fd, entry.temporary(), AtFlags::empty());
        })?;
        Ok(Mark::of(&stat, keys))
    }

    fn make(&self, entry: Entry, content: &[u8]) -> Result<OwnedFd, FileError> {
        let failed = |error| refused(self.fd.as_fd(), entry.temporary(), "written", Some(entry), error);
        let file = self.create(entry).map_err(failed)?;
        // The mode first: once the file is somebody else's, changing it takes a capability more. It is empty
        // until then.
        if self.owner.gid.is_some() {
            rustix::fs::fchmod(&file, self.owner.file_mode()).map_err(failed)?;
        }
        if let Some((uid, gid)) = self.foreign_owner() {
            rustix::fs::fchown(&file, uid, gid).map_err(|error| self.chown_refused(error))?;
        }
        let mut rest = content;
        while !rest.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, rest)).map_err(failed)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(file)
    }

    fn create(&self, entry: Entry) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&self.fd, entry.temporary(), flags, Mode::RUSR);
        match open() {
            Err(Errno::EXIST) => {
                self.remove_temporary(entry)?;
                open()
            }
            result => result,
        }
    }

    /// Renames what was made at the temporary name to the name that agents know.
    pub(crate) fn put_in_place(&self, entry: Entry) -> Result<(), FileError> {
        let rename = || rustix::fs::renameat(&self.fd, entry.temporary(), &self.fd, entry.name());
        match rename() {
            // A directory was planted there.
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => {
                self.discard(entry.name()).and_then(|()| rename())
            }
            result => result,
        }
        .map_err(|error| refused(self.fd.as_fd(), entry.name(), "replaced", Some(entry), error))
    }

    /// Reads a file that an earlier process wrote; `None` for anything else that has its name.
    pub(crate) fn read(&self, entry: Entry) -> Option<Zeroizing<String>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, entry.name(), flags, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        let size = usize::try_from(stat.st_size)
            .ok()
            .filter(|size| *size <= MOST_READ)?;
        let is_own = stat.st_uid == self.euid && FileType::from_raw_mode(stat.st_mode).is_file();
        // Enough for the whole text: growing would leave a copy of a token behind.
        let mut text = Zeroizing::new(String::with_capacity(size + 1));
        let mut file = fs::File::from(file).take(MOST_READ as u64);
        file.read_to_string(&mut text).ok().filter(|_| is_own)?;
        Some(text)
    }

    /// Removes a file. It is fine if there is none.
    pub(crate) fn remove(&self, entry: Entry) -> Result<(), FileError> {
        self.discard(entry.name())
            .map_err(|error| refused(self.fd.as_fd(), entry.name(), "removed", Some(entry), error))
    }

    /// The owner to give to a new entry; `None` when the daemon's own will do.
    pub(crate) fn foreign_owner(&self) -> Option<(Option<Uid>, Option<Gid>)> {
        let uid = self.owner.uid.filter(|uid| *uid != self.euid);
        let gid = self.owner.gid;
        (uid.is_some() || gid.is_some()).then(|| (uid.map(Uid::from_raw), gid.map(Gid::from_raw)))
    }

    pub(crate) fn chown_refused(&self, error: Errno) -> FileError {
        FileError::Chown {
            owner: self.owner,
            euid: self.euid,
            error,
        }
    }
}

#[cfg(test)]
mod tests;
