//! One directory, mounted read-only at one place, and taken away again.

use std::{io, path::Path};

use rustix::{
    fs::{AtFlags, CWD, Mode, StatVfsMountFlags, StatxAttributes, StatxFlags},
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount_bind, mount_remount, unmount},
};

/// Nothing is written through it, and nothing in it is run, is a device or changes who runs it.
const OPTIONS: MountFlags = MountFlags::RDONLY
    .union(MountFlags::NOSUID)
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);
/// The same as `statvfs` says it.
const SHOWN: StatVfsMountFlags = StatVfsMountFlags::RDONLY
    .union(StatVfsMountFlags::NOSUID)
    .union(StatVfsMountFlags::NODEV)
    .union(StatVfsMountFlags::NOEXEC);
/// Mounts on top of each other that are taken away at one place, at most.
const LAYERS: usize = 16;

/// A directory, whatever path leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inode {
    device: (u32, u32),
    number: u64,
}

/// What is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nothing,
    Directory(Inode),
    /// Something is mounted there, which has this directory as its root.
    Mounted(Inode),
}

/// Mounts the directory `source` at `target`, making that, by way of `stage`, which is nobody else's. Whatever else is
/// mounted there goes: it is left of an agent that was removed. Returns at once where all is as it should be.
pub(super) fn publish(source: &Path, target: &Path, stage: &Path) -> io::Result<()> {
    let Place::Directory(directory) = look(source)? else {
        return Err(Errno::NOENT.into());
    };
    for _ in 0..LAYERS {
        match look(target)? {
            Place::Mounted(mounted) if mounted == directory && is_restricted(target)? => return Ok(()),
            Place::Mounted(_) => detach(target)?,
            Place::Directory(_) => mount(source, target, stage)?,
            Place::Nothing => make(target)?,
        }
    }
    Err(Errno::BUSY.into())
}

/// Takes away what is mounted at `target`, and the directory itself. It is fine if there is none.
pub(super) fn withdraw(target: &Path) -> io::Result<()> {
    for _ in 0..LAYERS {
        match look(target)? {
            Place::Nothing => return Ok(()),
            Place::Mounted(_) => detach(target)?,
            Place::Directory(_) => match rustix::fs::rmdir(target) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(error) => return Err(error.into()),
            },
        }
    }
    Err(Errno::BUSY.into())
}

/// Whether something is mounted at `target`. What is no directory was not mounted by this driver.
pub(super) fn is_mounted(target: &Path) -> io::Result<bool> {
    match look(target) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOTDIR) => Ok(false),
        looked => Ok(matches!(looked?, Place::Mounted(_))),
    }
}

fn look(path: &Path) -> io::Result<Place> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let found = match rustix::fs::statx(CWD, path, flags, StatxFlags::BASIC_STATS) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Place::Nothing),
        found => found?,
    };
    if !found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
        return Err(io::Error::other(
            "this kernel does not say what is mounted where (statx): Linux 5.8 or later does",
        ));
    }
    if !rustix::fs::FileType::from_raw_mode(found.stx_mode.into()).is_dir() {
        return Err(Errno::NOTDIR.into());
    }
    let inode = Inode {
        device: (found.stx_dev_major, found.stx_dev_minor),
        number: found.stx_ino,
    };
    Ok(if found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        Place::Mounted(inode)
    } else {
        Place::Directory(inode)
    })
}

fn make(target: &Path) -> io::Result<()> {
    match rustix::fs::mkdir(target, Mode::from_bits_truncate(0o750)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A bind mount takes no options of its own when it is made, and has those of what it is made of. Options that come second
/// are this mount's alone: what had spread by then from the daemon's pod to the node, whence containers have it, would
/// stay writable. So they come before it spreads, elsewhere.
fn mount(source: &Path, target: &Path, stage: &Path) -> io::Result<()> {
    withdraw(stage)?;
    make(stage)?;
    let mounted = mount_bind(source, stage)
        .and_then(|()| mount_remount(stage, MountFlags::BIND.union(OPTIONS), ""))
        .and_then(|()| mount_bind(stage, target));
    withdraw(stage)?;
    Ok(mounted?)
}

fn is_restricted(target: &Path) -> io::Result<bool> {
    Ok(rustix::fs::statvfs(target)?.f_flag.contains(SHOWN))
}

/// Also where a process has it open: that one keeps what it has open, read-only, and nobody gets in any more.
fn detach(target: &Path) -> io::Result<()> {
    Ok(unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
}
