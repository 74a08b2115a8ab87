//! The program as a container's first process. The kernel spares process 1 the signals that it does nothing about, so it
//! would not end when it is told to.

use std::{io, process, thread, time::Duration};

use rustix::process::{Signal, getpid};
use signal_hook::iterator::Signals;

use super::exec::ignored_signals;
use crate::telemetry::stderr;

/// The signals that end a program which does nothing about them.
const ENDING: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP];
/// How long the end waits for whoever reads standard error.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Where this is process 1: lets signals end it as they end any other process, whatever it is doing.
pub(super) fn end_by_signals() -> io::Result<()> {
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
