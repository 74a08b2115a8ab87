//! An agent's directory on disk.
//!
//! The agent may be root inside its container and hold the directory mounted for writing, so nothing in it
//! is trusted: every name is used relative to a directory that was opened without following links, files are
//! made anew under a name of their own and renamed into place, and nothing that was there is written through.

use std::{
    ffi::CStr,
    fs,
    io::Read,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, Uid},
    io::Errno,
};
use zeroize::Zeroizing;

use super::{
    error::{DeliveryError, FileError},
    tree,
};
use crate::id::AgentName;

/// Directories are opened like this: never through a link, never kept by a child process.
pub(super) const OPEN_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Far more than any of an agent's files.
const MOST_READ: usize = 1024 * 1024;

/// An agent that leaves more than this in its directory gets no chance to leave it to the next.
const MOST_LEFT: usize = 256;

/// Who may read what an agent's directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Owner {
    /// The owner of the files; the daemon's own user when absent.
    pub(super) uid: Option<u32>,
    /// The group that may read as well.
    pub(super) gid: Option<u32>,
}

impl Owner {
    fn dir_mode(self) -> Mode {
        Mode::from_bits_truncate(if self.gid.is_some() { 0o750 } else { 0o755 })
    }

    fn file_mode(self) -> Mode {
        Mode::from_bits_truncate(if self.gid.is_some() { 0o440 } else { 0o400 })
    }

    /// The mode of the socket.
    pub(super) fn socket_mode(self) -> Mode {
        Mode::from_bits_truncate(if self.gid.is_some() { 0o660 } else { 0o600 })
    }
}

/// What an agent's directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// The dotenv file.
    Env,
    /// The bare token.
    AccessToken,
    /// The credential file for Google's libraries.
    Credentials,
    /// The one for those that know no other than workload identity federation.
    ExternalCredentials,
    /// The state.
    Status,
    /// The socket.
    Socket,
}

impl Entry {
    /// The name that agents know.
    pub(super) fn name(self) -> &'static CStr {
        match self {
            Self::Env => c"env",
            Self::AccessToken => c"access_token",
            Self::Credentials => c"adc.json",
            Self::ExternalCredentials => c"adc-external.json",
            Self::Status => c"status.json",
            Self::Socket => c"broker.sock",
        }
    }

    /// Where its successor is made. A name that never varies, so that what a crash leaves there is replaced
    /// by the next write.
    pub(super) fn temporary(self) -> &'static CStr {
        match self {
            Self::Env => c".env.new",
            Self::AccessToken => c".access_token.new",
            Self::Credentials => c".adc.json.new",
            Self::ExternalCredentials => c".adc-external.json.new",
            Self::Status => c".status.json.new",
            Self::Socket => c".broker.sock.new",
        }
    }

    pub(super) const ALL: [Self; 6] = [
        Self::Env,
        Self::AccessToken,
        Self::Credentials,
        Self::ExternalCredentials,
        Self::Status,
        Self::Socket,
    ];
}

/// Makes a folder and what is missing above it. Agents of other users pass through, whatever the umask.
fn make_folders(folder: &Path) -> std::io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
    for path in missing.into_iter().rev() {
        fs::create_dir(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o711))?;
    }
    Ok(())
}

/// The runtime directory, with the `agents` directory held open.
pub(super) struct Runtime {
    agents: OwnedFd,
    path: PathBuf,
    euid: u32,
}

