//! A node's machine: its folders, and the daemon on it while it runs.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    broker::Broker,
    support::{Agent, Signed, program, wait_for, wait_until},
};

/// The machine.
pub(crate) struct Machine {
    folder: TempDir,
    runtime: TempDir,
    daemon: Option<Child>,
    starts: usize,
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        if std::thread::panicking() {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "--- the node's log\n{}", self.log());
        }
    }
}

impl Machine {
    /// With a certificate of this name's, and no daemon yet.
    pub(crate) fn new(broker: &Broker, name: &str) -> Self {
        Self::with(broker, &broker.authority.client(&[name]))
    }

    pub(crate) fn with(broker: &Broker, signed: &Signed) -> Self {
        let folder = tempfile::Builder::new().prefix("node-").tempdir().unwrap();
        let runtime = tempfile::Builder::new()
            .prefix("node-")
            .tempdir_in("/dev/shm")
            .unwrap();
        let (certificate, key) = signed.put(folder.path(), "node");
        fs::write(folder.path().join("ca.crt"), &broker.authority.pem).unwrap();
        let config = format!(
            "runtime_dir = '{}'\nhttp_listen = '127.0.0.1:0'\n[upstream]\nurl = 'https://localhost:{}'\nca_file = '{}'\n\
             certificate_file = '{}'\nkey_file = '{}'\n",
            runtime.path().join("run").display(),
            broker.port,
            folder.path().join("ca.crt").display(),
            certificate.display(),
            key.display(),
        );
        fs::write(folder.path().join("config.toml"), config).unwrap();
        Self {
            folder,
            runtime,
            daemon: None,
            starts: 0,
        }
    }

    /// The same, and its daemon runs.
    pub(crate) fn started(broker: &Broker, name: &str) -> Self {
        let mut machine = Self::new(broker, name);
        machine.start();
        machine
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    pub(crate) fn runtime_dir(&self) -> PathBuf {
        self.runtime.path().join("run")
    }

    pub(crate) fn start(&mut self) {
        assert!(self.daemon.is_none(), "it runs already");
        self.starts += 1;
        let log = File::create(self.log_file()).unwrap();
        let mut command = program();
        command.arg("--config").arg(self.config_file()).arg("serve");
        self.daemon = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        wait_until("the node to run", || self.log().contains("ready as a node"));
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join(format!("node-{}.log", self.starts))
    }

    /// What it wrote to standard error since its last start.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// SIGTERM; returns the exit code.
    pub(crate) fn terminate(&mut self) -> i32 {
        let mut daemon = self.daemon.take().expect("it runs");
        kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
        let ended = wait_for("the node to end", || daemon.try_wait().unwrap());
        ended.code().unwrap_or(-1)
    }

    /// What an agent on this machine sees.
    pub(crate) fn agent(&self, name: &str) -> Agent {
        Agent {
            name: name.to_owned(),
            directory: self.runtime_dir().join("agents").join(name),
        }
    }

    /// Waits for a token of an agent's that is not `old`.
    pub(crate) fn wait_for_token(&self, agent: &str, old: Option<&str>) -> String {
        wait_for("a token on the node", || {
            self.agent(agent)
                .token()
                .filter(|token| Some(token.as_str()) != old)
        })
    }

    /// Waits until an agent's `env` names this state and no token.
    pub(crate) fn wait_for_none(&self, agent: &str, state: &str) {
        let said = format!("TOKEN_BROKER_STATE={state}\n");
        wait_until("the token to be gone", || {
            let env = self.agent(agent).try_read("env").unwrap_or_default();
            env.contains(&said) && !env.contains("ACCESS_TOKEN")
        });
        assert_eq!(self.agent(agent).try_read("access_token"), None);
    }

    /// Everything that lies on the machine of the node's, as bytes by path.
    pub(crate) fn everything(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        for root in [self.folder.path(), self.runtime.path()] {
            collect(root, &mut found);
        }
        found
    }
}

fn collect(folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            collect(&path, found);
        } else if kind.is_file() {
            found.push((path.clone(), fs::read(path).unwrap_or_default()));
        }
    }
}
