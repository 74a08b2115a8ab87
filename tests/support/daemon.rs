//! The daemon, as a process with folders of its own.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use super::{
    command::{Output, program, program_as, program_named},
    emulator::{CLIENT_ID, Emulator},
    grpc::{self, Admin},
    http::{Answer, get, try_get},
    pipe::Pipe,
    wait_for,
};

/// A start that failed.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: i32,
    /// What it wrote to standard error in this start.
    pub(crate) stderr: String,
}

/// A daemon's folders, and the daemon while it runs; killed and removed with this value.
///
/// State is on disk, as it is meant to be, and the runtime folder in memory where there is a place for that.
pub(crate) struct Daemon {
    folder: TempDir,
    runtime: TempDir,
    /// More environment for the daemon.
    pub(crate) environment: Vec<(String, String)>,
    /// A program, with its arguments, that starts the daemon in its own place.
    pub(crate) launcher: Vec<String>,
    running: Mutex<Option<Running>>,
    starts: AtomicUsize,
    /// What commands said, for the search for secrets.
    transcript: Mutex<Vec<Output>>,
}

struct Running {
    process: Child,
    http: String,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut running) = self.running().take() {
            let _ = running.process.kill();
            let _ = running.process.wait();
        }
        if std::thread::panicking() {
            use std::io::Write;
            // Through a captured test's own output, for whoever looks for the reason.
            let _ = writeln!(std::io::stderr(), "--- the daemon's log\n{}", self.log());
        }
    }
}

impl Daemon {
    /// New folders with a configuration and a key, made by `init`.
    pub(crate) fn new(google: &Emulator) -> Self {
        Self::with(google, &[])
    }

    /// The same, with more keys of the configuration as `("renewal.concurrency", "4")`.
    pub(crate) fn with(google: &Emulator, settings: &[(&str, &str)]) -> Self {
        Self::against(&google.base_url, &google.client_secret, settings)
    }

    /// The same, against whatever has Google's paths at `base_url`.
    pub(crate) fn against(base_url: &str, client_secret: &str, settings: &[(&str, &str)]) -> Self {
        let daemon = Self {
            folder: tempfile::Builder::new()
                .prefix("token-broker-")
                .tempdir()
                .unwrap(),
            runtime: in_memory(),
            environment: Vec::new(),
            launcher: Vec::new(),
            running: Mutex::new(None),
            starts: AtomicUsize::new(0),
            transcript: Mutex::new(Vec::new()),
        };
        for folder in [daemon.folder.path(), daemon.runtime.path()] {
            // Agents of other uids pass through.
            fs::set_permissions(folder, Permissions::from_mode(0o711)).unwrap();
        }
        fs::create_dir(daemon.config_dir()).unwrap();
        let secret = daemon.config_dir().join("client_secret");
        fs::write(&secret, client_secret).unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let mut values = vec![
            ("state_dir", path(&daemon.state_dir())),
            ("runtime_dir", path(&daemon.runtime_dir())),
            ("http_listen", "127.0.0.1:0".to_owned()),
            ("google.client_id", CLIENT_ID.to_owned()),
            ("google.client_secret_file", path(&secret)),
            ("google.endpoint_base", base_url.to_owned()),
        ];
        for (key, value) in settings {
            values.retain(|(known, _)| known != key);
            values.push((key, (*value).to_owned()));
        }
        let mut init = program();
        init.arg("init").arg("--config-dir").arg(daemon.config_dir());
        for (key, value) in values {
            init.arg("--set").arg(format!("{key}={value}"));
        }
        Output::of(&mut init).expect_ok();
        daemon
    }

    pub(crate) fn config_dir(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.config_dir().join("config.toml")
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.config_dir().join("master.key")
    }

