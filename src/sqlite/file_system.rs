//! How large a file system is, and what is free on it.

use std::path::Path;

use rustix::fs::statvfs;

/// The size of the file system that `folder` is on, in bytes; `None` where it does not say.
pub(crate) fn size(folder: &Path) -> Option<u64> {
    let volume = statvfs(folder).ok()?;
    Some(volume.f_blocks.saturating_mul(volume.f_frsize)).filter(|size| *size > 0)
}

/// What everybody may take of it, in bytes; `None` where it does not say.
pub(crate) fn free(folder: &Path) -> Option<u64> {
    let volume = statvfs(folder).ok()?;
    Some(volume.f_bavail.saturating_mul(volume.f_frsize))
}
