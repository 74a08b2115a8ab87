//! The real program in a process of its own.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A safety net: no start takes nearly as long.
const TOO_LONG: Duration = Duration::from_secs(120);

/// The program as cargo builds it, with the emulator in it.
pub(crate) const OWN: &str = env!("CARGO_BIN_EXE_token-broker");

/// A running `token-broker serve`.
pub(crate) struct Program {
    child: Child,
}

impl Program {
    /// Starts it and waits until it says that it is ready, as systemd would. Returns how long that took.
    pub(crate) fn start(config_file: &Path, in_memory: &Path) -> (Self, Duration) {
        Self::start_file(Path::new(OWN), config_file, in_memory)
    }

    /// The same with another build of the program.
    pub(crate) fn start_file(program: &Path, config_file: &Path, in_memory: &Path) -> (Self, Duration) {
        let socket = in_memory.join("notify.sock");
        let _ = fs::remove_file(&socket);
        let notices = UnixDatagram::bind(&socket).expect("a socket");
        notices.set_read_timeout(Some(TOO_LONG)).expect("a time limit");
        let begun = Instant::now();
        let child = Command::new(program)
            .args(["serve", "--config"])
            .arg(config_file)
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let program = Self { child };
        let mut notice = [0; 256];
        loop {
            let length = notices.recv(&mut notice).expect("the program gets ready");
            if notice[..length].starts_with(b"READY=1") {
                return (program, begun.elapsed());
            }
        }
    }

    /// What it has in memory, in KiB, by the names in `/proc/PID/status`.
    pub(crate) fn memory(&self, name: &str) -> f64 {
        memory(&format!("/proc/{}/status", self.child.id()), name)
    }

    /// Ends it as systemd would.
    pub(crate) fn stop(mut self) {
        let id = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Without effect on one that was stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn memory(status: &str, name: &str) -> f64 {
    let text = fs::read_to_string(status).expect("the system tells of the process");
    text.lines()
        .find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(':')?
                .trim()
                .strip_suffix(" kB")
        })
        .and_then(|number| number.trim().parse().ok())
        .expect("the system knows the figure")
}

/// How long each thread of this process was on a core so far, in seconds, by its name.
pub(crate) fn thread_times() -> Vec<(String, f64)> {
    let mut times: Vec<(String, f64)> = Vec::new();
    for task in fs::read_dir("/proc/self/task")
        .expect("the system tells of threads")
        .flatten()
    {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let name = read("comm").trim().to_owned();
        let nanoseconds: f64 = read("schedstat")
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or_default();
        let seconds = nanoseconds / 1e9;
        match times.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += seconds,
            None => times.push((name, seconds)),
        }
    }
    times
}
