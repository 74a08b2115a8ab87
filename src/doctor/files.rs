//! The daemon's folders: modes, owners, and what kind of disk they are on.

use std::{fs::Metadata, io, os::unix::fs::MetadataExt, path::Path};

use super::finding::Finding;
use crate::{config::Config, file::is_in_memory, text::ShowPath};

/// With less room, or fewer files to be made, the next change may not be written.
const LEAST_BYTES: u64 = 256 * 1024;
const LEAST_FILES: u64 = 16;

/// Looks at `state_dir` and `runtime_dir` of a daemon that runs as `user`.
pub(super) fn check(config: &Config, user: u32) -> Vec<Finding> {
    let mut findings = state_dir(&config.state_dir, user);
    findings.extend(full("state_dir", &config.state_dir));
    findings.extend(runtime_dir(&config.runtime_dir, user));
    findings.extend(agents(&config.runtime_dir.join("agents"), user));
    findings.extend(full("runtime_dir", &config.runtime_dir));
    findings
}

/// What there is to say of a file system on which hardly anything can be written.
fn full(check: &'static str, path: &Path) -> Option<Finding> {
    let system = rustix::fs::statvfs(path).ok()?;
    let shown = path.shown();
    let bytes = system.f_bavail.saturating_mul(system.f_frsize);
    // Some file systems count neither.
    let (no_room, no_files) = (
        system.f_blocks > 0 && bytes < LEAST_BYTES,
        system.f_files > 0 && system.f_favail < LEAST_FILES,
    );
    let what = match (no_room, no_files) {
        (true, _) => format!("{} KiB are free", bytes / 1024),
        (false, true) => format!("{} more files can be made", system.f_favail),
        (false, false) => return None,
    };
    let message = format!("the file system of {shown} is full: {what}");
    Some(Finding::fail(
        check,
        message,
        "free some space, or make it larger",
    ))
}

fn state_dir(path: &Path, user: u32) -> Vec<Finding> {
    const CHECK: &str = "state_dir";
    let shown = path.shown();
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) => return vec![absent(CHECK, path, &error)],
    };
    let mut findings = Vec::new();
    if !metadata.is_dir() {
        return vec![Finding::fail(
            CHECK,
            format!("{shown} is not a folder"),
            "move it away",
        )];
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let message = format!("{shown} is open to other users (mode {mode:04o})");
        findings.push(Finding::fail(CHECK, message, format!("chmod 700 {shown}")));
    }
    findings.extend(unusable(CHECK, path, mode, "700"));
    // What is in it opens for its owner alone, so the daemon is that.
    findings.extend(foreign(CHECK, path, &metadata, &[user]));
    if is_in_memory(path) {
        let message = format!("{shown} is in memory: the next start of the machine loses every grant");
        findings.push(Finding::fail(
            CHECK,
            message,
            "set state_dir to a folder on a disk",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("{shown} is its owner's alone")));
    }
    findings
}

fn runtime_dir(path: &Path, user: u32) -> Vec<Finding> {
    const CHECK: &str = "runtime_dir";
    let shown = path.shown();
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) => return vec![absent(CHECK, path, &error)],
    };
    if !metadata.is_dir() {
        return vec![Finding::fail(
            CHECK,
            format!("{shown} is not a folder"),
            "move it away",
        )];
    }
    let mut findings = Vec::new();
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        let message = format!("other users can write to {shown} (mode {mode:04o})");
        findings.push(Finding::fail(CHECK, message, format!("chmod 755 {shown}")));
    }
    findings.extend(unusable(CHECK, path, mode, "711"));
    findings.extend(foreign(CHECK, path, &metadata, &[0, user]));
    findings.push(if is_in_memory(path) {
        Finding::ok(CHECK, format!("{shown} is in memory"))
    } else {
        Finding::warn(
            CHECK,
            format!("{shown} is on a disk: tokens are written to it, and each renewal costs far more than in memory"),
            "put it on tmpfs, such as a folder under /run",
        )
    });
    findings
}

fn absent(check: &'static str, path: &Path, error: &io::Error) -> Finding {
    let shown = path.shown();
    match error.kind() {
        io::ErrorKind::NotFound => Finding::warn(
            check,
            format!("there is no {shown} yet"),
            "the daemon makes it at its start, where it may",
        ),
        io::ErrorKind::PermissionDenied => Finding::warn(
            check,
            format!("{shown} may not be looked at by this user"),
            "run the doctor as the daemon's user, or as root",
        ),
        _ => Finding::fail(check, format!("{shown} cannot be looked at: {error}"), ""),
    }
}

/// The folder of agents' directories, which the daemon makes.
fn agents(path: &Path, user: u32) -> Vec<Finding> {
    const CHECK: &str = "agents' folder";
    let shown = path.shown();
    // Not through a link: the daemon follows none.
    let Ok(metadata) = path.symlink_metadata() else {
        return Vec::new();
    };
    if !metadata.is_dir() {
        let message = format!("{shown} is not a folder, so agents have no directories");
        return vec![Finding::fail(
            CHECK,
            message,
            "move it away: the daemon makes the folder",
        )];
    }
    let mut findings: Vec<Finding> = unusable(CHECK, path, metadata.mode() & 0o7777, "711")
        .into_iter()
        .collect();
    findings.extend(foreign(CHECK, path, &metadata, &[user]));
    findings
}

/// A folder that its owner cannot use.
fn unusable(check: &'static str, path: &Path, mode: u32, right: &str) -> Option<Finding> {
    let shown = path.shown();
    (mode & 0o700 != 0o700).then(|| {
        let message = format!("{shown} has mode {mode:04o}, so that its owner cannot use it");
        Finding::fail(check, message, format!("chmod {right} {shown}"))
    })
}

/// A folder of somebody else than one of `owners`, or than this user where that is not root.
fn foreign(check: &'static str, path: &Path, metadata: &Metadata, owners: &[u32]) -> Option<Finding> {
    let (me, owner, shown) = (rustix::process::geteuid(), metadata.uid(), path.shown());
    let Some(user) = owners.last().filter(|_| !owners.contains(&owner)) else {
        return (!me.is_root() && owner != me.as_raw()).then(|| {
            let message = format!("{shown} belongs to uid {owner}, and this is uid {}", me.as_raw());
            Finding::warn(check, message, "run the doctor and the daemon as the same user")
        });
    };
    let message = format!(
        "{shown} belongs to uid {owner}, and the daemon is uid {user}: its owner can read and exchange what is in it"
    );
    let advice = format!("look at what is in it, then `chown {user} {shown}`");
    Some(Finding::fail(check, message, advice))
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Verdict, *};

    #[test]
    fn a_folder_that_is_not_there_yet_is_no_failure() {
        let found = state_dir(Path::new("/no/such/folder"), 0);
        assert_eq!(found[0].verdict, Verdict::Warn);
    }
}
