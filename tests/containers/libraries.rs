//! Google's own libraries in a program that knows nothing of a broker, in a container without a network.

use std::{
    fs::File,
    net::{TcpListener, TcpStream},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::{
    bundle::installed,
    container::Container,
    renewals::{LIFETIME, next_token},
    support::{Agent, Daemon, Emulator, Output},
};

const CAPABILITIES: [&str; 2] = ["google.gmail.readonly", "google.calendar.readonly"];
/// One at the beginning, and one of each renewal.
const TOKENS: usize = 11;
/// Where `exec` serves the libraries, and where they find their API.
const METADATA: &str = "127.0.0.1:8422";
const API: &str = "127.0.0.1:8423";
const TOKEN: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

/// The interpreter with its packages, and all of the node that it needs.
struct Python {
    interpreter: PathBuf,
    program: PathBuf,
    mounts: Vec<PathBuf>,
}

impl Python {
    fn installed() -> Self {
        let interpreter = installed("TOKEN_BROKER_TEST_PYTHON", ".tools/venv/bin/python");
        let script = "import sys; print(sys.prefix); print(sys.base_prefix)";
        let asked = Output::of(Command::new(&interpreter).args(["-c", script])).expect_ok();
        let own = asked.stdout.lines().map(PathBuf::from);
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
        // The C library, with its loader's list of further folders.
        let system = ["/usr", "/lib", "/lib64", "/etc/ld.so.cache"].map(PathBuf::from);
        let mut mounts: Vec<PathBuf> = system.into_iter().filter(|path| path.exists()).collect();
        mounts.extend(own.filter(|path| !path.starts_with("/usr")));
        mounts.push(programs.clone());
        Self {
            interpreter,
            program: programs.join("library_agent.py"),
            mounts,
        }
    }

    /// `exec` as the entry point, and the program as its command.
    fn container(self, agent: &Agent) -> Container {
        let tokens = TOKENS.to_string();
        let [interpreter, program] = [&self.interpreter, &self.program].map(|path| path.to_str().unwrap());
        let api = format!("http://{API}");
        let command = ["token-broker", "exec", "--metadata", METADATA, "--"];
        let program = [interpreter, "-B", "-I", program, &api, &tokens];
        Container::of(agent, &[&command[..], &program].concat())
            .programs(self.mounts)
            .start()
    }
}

/// Brings the emulated Google's address to a port of the container's own loopback. Nothing runs inside for that: the
/// port belongs to the container's network, and what accepts there to this process.
fn bring_google_to(container: &Container, google: &Emulator) {
    let namespace = File::open(format!("/proc/{}/ns/net", container.pid())).unwrap();
    let inside = thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        TcpListener::bind(API).unwrap()
    });
    let listener = inside.join().unwrap();
    let google = google.base_url.strip_prefix("http://").unwrap().to_owned();
    thread::spawn(move || {
        while let Ok((caller, _)) = listener.accept() {
            let google = TcpStream::connect(&google).unwrap();
            for (from, to) in [(&caller, &google), (&google, &caller)] {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
}

#[test]
fn an_unmodified_program_works_through_ten_renewals_without_a_network() {
    let google = Emulator::start(&LIFETIME);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &CAPABILITIES);
    daemon.start();
    let agent = daemon.wait_for_state("bot", "not_connected");
    // It waits for the token, so that everything is in its place when the program begins.
    let mut container = Python::installed().container(&agent);
    bring_google_to(&container, &google);
    let routes = container.exec(&["cat", "/proc/net/route"]).expect_ok();
    assert_eq!(
        routes.stdout.lines().count(),
        1,
        "nothing leads anywhere: {routes:?}"
    );
    let mut events = agent.watch();
    daemon.connect("alice", &CAPABILITIES).expect_ok();
    let told: Vec<String> = (0..TOKENS).map(|_| next_token(&mut events)).collect();

    assert_eq!(container.wait(), 0, "{}", container.stderr());
    let seen: Value = serde_json::from_str(&container.stdout()).unwrap();
    let used: Vec<&str> = seen["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token.as_str().unwrap())
        .collect();
    assert_eq!(used, told, "each token, in one process, and none left out");
    assert_eq!(seen["address"], "alice@example.com");
    assert_eq!(
        seen["credentials"],
        "google.auth.compute_engine.credentials.Credentials"
    );
    // Every call was good at once: no library had to try again with another token.
    assert!(seen["calls"].as_u64().unwrap() >= 2 * TOKENS as u64, "{seen}");
    assert_eq!(google.count("api_unauthorized"), 0);
}

#[test]
fn the_metadata_server_of_exec_outlives_the_daemon() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &CAPABILITIES);
    daemon.start();
    daemon.connect("alice", &CAPABILITIES).expect_ok();
    let agent = daemon.wait_for_state("bot", "active");
    let script = "env | grep GCE_METADATA_HOST; exec sleep infinity";
    let command = [
        "token-broker",
        "exec",
        "--metadata",
        METADATA,
        "--",
        "sh",
        "-c",
        script,
    ];
    let container = Container::of(&agent, &command).start();
    let lines = container.wait_for_lines(1);
    assert_eq!(lines, [format!("GCE_METADATA_HOST={METADATA}")]);
    let ask = || {
        let url = format!("http://{METADATA}{TOKEN}");
        container.exec(&["wget", "-qO-", "--header", "Metadata-Flavor: Google", &url])
    };
    let answer = ask().expect_ok().json();
    assert_eq!(answer["access_token"], agent.token().unwrap());
    daemon.kill9();
    let away = ask();
    assert!(away.stderr.contains("503"), "{away:?}");
    daemon.start();
    daemon.wait_for_state("bot", "active");
    assert_eq!(ask().expect_ok().json()["token_type"], "Bearer");
    // Nothing but this protocol: the agent's other paths are its socket's alone.
    let other = container.exec(&["wget", "-qO-", &format!("http://{METADATA}/v1/token")]);
    assert!(other.stderr.contains("404"), "{other:?}");
}
