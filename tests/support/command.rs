//! The program itself, run as a person or a script runs it.

use std::{
    io::{Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::PATIENCE;

/// The program, with nothing of this process's environment that could change what it does.
pub(crate) fn program() -> Command {
    program_named(env!("CARGO_BIN_EXE_token-broker"))
}

/// Another program in the same bare surroundings.
pub(crate) fn program_named(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// A program under another uid, without any of this user's groups.
pub(crate) fn program_as(uid: u32, program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .current_dir("/")
        .uid(uid)
        .gid(uid)
        .stdin(Stdio::null());
    command
}

/// What a command left behind.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::within(PATIENCE, command)
    }

    /// The same for one that takes its time.
    pub(crate) fn within(patience: Duration, command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::of_child_within(patience, command.spawn().unwrap())
    }

    /// Runs a command to its end, with something on its standard input.
    pub(crate) fn of_fed(command: &mut Command, input: &str) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Self::of_child(child)
    }

    /// Waits for the end of a command that was started with its outputs piped.
    pub(crate) fn of_child(child: Child) -> Self {
        Self::of_child_within(PATIENCE, child)
    }

    fn of_child_within(patience: Duration, mut child: Child) -> Self {
        let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > patience {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!(
                    "the command did not end: {}{}",
                    stdout.join().unwrap(),
                    stderr.join().unwrap()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Self {
            // A signal has no code.
            code: status.code().unwrap_or(-1),
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
        }
    }

    /// The whole of standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    #[track_caller]
    pub(crate) fn expect_ok(self) -> Self {
        self.expect(0)
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// Reads to the end, beside whatever else goes on.
fn collect(stream: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        stream
            .map(|mut stream| stream.read_to_string(&mut text))
            .transpose()
            .unwrap();
        text
    })
}