    pub(crate) fn agents_d(&self) -> PathBuf {
        self.config_dir().join("agents.d")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn runtime_dir(&self) -> PathBuf {
        self.runtime.path().join("run")
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.runtime_dir().join("admin.sock")
    }

    /// Where the log of the start with this number goes.
    fn log_file(&self, start: usize) -> PathBuf {
        self.folder.path().join(format!("daemon-{start}.log"))
    }

    /// What the daemon has logged since it was last started.
    pub(crate) fn log(&self) -> String {
        let starts = self.starts.load(Ordering::Relaxed);
        fs::read_to_string(self.log_file(starts)).unwrap_or_default()
    }

    /// What the daemon has logged over all its starts.
    pub(crate) fn whole_log(&self) -> String {
        let starts = self.starts.load(Ordering::Relaxed);
        let logs = (1..=starts).map(|start| fs::read_to_string(self.log_file(start)).unwrap_or_default());
        logs.collect()
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(&self) {
        if let Err(refused) = self.try_start() {
            panic!("the daemon did not start ({}): {}", refused.code, refused.stderr);
        }
    }

    /// Starts it and waits until its start is complete or it has ended.
    pub(crate) fn try_start(&self) -> Result<(), Refused> {
        assert!(self.running().is_none(), "it runs already");
        let mut process = self.spawn();
        let http = wait_for("the daemon to be ready or to end", || {
            // Looked at first: whatever it logged before its end is complete then.
            let ended = process.try_wait().unwrap();
            if let Some(ended) = ended {
                return Some(Err(Refused {
                    code: ended.code().unwrap_or(-1),
                    stderr: self.log(),
                }));
            }
            let url = format!("http://{}", ready_address(&self.log())?);
            // Started, whether or not there is something that it cannot do.
            let started = try_get(&format!("{url}/readyz"))
                .is_ok_and(|answer| !answer.text().contains("files are not all written"));
            started.then_some(Ok(url))
        })?;
        *self.running() = Some(Running { process, http });
        Ok(())
    }

    /// Starts the process and waits for nothing; the caller has it and must end it.
    pub(crate) fn spawn(&self) -> Child {
        let start = self.starts.fetch_add(1, Ordering::Relaxed) + 1;
        self.spawn_logging_to(File::create(self.log_file(start)).unwrap().into())
    }

    /// Starts it with a pipe for its log, which was read until it was ready.
    pub(crate) fn start_logging_to_a_pipe(&self) -> Pipe {
        let mut pipe = Pipe::new();
        let process = self.spawn_logging_to(pipe.end());
        let log = pipe.read_until("agents=");
        let address = ready_address(&log).unwrap_or_else(|| panic!("where is it? {log}"));
        let http = format!("http://{address}");
        *self.running() = Some(Running { process, http });
        pipe
    }

    fn spawn_logging_to(&self, log: Stdio) -> Child {
        let mut command = self.command(&["serve"]);
        if let Some((launcher, arguments)) = self.launcher.split_first() {
            let daemon = std::mem::replace(&mut command, program_named(launcher));
            command
                .args(arguments)
                .arg(daemon.get_program())
                .args(daemon.get_args());
        }
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.running().as_ref().expect("it runs").process.id()
    }

    /// Whether its process is still there.
    pub(crate) fn is_alive(&self) -> bool {
        let mut running = self.running();
        let running = running.as_mut().expect("it runs");
        running.process.try_wait().unwrap().is_none()
    }

    /// The origin of its pages.
    pub(crate) fn http(&self) -> String {
        self.running().as_ref().expect("it runs").http.clone()
    }

    /// `GET` of one of its pages.
    pub(crate) fn page(&self, path: &str) -> Answer {
        get(&format!("{}{path}", self.http()))
    }

    /// The whole of `/metrics`.
    pub(crate) fn metrics(&self) -> String {
        self.page("/metrics").expect_ok().text().to_owned()
    }

    /// The sum of the samples of `/metrics` whose line begins with `series`.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let metrics = self.metrics();
        let samples = metrics.lines().filter(|line| line.starts_with(series));
        samples
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Kills it as a power cut would: no chance to do anything.
    pub(crate) fn kill9(&self) {
        let mut running = self.running().take().expect("it runs");
        running.process.kill().unwrap();
        running.process.wait().unwrap();
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Asks it to end with SIGTERM and waits; returns its exit code (-1 for a signal).
    pub(crate) fn terminate(&self) -> i32 {
        self.signal(Signal::TERM);
        self.wait_for_end()
    }

    /// Waits until it has ended by itself; returns its exit code (-1 for a signal).
    pub(crate) fn wait_for_end(&self) -> i32 {
        let mut running = self.running().take().expect("it runs");
        let ended = wait_for("the daemon to end", || running.process.try_wait().unwrap());
        ended.code().unwrap_or(-1)
    }

    /// SIGTERM and a new start.
    pub(crate) fn restart(&self) {
        assert_eq!(self.terminate(), 0, "{}", self.log());
        self.start();
    }

    /// The program with this daemon's configuration.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.arg("--config").arg(self.config_file()).args(args);
        command
    }

    /// The same under another uid.
    pub(crate) fn command_as(&self, uid: u32, args: &[&str]) -> Command {
        let mut command = program_as(uid, Path::new(env!("CARGO_BIN_EXE_token-broker")));
        command.arg("--admin-socket").arg(self.admin_socket()).args(args);
        command
    }

    /// Runs a command against this daemon.
    pub(crate) fn cli(&self, args: &[&str]) -> Output {
        let output = Output::of(&mut self.command(args));
        // These print a secret: it is what they are for.
        if ["token", "env", "exec", "console"].contains(&args[0]) {
            return output;
        }
        self.remember(output)
    }

    /// Keeps what a command said for [`Daemon::scan_for_secrets`].
    pub(crate) fn remember(&self, output: Output) -> Output {
        self.transcript.lock().unwrap().push(output.clone());
        output
    }

    /// What commands have said so far, but those that print a token.
    pub(crate) fn transcript(&self) -> String {
        let transcript = self.transcript.lock().unwrap();
        let texts = transcript
            .iter()
            .map(|output| format!("{}\n{}\n", output.stdout, output.stderr));
        texts.collect()
    }

    /// A gRPC client of the admin socket.
    pub(crate) fn admin(&self) -> Admin {
        grpc::admin(&self.admin_socket())
    }
}

/// The address in the line that says that it is ready, in a log for people or for programs.
fn ready_address(log: &str) -> Option<&str> {
    let ready = |line: &&str| line.contains(" ready ") || line.contains("\"ready\"");
    let line = log.lines().find(ready)?;
    let address = line
        .split_once("http=")
        .or_else(|| line.split_once("\"http\":\""))?
        .1;
    address.split([' ', '"']).next()
}

/// A folder in memory where there is one: what a runtime folder is meant to be.
fn in_memory() -> TempDir {
    let mut builder = tempfile::Builder::new();
    builder.prefix("token-broker-");
    builder
        .tempdir_in("/dev/shm")
        .or_else(|_| builder.tempdir())
        .unwrap()
}
