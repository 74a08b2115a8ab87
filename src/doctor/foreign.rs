//! Looks at what an agent may own: nothing that it does to its files or its socket is waited for.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    os::fd::AsRawFd,
    path::Path,
};

use rustix::{
    fs::{FileType, Mode, OFlags},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use zeroize::Zeroizing;

/// Far more than any of an agent's files.
const MOST_READ: u64 = 1024 * 1024;

/// Why something that may be an agent's could not be looked at.
#[derive(Debug)]
pub(super) enum Unseen {
    /// It is something else than was looked for.
    Other,
    /// Somebody keeps it so that a look at it would have to wait.
    Held(&'static str),
    /// The system refused.
    Os(io::Error),
}

/// Why, to be read on from what it is.
impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other => f.write_str("it is something else"),
            Self::Held(why) => f.write_str(why),
            Self::Os(error) => error.fmt(f),
        }
    }
}

impl From<Errno> for Unseen {
    fn from(error: Errno) -> Self {
        match error {
            Errno::LOOP | Errno::NXIO => Self::Other,
            error => Self::Os(error.into()),
        }
    }
}

/// What is in a file. No link is followed to it, and nothing else than a file is read.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, Unseen> {
    const FLAGS: OFlags = OFlags::RDONLY
        .union(OFlags::NOFOLLOW)
        .union(OFlags::NONBLOCK)
        .union(OFlags::NOCTTY)
        .union(OFlags::CLOEXEC);
    let file = match rustix::fs::open(path, FLAGS, Mode::empty()) {
        // The holder is asked to give it back, and has as long as the system allows (fcntl(2)).
        Err(Errno::WOULDBLOCK) => return Err(Unseen::Held("somebody holds a lease on it (F_SETLEASE)")),
        opened => opened?,
    };
    if !FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode).is_file() {
        return Err(Unseen::Other);
    }
    let mut text = Zeroizing::new(String::new());
    let read = File::from(file).take(MOST_READ + 1).read_to_string(&mut text);
    let read = read.map_err(Unseen::Os)?;
    if u64::try_from(read).is_ok_and(|read| read <= MOST_READ) {
        Ok(text)
    } else {
        Err(Unseen::Held("it is larger than any that the daemon writes"))
    }
}

/// Whether a socket takes a connection. No link is followed to it, and no place in its queue is waited for.
pub(super) fn connect(path: &Path) -> Result<(), Unseen> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::open(path, flags, Mode::empty())?;
    if !FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode).is_socket() {
        return Err(Unseen::Other);
    }
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The very one that was looked at, whatever has its name by now.
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
    match rustix::net::connect(&socket, &address) {
        Err(Errno::WOULDBLOCK) => Err(Unseen::Held("as many wait on it as it lets wait")),
        connected => Ok(connected?),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn only_files_are_read_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "text").unwrap();
        assert_eq!(*read(&path("file")).ok().unwrap(), "text");
        symlink(path("file"), path("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        fs::create_dir(path("folder")).unwrap();
        for other in ["link", "fifo", "folder"] {
            assert!(matches!(read(&path(other)), Err(Unseen::Other)), "{other}");
        }
        assert!(matches!(read(&path("nothing")), Err(Unseen::Os(_))));
        fs::File::create(path("large")).unwrap().set_len(1 << 40).unwrap();
        assert!(matches!(read(&path("large")), Err(Unseen::Held(_))));
    }

    #[test]
    fn a_socket_whose_queue_is_full_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.sock");
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        assert!(matches!(connect(&path), Err(Unseen::Os(_))), "nobody listens");
        rustix::net::listen(&socket, 0).unwrap();
        // Each that is not accepted keeps its place, though its client has gone.
        let full = (0..16).find_map(|_| connect(&path).err());
        assert!(matches!(full, Some(Unseen::Held(_))), "{full:?}");
        symlink(&path, folder.path().join("link")).unwrap();
        assert!(matches!(connect(&folder.path().join("link")), Err(Unseen::Other)));
    }
}
