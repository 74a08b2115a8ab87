//! The signals that are passed on to the command, and who sent them.

use std::{io, thread};

use rustix::process::Signal;
use signal_hook::{
    iterator::{SignalsInfo, exfiltrator::WithOrigin},
    low_level::siginfo::{Cause, Origin},
};
use tokio::sync::mpsc;

use super::process_one::ignored_signals;
use crate::client::exit::{Exit, Failure};

/// What is passed on, by the names that `kill -l` gives. Those that stop and those that mean a fault of this very
/// process are not among them.
const PASSED_ON: [(&str, Signal); 10] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("ALRM", Signal::ALARM),
    ("CONT", Signal::CONT),
    ("WINCH", Signal::WINCH),
    ("PWR", Signal::POWER),
];

/// More than can wait: the kernel keeps one of each.
const WAITING: usize = 32;

/// Reads a signal's name, with `SIG` before it or without.
pub(super) fn parse(name: &str) -> Result<Signal, String> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let found = PASSED_ON.iter().find(|(known, _)| *known == bare);
    found.map(|(_, signal)| *signal).ok_or_else(|| {
        let known: Vec<&str> = PASSED_ON.iter().map(|(known, _)| *known).collect();
        format!("`{name}` is not one of the signals {}", known.join(", "))
    })
}

/// A signal's name.
pub(super) fn name(signal: Signal) -> &'static str {
    let found = PASSED_ON.iter().find(|(_, known)| *known == signal);
    found.map_or("a signal", |(name, _)| name)
}

/// A signal to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) signal: Signal,
    /// The kernel sent it (a key on the terminal, a window's new size, a line that hung up): the whole foreground
    /// process group has it.
    pub(super) from_kernel: bool,
}

impl Arrived {
    fn new(origin: &Origin) -> Option<Self> {
        Some(Self {
            signal: Signal::from_named_raw(origin.signal)?,
            from_kernel: matches!(origin.cause, Cause::Kernel),
        })
    }

    /// True for a request to end.
    pub(super) fn asks_to_end(self) -> bool {
        [Signal::TERM, Signal::INT, Signal::QUIT].contains(&self.signal)
    }

    /// True for what ends a program that does nothing about it; of those that stand for other things, HUP alone.
    pub(super) fn ends_a_wait(self) -> bool {
        self.asks_to_end() || self.signal == Signal::HUP
    }
}

/// The signals to this process, from now on: process 1 would not even get them otherwise.
pub(crate) struct Signals(mpsc::Receiver<Arrived>);

impl Signals {
    /// Listens.
    pub(crate) fn listen() -> Result<Self, Failure> {
        Self::open()
            .map_err(|error| Failure::new(Exit::Failed, format!("signals cannot be listened to: {error}")))
    }

    fn open() -> io::Result<Self> {
        let ignored = ignored_signals();
        let wanted = PASSED_ON
            .iter()
            .map(|(_, signal)| signal.as_raw())
            .filter(|number| ignored >> (number - 1) & 1 == 0);
        // Never ignored: the end of the command could not be waited for.
        let wanted = wanted.chain([Signal::CHILD.as_raw()]);
        let mut signals = SignalsInfo::<WithOrigin>::new(wanted)?;
        let (sender, receiver) = mpsc::channel(WAITING);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for arrived in signals.forever().filter_map(|origin| Arrived::new(&origin)) {
                if sender.blocking_send(arrived).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self(receiver))
    }

    /// Waits for a signal that ends a wait, and returns the code that says so, as a shell does.
    pub(crate) async fn end(&mut self) -> u8 {
        loop {
            let arrived = self.next().await;
            if arrived.ends_a_wait() {
                return u8::try_from(128 + arrived.signal.as_raw()).unwrap_or(u8::MAX);
            }
        }
    }

    /// The next signal. It may stand for several of its kind. Nothing is lost when it is not waited for to the end.
    pub(super) async fn next(&mut self) -> Arrived {
        match self.0.recv().await {
            Some(arrived) => arrived,
            // The thread ends with this value alone.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_names_that_kill_knows() {
        assert_eq!(parse("HUP"), Ok(Signal::HUP));
        assert_eq!(parse("sigWinch"), Ok(Signal::WINCH));
        assert_eq!(name(Signal::POWER), "PWR");
        for wrong in ["", "SIG", "9", "KILL", "STOP"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
