//! The command as a process.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::process::CommandExt,
    process::Command,
};

use rustix::{
    io::Errno,
    process::{
        Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, test_kill_process_group, wait,
    },
    termios::tcgetpgrp,
};

use super::interpreter::{SHELL, cannot_run, file_of, is_plain_script};
use crate::client::{
    environment::{CREDENTIALS, DELIVERED, Environment},
    exit::Failure,
};

/// Becomes the command. Returns only when that is not possible: why not.
pub(crate) fn replace(command: &[OsString], variables: &Environment) -> Failure {
    let run =
        |command: &[OsString]| -> Result<io::Error, Failure> { Ok(prepare(command, variables, &[])?.exec()) };
    let error = match run(command) {
        Ok(error) => error,
        Err(failure) => return failure,
    };
    let error = match by_shell(command, &error).map(|script| run(&script)) {
        Some(Ok(error)) => error,
        _ => error,
    };
    cannot_run(
        command.first().map_or(OsStr::new(""), OsString::as_os_str),
        &error,
    )
}

/// A script that names no interpreter is run by the shell, however it is started: `execvp` of some systems does so by
/// itself, and what starts children does not.
fn by_shell(command: &[OsString], error: &io::Error) -> Option<Vec<OsString>> {
    let (program, arguments) = command.split_first()?;
    if !is_plain_script(error) {
        return None;
    }
    let mut words = vec![SHELL.into(), file_of(program)?.into_os_string()];
    words.extend_from_slice(arguments);
    Some(words)
}

fn prepare(
    command: &[OsString],
    variables: &Environment,
    for_libraries: &[(&str, String)],
) -> Result<Command, Failure> {
    let (program, arguments) = command.split_first().ok_or_else(no_command)?;
    let mut command = Command::new(program);
    command.args(arguments);
    for name in DELIVERED {
        command.env_remove(name);
    }
    command.envs(variables.iter());
    if !for_libraries.is_empty() {
        // A library that finds a credential file asks no metadata server.
        command.env_remove(CREDENTIALS);
        command.envs(for_libraries.iter().map(|(name, value)| (name, value)));
    }
    Ok(command)
}

/// There is nothing after the dashes.
fn no_command() -> Failure {
    Failure::usage("there is no command to run: write it after `--`")
}

/// The command while it runs, and what it started.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    /// It leads a process group of its own. On a terminal it shares this process's group, so that job control
    /// is between the terminal, the shell and the command, as without us.
    own_group: bool,
    /// What it ended with, once it was waited for: from then on its id may be another process's.
    ended: Option<u8>,
}

impl Child {
    /// Starts the command with these variables, and with those that tell Google's libraries where to ask.
    pub(super) fn start(
        command: &[OsString],
        variables: &Environment,
        for_libraries: &[(&str, String)],
    ) -> Result<Self, Failure> {
        let own_group = !has_terminal();
        let spawn = |command: &[OsString]| {
            let mut prepared = prepare(command, variables, for_libraries)?;
            if own_group {
                prepared.process_group(0);
            }
            Ok::<_, Failure>(prepared.spawn())
        };
        let mut spawned = spawn(command)?;
        if let Err(error) = &spawned
            && let Some(script) = by_shell(command, error)
        {
            spawned = spawn(&script)?;
        }
        let program = command.first().map_or(OsStr::new(""), OsString::as_os_str);
        let spawned = spawned.map_err(|error| cannot_run(program, &error))?;
        Ok(Self {
            pid: Pid::from_child(&spawned),
            own_group,
            ended: None,
        })
    }

    /// True when what the terminal sends reaches the command without help.
    pub(super) fn shares_the_terminal(&self) -> bool {
        !self.own_group
    }

    /// Sends a signal to the command alone, as if this process were not between.
    pub(super) fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            // The one error, that there is no such process, cannot be: it was not waited for.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Sends a signal to the command and what it started.
    pub(super) fn signal_all(&self, signal: Signal) {
        if self.own_group {
            // Nobody is left: that is what is wanted.
            let _ = kill_process_group(self.pid, signal);
        } else {
            self.signal(signal);
        }
    }

    /// What the command ended with, as a shell says it.
    pub(super) fn ended(&self) -> Option<u8> {
        self.ended
    }

    /// True when nothing of it is left.
    pub(super) fn is_gone(&self) -> bool {
        let empty = || test_kill_process_group(self.pid) == Err(Errno::SRCH);
        self.ended.is_some() && (!self.own_group || empty())
    }

    /// Waits for every child that has ended: the command, and as process 1 whatever was left behind.
    pub(super) fn reap(&mut self) {
        // `None`: the others still run. An error: there are no others.
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == self.pid && self.ended.is_none() {
                self.ended = Some(code(status));
            }
        }
    }
}

/// The exit code, or 128 and the number of the signal (POSIX shells' convention).
fn code(status: WaitStatus) -> u8 {
    let by_signal = || status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or_else(by_signal);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// True when this process's terminal is one of its standard streams.
fn has_terminal() -> bool {
    // Only of the controlling terminal can this be asked.
    tcgetpgrp(io::stdin()).is_ok() || tcgetpgrp(io::stdout()).is_ok() || tcgetpgrp(io::stderr()).is_ok()
}
