//! File descriptors: how many of the process's limit each surface gets.
//!
//! Every connection is one, whoever opened it, and without one the daemon can neither write a file nor reach the provider.
//! So some are kept for its own work, and each surface has its part of the rest, however low the limit is.

use rustix::process::{Resource, getrlimit};

use super::table::{COMMANDS_DESCRIPTORS, ENOUGH_DESCRIPTORS, LEAST_DESCRIPTORS, OWN_DESCRIPTORS};

/// What parts are counted in.
const PARTS: u64 = 64;

/// So many 64ths of the descriptors that the daemon does not need for its own work.
pub fn part(parts: u64) -> usize {
    part_of(limit(), parts)
}

fn part_of(limit: u64, parts: u64) -> usize {
    let shared = limit.saturating_sub(OWN_DESCRIPTORS);
    usize::try_from(shared / PARTS * parts + shared % PARTS * parts / PARTS).unwrap_or(usize::MAX)
}

/// The limit of this process.
fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Whether the limit of this process is high enough for a command.
///
/// # Errors
/// What is wrong and what to do, as a sentence.
pub fn check_for_command() -> Result<(), String> {
    judge_for_command(limit())
}

fn judge_for_command(limit: u64) -> Result<(), String> {
    if limit >= COMMANDS_DESCRIPTORS {
        return Ok(());
    }
    Err(format!(
        "this process may open {limit} files at once, and a command takes up to {COMMANDS_DESCRIPTORS}: raise it with \
         `ulimit -n`"
    ))
}

/// Whether the limit of this process is high enough for a daemon. What it says beside that is a warning.
///
/// # Errors
/// What is wrong and what to do, as a sentence.
pub fn check() -> Result<Option<String>, String> {
    judge(limit())
}

fn judge(limit: u64) -> Result<Option<String>, String> {
    let advice = "raise it (LimitNOFILE= in the systemd unit, `ulimit -n`, or the container's `nofile`)";
    if limit < LEAST_DESCRIPTORS {
        return Err(format!(
            "the daemon may open {limit} files at once, and needs {LEAST_DESCRIPTORS} at least: {advice}"
        ));
    }
    let warning = || {
        format!(
            "the daemon may open {limit} files at once, of which agents, pods and pages have few each: {advice}"
        )
    };
    Ok((limit < ENOUGH_DESCRIPTORS).then(warning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_of_what_is_left_beside_the_daemons_own() {
        assert_eq!(part_of(OWN_DESCRIPTORS + 640, 1), 10);
        assert_eq!(part_of(OWN_DESCRIPTORS + 100, 32), 50);
        assert_eq!(part_of(OWN_DESCRIPTORS - 1, 64), 0);
        assert!(part_of(u64::MAX, 64) > usize::MAX / 2);
    }

    #[test]
    fn a_limit_is_enough_too_low_or_in_between() {
        assert!(judge(LEAST_DESCRIPTORS - 1).unwrap_err().contains("LimitNOFILE"));
        assert!(judge(LEAST_DESCRIPTORS).unwrap().unwrap().contains("few each"));
        assert_eq!(judge(ENOUGH_DESCRIPTORS), Ok(None));
    }
}
