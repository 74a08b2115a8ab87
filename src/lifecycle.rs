//! The process: what it gives up at its start, and the signals that end it.

pub mod privileges;

use std::{io, time::Duration};

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long what is under way may take after the signal to end.
pub const DRAIN: Duration = Duration::from_secs(10);

/// How long it may take to tell systemd something.
const TOLD: Duration = Duration::from_secs(5);

/// Keeps secrets out of core files and other processes' reach, and allows as many sockets as the system lets.
///
/// # Errors
/// When the system refuses to make the process undumpable; secrets are not loaded then.
pub fn harden() -> io::Result<()> {
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // Files that are made without saying otherwise are for this user alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let files = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: files.maximum,
        maximum: files.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    Ok(())
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Finish what is under way and end.
    Stop,
    /// Read the configuration and the manifests again.
    Reload,
}

/// The signals that the daemon listens to.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next wish.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.hangup.recv() => Wish::Reload,
        }
    }
}

/// How long systemd may be left without a word before it kills the daemon and starts another; `None` where it has no
/// watchdog for this process.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Tells systemd, where it listens. One that does not read holds up nobody for longer than [`TOLD`].
pub async fn notify(state: sd_notify::NotifyState<'static>) {
    let told = tokio::task::spawn_blocking(move || sd_notify::notify(&[state]));
    match tokio::time::timeout(TOLD, told).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(%error, "systemd could not be told"),
        Ok(Err(error)) => tracing::warn!(%error, "systemd could not be told"),
        Err(_) => tracing::warn!("systemd does not read what it is told"),
    }
}
