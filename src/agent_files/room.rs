//! Whether what agents read can be written at all. Where it cannot, that is the daemon's own trouble and no agent's.

use std::{fs::File, io::Write, os::fd::BorrowedFd};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

use super::error::FileError;

/// What is written for a trial. No agent can be called like that.
const TRIAL: &str = ".trial";
/// As much as the files of one agent take.
const BYTES: [u8; 16 * 1024] = [0; 16 * 1024];

/// Writes a file into the folder and takes it away.
///
/// # Errors
/// Why none can be written there.
pub(crate) fn try_to_write(folder: BorrowedFd<'_>) -> Result<(), FileError> {
    let written = write(folder);
    // Others try at the same time.
    match rustix::fs::unlinkat(folder, TRIAL, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => written,
        Err(error) => written.and(Err(error)),
    }
    .map_err(|error| FileError::os("written to", None, error))
}

fn write(folder: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(folder, TRIAL, flags, Mode::RUSR | Mode::WUSR)?);
    // One without a number of the system's has written nothing.
    file.write_all(&BYTES)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOSPC))
}