impl Runtime {
    /// Opens `<runtime_dir>/agents`, makes what is missing, and claims it for this daemon alone: two would
    /// write over each other's files.
    pub(super) fn open(runtime_dir: &Path) -> Result<Self, DeliveryError> {
        let problem = |doing: &'static str| {
            move |error| DeliveryError::RuntimeDir {
                path: runtime_dir.to_owned(),
                doing,
                error,
            }
        };
        make_folders(runtime_dir).map_err(problem("created"))?;
        let agents = Self::open_agents(runtime_dir)
            .map_err(std::io::Error::from)
            .map_err(problem("used"))?;
        let path = runtime_dir.join("agents");
        let euid = rustix::process::geteuid().as_raw();
        let stat = rustix::fs::fstat(&agents)
            .map_err(std::io::Error::from)
            .map_err(problem("used"))?;
        if stat.st_uid != euid {
            return Err(DeliveryError::ForeignDirectory {
                path,
                found: stat.st_uid,
                euid,
            });
        }
        // Held as long as the directory is open here. The kernel lets go of it when the process ends, however it
        // ends.
        match rustix::fs::flock(&agents, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(DeliveryError::InUse(runtime_dir.to_owned())),
            Err(error) => return Err(problem("claimed")(error.into())),
        }
        // Whoever knows an agent's name may pass, nobody may list them.
        rustix::fs::fchmod(&agents, Mode::from_bits_truncate(0o711))
            .map_err(std::io::Error::from)
            .map_err(problem("protected"))?;
        Ok(Self { agents, path, euid })
    }

    fn open_agents(runtime_dir: &Path) -> rustix::io::Result<OwnedFd> {
        // The operator's own path may well lead through a link, as /var/run does.
        let flags = OPEN_DIR.difference(OFlags::NOFOLLOW);
        let runtime = rustix::fs::open(runtime_dir, flags, Mode::empty())?;
        match rustix::fs::mkdirat(&runtime, c"agents", Mode::from_bits_truncate(0o711)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        rustix::fs::openat(&runtime, c"agents", OPEN_DIR, Mode::empty())
    }

    /// Where an agent's directory is.
    pub(super) fn path_of(&self, name: &AgentName) -> PathBuf {
        self.path.join(name.as_str())
    }

    /// The daemon's own user.
    pub(super) fn euid(&self) -> u32 {
        self.euid
    }

    /// Opens an agent's directory, making it if need be.
    pub(super) fn agent(&self, name: &AgentName, owner: Owner) -> Result<AgentDir, FileError> {
        let failed = |error| FileError::os("opened", None, error);
        let mut made = false;
        let fd = loop {
            match rustix::fs::openat(&self.agents, name.as_str(), OPEN_DIR, Mode::empty()) {
                Ok(fd) => break fd,
                Err(Errno::NOENT) if !made => {
                    made = true;
                    rustix::fs::mkdirat(&self.agents, name.as_str(), Mode::RWXU)
                        .map_err(|error| FileError::os("created", None, error))?;
                }
                // Something else has the name: a link, a file.
                Err(Errno::NOTDIR | Errno::LOOP) if !made => {
                    rustix::fs::unlinkat(&self.agents, name.as_str(), AtFlags::empty()).map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            }
        };
        Ok(AgentDir {
            fd,
            owner,
            euid: self.euid,
            made,
        })
    }

    /// Takes away what is in an agent's directory, and the directory from whoever had it: a container that has it mounted
    /// keeps an empty one. Where an agent left more in it than that takes a moment, the directory goes with it.
    pub(super) fn empty(&self, name: &AgentName) -> Result<(), FileError> {
        let failed = |error| FileError::os("emptied", None, error);
        let dir = match rustix::fs::openat(&self.agents, name.as_str(), OPEN_DIR, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(()),
            Err(_) => return self.remove(name),
        };
        // First what counts.
        for entry in Entry::ALL {
            let _ = rustix::fs::unlinkat(&dir, entry.name(), AtFlags::empty());
        }
        let names = tree::some_names(dir.as_fd(), MOST_LEFT + 1).map_err(failed)?;
        if names.len() > MOST_LEFT {
            return self.remove(name);
        }
        for left in &names {
            tree::remove(dir.as_fd(), left.as_c_str()).map_err(failed)?;
        }
        rustix::fs::fchmod(&dir, Mode::RWXU).map_err(failed)
    }

    /// Removes an agent's directory with all that is in it. It is fine if there is none.
    pub(super) fn remove(&self, name: &AgentName) -> Result<(), FileError> {
        let failed = |error| FileError::os("removed", None, error);
        match rustix::fs::openat(&self.agents, name.as_str(), OPEN_DIR, Mode::empty()) {
            // First what counts. A container that has the directory mounted loses it too.
            Ok(dir) => {
                for entry in Entry::ALL {
                    let _ = rustix::fs::unlinkat(&dir, entry.name(), AtFlags::empty());
                }
            }
            Err(Errno::NOENT) => return Ok(()),
            Err(_) => {}
        }
        tree::remove(self.agents.as_fd(), name.as_str()).map_err(failed)
    }

    /// The agents that have a directory.
    pub(super) fn agents(&self) -> rustix::io::Result<Vec<AgentName>> {
        let names = tree::names(self.agents.as_fd())?;
        Ok(names
            .iter()
            .filter_map(|name| name.to_str().ok()?.parse().ok())
            .collect())
    }

    /// Finishes the removals that a killed process had begun.
    pub(super) fn remove_leftovers(&self) {
        let names = tree::names(self.agents.as_fd()).unwrap_or_default();
        for name in names
            .iter()
            .filter(|name| name.to_bytes().starts_with(tree::REMOVED.as_bytes()))
        {
            if let Err(error) = tree::remove(self.agents.as_fd(), name.as_c_str()) {
                tracing::warn!(?name, %error, "what is left of a removed agent cannot be removed");
            }
        }
    }
}

/// An agent's directory, held open for one round of writing.
pub(super) struct AgentDir {
    fd: OwnedFd,
    owner: Owner,
    euid: u32,
    made: bool,
}

impl AgentDir {
    /// Opens a directory that containers share and that somebody else made. Where it is setgid, as the kubelet makes a
    /// volume of a pod with `fsGroup`, its group may read what is in it; else this process's user alone.
    pub(super) fn shared(path: &Path) -> Result<Self, FileError> {
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
        })
    }

    /// True when the directory was not there before.
    pub(super) fn was_made(&self) -> bool {
        self.made
    }

    /// Who may read it.
    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    /// Removes what a process that was killed was making: it may hold a token.
    pub(super) fn sweep(&self) {
        for entry in Entry::ALL {
            let _ = self.remove_temporary(entry);
        }
    }

    /// Removes whatever is where an entry's successor is made.
    pub(super) fn remove_temporary(&self, entry: Entry) -> rustix::io::Result<()> {
        tree::remove(self.fd.as_fd(), entry.temporary())
    }

    /// The directory itself.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The daemon owns the directory, so that only root can plant something in it.
    pub(super) fn assert_ownership(&self) -> Result<(), FileError> {
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

    /// Replaces a file; a reader sees the old content or the new one, whole.
    pub(super) fn write(&self, entry: Entry, content: &[u8]) -> Result<(), FileError> {
        self.make(entry, content)
            .and_then(|()| self.put_in_place(entry))
            .inspect_err(|_| {
                let _ = rustix::fs::unlinkat(&self.fd, entry.temporary(), AtFlags::empty());
            })
    }

    fn make(&self, entry: Entry, content: &[u8]) -> Result<(), FileError> {
        let failed = |error| FileError::os("written", Some(entry), error);
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
        Ok(())
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
    pub(super) fn put_in_place(&self, entry: Entry) -> Result<(), FileError> {
        let rename = || rustix::fs::renameat(&self.fd, entry.temporary(), &self.fd, entry.name());
        match rename() {
            // A directory was planted there.
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => {
                tree::remove(self.fd.as_fd(), entry.name()).and_then(|()| rename())
            }
            result => result,
        }
        .map_err(|error| FileError::os("replaced", Some(entry), error))
    }

    /// Reads a file that an earlier process wrote; `None` for anything else that has its name.
    pub(super) fn read(&self, entry: Entry) -> Option<Zeroizing<String>> {
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
    pub(super) fn remove(&self, entry: Entry) -> Result<(), FileError> {
        tree::remove(self.fd.as_fd(), entry.name())
            .map_err(|error| FileError::os("removed", Some(entry), error))
    }

    /// The owner to give to a new entry; `None` when the daemon's own will do.
    pub(super) fn foreign_owner(&self) -> Option<(Option<Uid>, Option<Gid>)> {
        let uid = self.owner.uid.filter(|uid| *uid != self.euid);
        let gid = self.owner.gid;
        (uid.is_some() || gid.is_some()).then(|| (uid.map(Uid::from_raw), gid.map(Gid::from_raw)))
    }

    pub(super) fn chown_refused(&self, error: Errno) -> FileError {
        FileError::Chown {
            owner: self.owner,
            euid: self.euid,
            error,
        }
    }
}

#[cfg(test)]
mod tests;
