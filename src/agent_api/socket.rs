//! An agent's socket in its directory.

use std::{
    hash::RandomState,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use tokio::task::JoinHandle;

use crate::{
    agent_api::{
        endpoint::{Endpoint, Server},
        holder::Holder,
        listener,
    },
    agent_files::{
        directory::AgentDir,
        entry::{Entry, Owner},
        error::FileError,
        mark::Mark,
    },
    broker::AgentHandle,
    budget::SocketPlace,
    id::AgentName,
};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// An agent's listener, for as long as this is held. Dropping it closes the socket; connections get a moment to
/// end by themselves.
pub(crate) struct Socket {
    endpoint: Arc<Endpoint>,
    /// The loop that accepts.
    accepting: JoinHandle<()>,
    owner: Owner,
    mark: Mark,
    _share: SocketPlace<AgentName>,
}

impl Socket {
    /// Puts a socket into the agent's directory in place of whatever is there, and serves it. To be called
    /// within a tokio runtime.
    pub(crate) fn open(
        dir: &AgentDir,
        server: &Arc<Server>,
        agent: &Arc<AgentHandle>,
    ) -> Result<Self, FileError> {
        let share = server.places.take_socket();
        let share = share.map_err(|_| FileError::os("opened", Some(Entry::Socket), Errno::MFILE))?;
        let (listener, mark) = place(dir, &server.keys)?;
        let endpoint = server.endpoint(agent, Holder::of(agent), server.stop());
        Ok(Self {
            accepting: listener::start(&endpoint, listener).map_err(|error| unwatched(&error))?,
            endpoint,
            owner: dir.owner(),
            mark,
            _share: share,
        })
    }

    /// Puts another socket in the place of one that is gone. Connections stay.
    pub(crate) fn open_again(&mut self, dir: &AgentDir) -> Result<(), FileError> {
        let (listener, mark) = place(dir, &self.endpoint.server.keys)?;
        let accepting = listener::start(&self.endpoint, listener);
        let accepting = accepting.map_err(|error| unwatched(&error))?;
        std::mem::replace(&mut self.accepting, accepting).abort();
        self.mark = mark;
        Ok(())
    }

    /// How it was left in the directory.
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// Drops what is kept of the last answer: there is another one now.
    pub(crate) fn forget_answer(&self) {
        self.endpoint.answers.forget();
    }

    /// Who may connect.
    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.endpoint.stop.cancel();
    }
}

/// The system does not watch a listener.
pub(crate) fn unwatched(error: &io::Error) -> FileError {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
    FileError::os("opened", Some(Entry::Socket), errno)
}

/// Puts a socket into a directory in place of whatever is there. Returns how it is left.
pub(crate) fn place(dir: &AgentDir, keys: &RandomState) -> Result<(UnixListener, Mark), FileError> {
    let placed = listen(dir).and_then(|(listener, node)| {
        dir.put_in_place(Entry::Socket)?;
        let stat = rustix::fs::fstat(&node);
        let stat = stat.map_err(|error| FileError::os("opened", Some(Entry::Socket), error))?;
        Ok((listener, Mark::of(&stat, keys)))
    });
    placed.inspect_err(|_| {
        let _ = rustix::fs::unlinkat(dir.fd(), Entry::Socket.temporary(), AtFlags::empty());
    })
}

/// Binds at the temporary name, so that the socket is never reachable with the wrong owner or mode. Returns the node that
/// stands for it as well.
fn listen(dir: &AgentDir) -> Result<(UnixListener, OwnedFd), FileError> {
    let failed = |error| FileError::os("opened", Some(Entry::Socket), error);
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(failed)?;
    // Linux makes the node with the mode that the unbound socket has.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    let address = address(dir).map_err(failed)?;
    match rustix::net::bind(&socket, &address) {
        Err(Errno::ADDRINUSE) => {
            dir.remove_temporary(Entry::Socket).map_err(failed)?;
            rustix::net::bind(&socket, &address).map_err(failed)?;
        }
        result => result.map_err(failed)?,
    }
    let node = hand_over(dir)?;
    rustix::net::listen(&socket, BACKLOG).map_err(failed)?;
    Ok((UnixListener::from(socket), node))
}

/// A path through the open directory: it follows no link of the agent's, and it is short, however deep the
/// runtime directory lies (`sun_path` has 108 bytes).
fn address(dir: &AgentDir) -> rustix::io::Result<SocketAddrUnix> {
    let name = Entry::Socket.temporary().to_string_lossy();
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.fd().as_raw_fd()))
}

/// Gives the node its owner and mode. It is opened first, so that both go to one and the same thing.
fn hand_over(dir: &AgentDir) -> Result<OwnedFd, FileError> {
    let failed = |error| FileError::os("protected", Some(Entry::Socket), error);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node =
        rustix::fs::openat(dir.fd(), Entry::Socket.temporary(), flags, Mode::empty()).map_err(failed)?;
    let mode = dir.owner().socket_mode();
    let stat = rustix::fs::fstat(&node).map_err(failed)?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket() {
        return Err(failed(Errno::EXIST));
    }
    if Mode::from_raw_mode(stat.st_mode) != mode {
        // `fchmod` refuses descriptors that only name a path; the link in /proc leads to the node itself.
        let path = format!("/proc/self/fd/{}", node.as_raw_fd());
        rustix::fs::chmod(path, mode).map_err(failed)?;
    }
    if let Some((uid, gid)) = dir.foreign_owner() {
        rustix::fs::chownat(&node, c"", uid, gid, AtFlags::EMPTY_PATH)
            .map_err(|error| dir.chown_refused(error))?;
    }
    Ok(node)
}
