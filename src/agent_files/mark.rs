//! How something on disk was left, so that it is known again.

use std::hash::{BuildHasher, RandomState};

use rustix::fs::Stat;

/// What the system says of a file, a socket or a directory, as a hash: ten thousand agents have six of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(u64);

impl Mark {
    /// Of a file or a socket: which it is, whose, and whether anybody changed it since.
    pub(crate) fn of(stat: &Stat, keys: &RandomState) -> Self {
        let changed = (
            stat.st_size,
            stat.st_mtime,
            stat.st_mtime_nsec,
            stat.st_ctime,
            stat.st_ctime_nsec,
        );
        Self(keys.hash_one((identity(stat), changed)))
    }

    /// Of a directory: which it is, and whose. What is in it comes and goes.
    pub(crate) fn of_directory(stat: &Stat, keys: &RandomState) -> Self {
        Self(keys.hash_one(identity(stat)))
    }
}

fn identity(stat: &Stat) -> impl std::hash::Hash {
    (stat.st_dev, stat.st_ino, stat.st_mode, stat.st_uid, stat.st_gid)
}

/// Whether the two are of one and the same thing.
pub(crate) fn same(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}
