//! The program as a container's first process. The kernel spares process 1 the signals that it does nothing about, so it
//! would not end when it is told to.

use std::{fs, io, process, thread, time::Duration};

use rustix::process::{Signal, getpid};
use signal_hook::iterator::Signals;

use crate::telemetry::stderr;

/// The signals that end a program which does nothing about them.
const ENDING: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP];
/// How long the end waits for the reader of standard error.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Where this is process 1: lets signals end it as they end any other process, whatever it is doing.
pub(crate) fn end_by_signals() -> io::Result<()> {
    if !getpid().is_init() {
        return Ok(());
    }
    let ignored = ignored_signals();
    let heeded = ENDING
        .iter()
        .map(|signal| signal.as_raw())
        .filter(|number| ignored >> (number - 1) & 1 == 0);
    let mut signals = Signals::new(heeded)?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if let Some(number) = signals.forever().next() {
            stderr::flush(LAST_WORDS);
            // As a shell says it of a process that a signal ended.
            process::exit(128 + number);
        }
    })?;
    Ok(())
}

/// The signals that this process was started to ignore, as `nohup` does: they stay ignored, here and in
/// the command. A bit for each (`proc_pid_status(5)`); none where there is no procfs.
pub(super) fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rust_ignores_is_seen_as_ignored_signals() {
        assert_eq!(ignored_signals() >> (Signal::PIPE.as_raw() - 1) & 1, 1);
    }
}
