//! An agent's socket in its directory.

use std::{
    os::{fd::AsRawFd, unix::net::UnixListener as StdListener},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use tokio::net::UnixListener;

use super::{
    directory::{AgentDir, Entry, Owner},
    error::FileError,
    server::{Endpoint, Server},
};
use crate::broker::AgentHandle;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// An agent's listener, for as long as this is held. Dropping it closes the socket; connections get a moment to
/// end by themselves.
pub(super) struct Socket {
    endpoint: Arc<Endpoint>,
    owner: Owner,
}

impl Socket {
    /// Puts a socket into the agent's directory in place of whatever is there, and serves it. To be called
    /// within a tokio runtime.
    pub(super) fn open(
        dir: &AgentDir,
        server: &Arc<Server>,
        agent: &Arc<AgentHandle>,
    ) -> Result<Self, FileError> {
        let listener = listen(dir).inspect_err(|_| {
            let _ = rustix::fs::unlinkat(dir.fd(), Entry::Socket.temporary(), AtFlags::empty());
        })?;
        dir.put_in_place(Entry::Socket)?;
        Ok(Self {
            endpoint: server.serve(listener, agent),
            owner: dir.owner(),
        })
    }

    /// Drops what is kept of the last answer: there is another one now.
    pub(super) fn forget_answer(&self) {
        self.endpoint.answers.forget();
    }

    /// Who may connect.
    pub(super) fn owner(&self) -> Owner {
        self.owner
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.endpoint.stop.cancel();
    }
}

/// Binds at the temporary name, so that the socket is never reachable with the wrong owner or mode.
pub(super) fn listen(dir: &AgentDir) -> Result<UnixListener, FileError> {
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
    hand_over(dir)?;
    rustix::net::listen(&socket, BACKLOG).map_err(failed)?;
    UnixListener::from_std(StdListener::from(socket))
        .map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))
}

/// A path through the open directory: it follows no link of the agent's, and it is short, however deep the
/// runtime directory lies (`sun_path` has 108 bytes).
fn address(dir: &AgentDir) -> rustix::io::Result<SocketAddrUnix> {
    let name = Entry::Socket.temporary().to_string_lossy();
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.fd().as_raw_fd()))
}

/// Gives the node its owner and mode. It is opened first, so that both go to one and the same thing.
fn hand_over(dir: &AgentDir) -> Result<(), FileError> {
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
    Ok(())
}
