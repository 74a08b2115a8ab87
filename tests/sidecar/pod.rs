//! A pod's shared directory, and the sidecar in it.

use std::{
    fs::{self, File},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::{Agent, Output, PATIENCE, program, wait_for, wait_until};

/// Its folders; the sidecar ends with it.
pub(crate) struct Pod {
    folder: TempDir,
    sidecar: Option<Child>,
    starts: usize,
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Some(mut sidecar) = self.sidecar.take() {
            let _ = sidecar.kill();
            let _ = sidecar.wait();
        }
        if std::thread::panicking() {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "--- the sidecar's log\n{}", self.log());
        }
    }
}

impl Pod {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("pod-").tempdir().unwrap();
        fs::create_dir(folder.path().join("shared")).unwrap();
        Self {
            folder,
            sidecar: None,
            starts: 0,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the agent's container sees.
    pub(crate) fn agent(&self) -> Agent {
        Agent {
            name: "the pod".to_owned(),
            directory: self.folder().join("shared"),
        }
    }

    /// Puts the pod's token where the kubelet does, or its successor.
    pub(crate) fn put_token(&self, token: &str) {
        let beside = self.folder().join(".token.new");
        fs::write(&beside, token).unwrap();
        fs::rename(beside, self.folder().join("token")).unwrap();
    }

    /// Starts the sidecar.
    pub(crate) fn start(&mut self, options: &[String]) {
        self.start_by(program(), options);
    }

    /// Starts it by a program that starts it in its own place.
    pub(crate) fn start_by(&mut self, command: Command, options: &[String]) {
        self.starts += 1;
        let log = File::create(self.log_file()).unwrap();
        self.start_logging_to(log.into(), command, options);
    }

    /// Starts it with something else for its log.
    pub(crate) fn start_logging_to(&mut self, log: Stdio, mut command: Command, options: &[String]) {
        assert!(self.sidecar.is_none(), "it runs already");
        command.arg("sidecar").args(options);
        command.arg("--directory").arg(self.agent().directory);
        self.sidecar = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    fn log_file(&self) -> std::path::PathBuf {
        self.folder().join(format!("sidecar-{}.log", self.starts))
    }

    /// What it wrote to standard error since its last start.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// What the startup probe does.
    pub(crate) fn probe(&self) -> Output {
        let mut command = program();
        command
            .args(["wait", "--timeout", "0", "--socket"])
            .arg(self.agent().socket());
        Output::of(&mut command)
    }

    pub(crate) fn has_socket(&self) -> bool {
        fs::symlink_metadata(self.agent().socket()).is_ok_and(|file| file.file_type().is_socket())
    }

    pub(crate) fn wait_until_ready(&self) {
        wait_until("the sidecar to be ready", || self.probe().code == 0);
    }

    /// Waits for a token that is not `old`.
    pub(crate) fn wait_for_token(&self, old: Option<&str>) -> String {
        wait_for("the pod to get a token", || {
            self.agent().token().filter(|token| Some(token.as_str()) != old)
        })
    }

    /// Waits until no file holds a token.
    pub(crate) fn wait_for_none(&self) {
        wait_until("the token to be gone", || {
            self.agent().token().is_none() && self.agent().try_read("access_token").is_none()
        });
    }

    /// Waits until `status.json` says this.
    pub(crate) fn wait_for_message(&self, words: &str) -> serde_json::Value {
        let start = Instant::now();
        loop {
            let status = self.agent().try_read("status.json").unwrap_or_default();
            if status.contains(words) {
                return serde_json::from_str(&status).unwrap();
            }
            assert!(
                start.elapsed() < PATIENCE,
                "waited too long for {words}: {status}"
            );
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    pub(crate) fn mode(&self, file: &str) -> u32 {
        fs::symlink_metadata(self.agent().path(file)).unwrap().mode() & 0o7777
    }

    /// Sends a signal, waits for the end; returns the exit code (-1 for a signal).
    pub(crate) fn end(&mut self, signal: Signal) -> i32 {
        kill_process(Pid::from_child(self.sidecar.as_ref().expect("it runs")), signal).unwrap();
        self.wait_for_end()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.sidecar.as_ref().expect("it runs").id()
    }

    /// Waits for the end; returns the exit code (-1 for a signal).
    pub(crate) fn wait_for_end(&mut self) -> i32 {
        let mut sidecar = self.sidecar.take().expect("it runs");
        let ended = wait_for("the sidecar to end", || sidecar.try_wait().unwrap());
        ended.code().unwrap_or(-1)
    }
}
