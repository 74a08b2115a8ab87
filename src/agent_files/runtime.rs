//! The runtime directory: where agents' directories are made, taken back, emptied and removed.
//!
//! What is held open here is compared with what is found by its path ([`Runtime::restore`]): somebody may have removed it,
//! moved it away, or mounted something over it.

use std::{
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use rustix::{
    fs::{AtFlags, FlockOperation, Mode, OFlags, Stat, Uid},
    io::Errno,
};

use super::{
    directory::{AgentDir, Look, refused, unlink_entries},
    error::{DeliveryError, FileError},
    mark, room,
    tree::{self, Trash},
};
use crate::{
    agent_files::{entry::Owner, tree::OPEN_DIR},
    id::AgentName,
    net::folders::make_folders,
    text::ShowPath,
};

/// The mode of folders that agents pass through to what is theirs.
const PASS_THROUGH: Mode = Mode::RWXU.union(Mode::XGRP).union(Mode::XOTH);

/// An agent that leaves more than this in its directory gets no chance to leave it to the next.
const MOST_LEFT: usize = 256;

/// The runtime directory, with the `agents` directory held open.
pub(crate) struct Runtime {
    agents: ArcSwap<OwnedFd>,
    folder: PathBuf,
    path: PathBuf,
    euid: u32,
    has_trash: Arc<AtomicBool>,
}

impl Runtime {
    /// Opens `<runtime_dir>/agents`, makes what is missing, and claims it for this daemon alone: two would
    /// write over each other's files.
    pub(crate) fn open(runtime_dir: &Path) -> Result<Self, DeliveryError> {
        let euid = rustix::process::geteuid().as_raw();
        let agents = claim(runtime_dir, euid)?;
        let has_trash = tree::has_trash(agents.as_fd());
        Ok(Self {
            agents: ArcSwap::from_pointee(agents),
            folder: runtime_dir.to_owned(),
            path: runtime_dir.join("agents"),
            euid,
            has_trash: Arc::new(AtomicBool::new(has_trash)),
        })
    }

    /// Makes sure that what is held open is what agents find by its path, and that nobody else may write to it. Where
    /// somebody removed it, moved it away or mounted something over it, another is made in its place; agents get their
    /// directories anew as they are looked at. True when that was done.
    ///
    /// # Errors
    /// When there can be none.
    pub(crate) fn restore(&self) -> Result<bool, DeliveryError> {
        let held = self.agents.load_full();
        let found = rustix::fs::stat(&self.path);
        let is_held = |found: &Stat| rustix::fs::fstat(&held).is_ok_and(|held| mark::same(&held, found));
        if found.is_ok_and(|found| is_held(&found)) {
            protect(&held, &self.folder, self.euid, true)?;
            return Ok(false);
        }
        let agents = claim(&self.folder, self.euid)?;
        self.agents.store(Arc::new(agents));
        self.has_trash.store(true, Ordering::Release);
        // Containers may have mounted what was moved away or hidden: nobody would renew it or take it away.
        for name in tree::names(held.as_fd()).unwrap_or_default() {
            if let Ok(dir) = tree::open(held.as_fd(), name.as_c_str()) {
                unlink_entries(&dir);
            }
        }
        Ok(true)
    }

    /// Makes sure that something can be written there: whoever's it is, what agents read lies in it.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub(crate) fn can_be_written(&self) -> Result<(), String> {
        let tried = room::try_to_write(self.agents.load().as_fd());
        tried.map_err(|error| format!("{}{error}", self.path.shown()))
    }

    /// Where agents' directories are.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where an agent's directory is.
    pub(crate) fn path_of(&self, name: &AgentName) -> PathBuf {
        self.path.join(name.as_str())
    }

    /// The daemon's own user.
    pub(crate) fn euid(&self) -> u32 {
        self.euid
    }

    /// Opens an agent's directory, making it if need be. One that an agent made its own is taken back.
    pub(crate) fn agent(&self, name: &AgentName, owner: Owner) -> Result<AgentDir, FileError> {
        let agents = self.agents.load_full();
        let mut made = false;
        let fd = loop {
            match tree::open(agents.as_fd(), name.as_str()) {
                Ok(fd) => break fd,
                Err(Errno::NOENT) if !made => {
                    made = true;
                    rustix::fs::mkdirat(&agents, name.as_str(), Mode::RWXU)
                        .map_err(|error| FileError::os("created", None, error))?;
                }
                // Something else has the name: a link, a file.
                Err(Errno::NOTDIR | Errno::LOOP) if !made => {
                    rustix::fs::unlinkat(&agents, name.as_str(), AtFlags::empty())
                        .map_err(|error| refused(agents.as_fd(), name.as_str(), "opened", None, error))?;
                }
                Err(error) => return Err(refused(agents.as_fd(), name.as_str(), "opened", None, error)),
            }
        };
        Ok(AgentDir {
            fd,
            owner,
            euid: self.euid,
            made,
            trash: Some(self.trash(agents)),
        })
    }

    /// Opens an agent's directory for a look at what is there; `None` where it is not there, or not open to this process.
    pub(crate) fn look(&self, name: &AgentName) -> Option<Look> {
        let flags = OPEN_DIR.union(OFlags::PATH);
        let fd = rustix::fs::openat(&*self.agents.load(), name.as_str(), flags, Mode::empty());
        fd.ok().map(Look)
    }

    /// Takes away what is in an agent's directory, and the directory from who had it: a container that has it mounted keeps
    /// an empty one. Where an agent left more in it than that takes a moment, the directory goes with it.
    pub(crate) fn empty(&self, name: &AgentName) -> Result<(), FileError> {
        let agents = self.agents.load_full();
        let failed = |error| refused(agents.as_fd(), name.as_str(), "emptied", None, error);
        let dir = match tree::open(agents.as_fd(), name.as_str()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(()),
            Err(_) => return self.remove(name),
        };
        // First what counts.
        unlink_entries(&dir);
        let names = tree::some_names(dir.as_fd(), MOST_LEFT + 1).map_err(failed)?;
        if names.len() > MOST_LEFT {
            return self.remove(name);
        }
        let trash = self.trash(agents.clone());
        for left in &names {
            trash
                .discard(dir.as_fd(), left.as_c_str())
                .map_err(|error| refused(dir.as_fd(), left.as_c_str(), "emptied", None, error))?;
        }
        rustix::fs::fchmod(&dir, Mode::RWXU).map_err(failed)
    }

    /// Removes an agent's directory with all that is in it. It is fine if there is none.
    pub(crate) fn remove(&self, name: &AgentName) -> Result<(), FileError> {
        let agents = self.agents.load_full();
        match tree::open(agents.as_fd(), name.as_str()) {
            // First what counts. A container that has the directory mounted loses it too.
            Ok(dir) => unlink_entries(&dir),
            Err(Errno::NOENT) => return Ok(()),
            Err(_) => {}
        }
        self.trash(agents.clone())
            .discard(agents.as_fd(), name.as_str())
            .map_err(|error| refused(agents.as_fd(), name.as_str(), "removed", None, error))
    }

    /// The agents that have a directory.
    pub(crate) fn agents(&self) -> rustix::io::Result<Vec<AgentName>> {
        let names = tree::names(self.agents.load().as_fd())?;
        Ok(names
            .iter()
            .filter_map(|name| name.to_str().ok()?.parse().ok())
            .collect())
    }

    /// Whether something waits to be removed that was not there when this was asked last.
    pub(crate) fn takes_trash(&self) -> bool {
        self.has_trash.swap(false, Ordering::AcqRel)
    }

    /// Removes some of what waits for it, also of what a process that was killed had begun. True when there is more.
    pub(crate) fn sweep(&self) -> rustix::io::Result<bool> {
        tree::sweep(self.agents.load().as_fd(), tree::SWEPT_AT_ONCE)
    }

    fn trash(&self, folder: Arc<OwnedFd>) -> Trash {
        Trash {
            folder,
            is_used: Arc::clone(&self.has_trash),
        }
    }
}

