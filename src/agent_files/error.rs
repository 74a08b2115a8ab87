//! What can go wrong with directories, files and sockets, in sentences.

use std::{fmt, io, path::PathBuf};

use rustix::io::Errno;

use super::entry::{Entry, Owner};

/// Why delivery could not start at all.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The runtime directory is of no use.
    #[error(
        "the runtime directory {path} could not be {doing}: {error}. \
         Set `runtime_dir` to a directory that the daemon's user may write to, best on a tmpfs"
    )]
    RuntimeDir {
        /// Which directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// Another daemon writes to it.
    #[error(
        "another token-broker is running on the runtime directory {0}: stop it, or give this one its own \
         runtime_dir"
    )]
    InUse(PathBuf),
    /// Somebody else owns the runtime directory, or the one in it in which the agents' directories are made.
    #[error(
        "{path} belongs to uid {found}, but the daemon runs as uid {euid}, and only its owner may change what agents \
         read: give it to the daemon (chown {euid} {path}), remove it, or run the daemon as uid {found}"
    )]
    ForeignDirectory {
        /// Which directory.
        path: PathBuf,
        /// Its owner.
        found: u32,
        /// The daemon's user.
        euid: u32,
    },
    /// The reflection service could not be made.
    #[error("the protobuf descriptors of this build cannot be read: {0}")]
    Descriptors(String),
}

/// Why one agent's directory is not as it should be. It concerns that agent alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileError {
    /// The system refused.
    Os {
        /// What was tried, as in "could not be written".
        doing: &'static str,
        /// The entry; `None` for the directory itself.
        entry: Option<Entry>,
        /// What the system said.
        error: Errno,
    },
    /// Somebody locked it: not even its owner may change it.
    Locked {
        /// What was tried, as in "could not be removed".
        doing: &'static str,
        /// The entry; `None` for the directory itself, or for something that was planted in it.
        entry: Option<Entry>,
    },
    /// The owner that the manifest names cannot be set.
    Chown {
        /// The owner.
        owner: Owner,
        /// The daemon's user.
        euid: u32,
        /// What the system said.
        error: Errno,
    },
}

impl FileError {
    pub(crate) fn os(doing: &'static str, entry: Option<Entry>, error: Errno) -> Self {
        Self::Os { doing, entry, error }
    }

    /// What to do about it.
    fn advice(error: Errno) -> Option<&'static str> {
        match error {
            Errno::NOSPC | Errno::DQUOT => Some("make room on the file system of the runtime directory"),
            Errno::ROFS => Some("mount the runtime directory for writing"),
            Errno::ACCESS | Errno::PERM => Some("let the daemon's user own the directory"),
            Errno::MFILE | Errno::NFILE => Some("raise the limit of open files (LimitNOFILE, ulimit -n)"),
            Errno::BUSY => Some("unmount what is mounted inside it"),
            _ => None,
        }
    }
}

/// Reads on from the path of the agent's directory.
impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Os { doing, entry, error } => {
                if let Some(entry) = entry {
                    write!(f, "/{}", entry.name().to_string_lossy())?;
                }
                let system = io::Error::from(*error);
                write!(f, " could not be {doing}: {system}")?;
                match Self::advice(*error) {
                    Some(advice) => write!(f, "; {advice}"),
                    None => Ok(()),
                }
            }
            Self::Locked { doing, entry } => {
                if let Some(entry) = entry {
                    write!(f, "/{}", entry.name().to_string_lossy())?;
                }
                write!(
                    f,
                    " could not be {doing}: it, or something in it, is immutable or append-only; as root, take that away \
                     (`chattr -R -i -a`)"
                )
            }
            Self::Chown { owner, euid, error } => {
                let named = match (owner.uid, owner.gid) {
                    (Some(uid), Some(gid)) => format!("uid {uid} and gid {gid}"),
                    (Some(uid), None) => format!("uid {uid}"),
                    (None, Some(gid)) => format!("gid {gid}"),
                    (None, None) => "no owner".to_owned(),
                };
                let system = io::Error::from(*error);
                write!(
                    f,
                    ": the manifest names {named}, but the daemon runs as uid {euid} and may not change owners \
                     ({system}): run it as root or with CAP_CHOWN, or drop the owner from the manifest"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_name_the_thing_and_the_remedy() {
        let full = FileError::os("written", Some(Entry::Env), Errno::NOSPC);
        assert_eq!(
            format!("/run/tb/agents/a{full}"),
            "/run/tb/agents/a/env could not be written: No space left on device (os error 28); make room on the \
             file system of the runtime directory"
        );
        let refused = FileError::Chown {
            owner: Owner {
                uid: Some(1000),
                gid: None,
            },
            euid: 500,
            error: Errno::PERM,
        };
        assert_eq!(
            format!("/run/tb/agents/a{refused}"),
            "/run/tb/agents/a: the manifest names uid 1000, but the daemon runs as uid 500 and may not change \
             owners (Operation not permitted (os error 1)): run it as root or with CAP_CHOWN, or drop the owner \
             from the manifest"
        );
    }
}
