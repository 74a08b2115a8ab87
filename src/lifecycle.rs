//! The process: what it gives up at its start, and the signals that end it.

pub mod file_access;
pub mod privileges;
pub mod system_calls;

use std::{io, time::Duration};

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

use crate::{http_client::Limits, supervisor::Echoes};

/// How long what is under way may take after the signal to end, unless the provider has been asked for something.
pub const DRAIN: Duration = Duration::from_secs(10);

/// How long requests to the provider that are under way may take then, since their answers may be the only copies of
/// grants. A request ends by itself; what came with its answer may take another one to find out whose it is.
pub const PROVIDER_DRAIN: Duration = Limits::REQUEST.saturating_mul(2).saturating_add(DRAIN);

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
    stops: Echoes<()>,
}

impl Signals {
    /// Listens from now on.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            stops: Echoes::default(),
        })
    }

    /// The next wish. A signal to end that follows another within a second is the same wish.
    pub async fn next(&mut self) -> Wish {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = self.hangup.recv() => return Wish::Reload,
            }
            if !self.stops.is_echo((), Instant::now()) {
                return Wish::Stop;
            }
        }
    }

    /// Waits for the wish to end, and to end at once: for a second one, whatever else made the daemon end.
    pub async fn impatience(&mut self) {
        loop {
            let had_one = self.stops.was_heard();
            if self.next().await == Wish::Stop && had_one {
                return;
            }
        }
    }
}

/// How long systemd may be left without a word before it kills the daemon and starts another; `None` where it has no
/// watchdog for this process.
pub fn watchdog() -> Option<Duration> {
    // Zero is systemd's way to say that there is none.
    sd_notify::watchdog_enabled().filter(|period| !period.is_zero())
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The seconds that every file below `folder` gives the daemon to end, each with its place.
    fn stop_times(folder: &Path, found: &mut Vec<(String, u64)>) {
        const KEYS: [&str; 4] = [
            "--stop-timeout ",
            "TimeoutStopSec=",
            "terminationGracePeriodSeconds: ",
            "stop_grace_period: ",
        ];
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                stop_times(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for line in text.lines() {
                let Some((_, time)) = KEYS.iter().find_map(|key| line.split_once(key)) else {
                    continue;
                };
                let digits: String = time.chars().take_while(char::is_ascii_digit).collect();
                let seconds = digits.parse().unwrap();
                found.push((format!("{}: {line}", path.display()), seconds));
            }
        }
    }

    #[test]
    fn whoever_starts_the_daemon_gives_it_the_time_that_it_may_take_to_end() {
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
        let mut found = Vec::new();
        stop_times(&deploy, &mut found);
        assert_eq!(found.len(), 6, "{found:?}");
        // Besides, what is written at the end takes its time.
        let least = PROVIDER_DRAIN.as_secs() + 15;
        for (place, seconds) in &found {
            assert!((least..least + 10).contains(seconds), "{place}");
        }
        let sentence = format!("{} seconds at most", PROVIDER_DRAIN.as_secs());
        let unit = std::fs::read_to_string(deploy.join("systemd/token-broker.service")).unwrap();
        assert!(unit.contains(&sentence));
    }
}