/// Opens `<runtime_dir>/agents`, makes what is missing, and claims it.
fn claim(runtime_dir: &Path, euid: u32) -> Result<OwnedFd, DeliveryError> {
    let problem = |doing| runtime_problem(runtime_dir, doing);
    make_folders(runtime_dir).map_err(problem("created"))?;
    let agents = open_agents(runtime_dir)
        .map_err(std::io::Error::from)
        .map_err(problem("used"))?;
    protect(&agents, runtime_dir, euid, false)?;
    // Held as long as the directory is open here. The kernel releases it when the process ends, however it ends.
    match rustix::fs::flock(&agents, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(agents),
        Err(Errno::WOULDBLOCK) => Err(DeliveryError::InUse(runtime_dir.to_owned())),
        Err(error) => Err(problem("claimed")(error.into())),
    }
}

fn open_agents(runtime_dir: &Path) -> rustix::io::Result<OwnedFd> {
    // The operator's own path may well lead through a link, as /var/run does.
    let flags = OPEN_DIR.difference(OFlags::NOFOLLOW);
    let runtime = rustix::fs::open(runtime_dir, flags, Mode::empty())?;
    match rustix::fs::mkdirat(&runtime, c"agents", PASS_THROUGH) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    rustix::fs::openat(&runtime, c"agents", OPEN_DIR, Mode::empty())
}

/// The daemon owns the folder; who knows an agent's name may pass, nobody may list them. One that is `claimed` was the
/// daemon's own, and is taken back; any other is refused.
fn protect(agents: &OwnedFd, runtime_dir: &Path, euid: u32, claimed: bool) -> Result<(), DeliveryError> {
    let problem = |error: Errno| runtime_problem(runtime_dir, "protected")(error.into());
    let stat = rustix::fs::fstat(agents).map_err(problem)?;
    if stat.st_uid != euid {
        if !claimed {
            return Err(DeliveryError::ForeignDirectory {
                path: runtime_dir.join("agents"),
                found: stat.st_uid,
                euid,
            });
        }
        rustix::fs::fchown(agents, Some(Uid::from_raw(euid)), None).map_err(problem)?;
    }
    if Mode::from_raw_mode(stat.st_mode) == PASS_THROUGH {
        return Ok(());
    }
    rustix::fs::fchmod(agents, PASS_THROUGH).map_err(problem)
}

fn runtime_problem(path: &Path, doing: &'static str) -> impl Fn(std::io::Error) -> DeliveryError {
    move |error| {
        // As root too: the daemon has given up to write where it may not.
        let euid = rustix::process::geteuid().as_raw();
        let is_refused = error.kind() == std::io::ErrorKind::PermissionDenied;
        let owner = fs::metadata(path).map(|found| found.uid());
        match owner {
            Ok(found) if is_refused && found != euid => DeliveryError::ForeignDirectory {
                path: path.to_owned(),
                found,
                euid,
            },
            _ => DeliveryError::RuntimeDir {
                path: path.to_owned(),
                doing,
                error,
            },
        }
    }
}
