//! A program that knows nothing of a broker, in a container without a network: Google's own libraries stay fresh.

use std::{
    fs::{self, File},
    io,
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};

use crate::{
    bundle::open_folder,
    container::Container,
    renewals::LIFETIME,
    support::{Daemon, Emulator, Output},
};

const CAPABILITIES: [&str; 2] = ["google.gmail.readonly", "google.calendar.readonly"];
/// One at the beginning, and one from each of ten renewals.
const TOKENS: usize = 11;

#[test]
fn exec_keeps_an_unmodified_python_agent_working_for_ten_renewals() {
    let google = Emulator::start(&LIFETIME);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &CAPABILITIES);
    daemon.start();
    daemon.connect("alice", &CAPABILITIES).expect_ok();
    let agent = daemon.wait_for_state("bot", "active");

    let python = Python::find();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let port = google.base_url.rsplit_once(':').unwrap().1.to_owned();
    let program = format!(
        "until nc -w 1 127.0.0.1 {port} </dev/null; do usleep 20000; done 2>/dev/null
        exec {} {}/library_agent.py {} {TOKENS}",
        python.program.display(),
        root.display(),
        google.base_url
    );
    let entry = [
        "token-broker",
        "exec",
        "--metadata",
        "127.0.0.1:0",
        "--",
        "sh",
        "-c",
        &program,
    ];
    let mut container = Container::of(&agent, &entry).program(&root);
    for folder in &python.folders {
        container = container.program(folder);
    }
    let mut container = container.start();
    let network = container.network();
    let interfaces = container.exec(&["cat", "/proc/net/dev"]).expect_ok();
    let names = interfaces.stdout.lines().filter_map(|line| line.split_once(':'));
    let names: Vec<&str> = names.map(|(name, _)| name.trim()).collect();
    assert_eq!(names, ["lo"], "there is no network but loopback");
    bring_in(network, &port);

    assert_eq!(container.wait(), 0, "{}", container.stderr());
    let seen: Value = serde_json::from_str(&container.stdout()).unwrap();
    let mut tokens: Vec<&str> = seen["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token.as_str().unwrap())
        .collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), TOKENS, "{seen}");
    assert_eq!(
        seen["credentials"],
        "google.auth.compute_engine.credentials.Credentials"
    );
    assert_eq!(seen["address"], "alice@example.com");
    assert!(
        seen["events"]
            .as_array()
            .unwrap()
            .contains(&json!("Weekly planning")),
        "{seen}"
    );
    // No call had to be made again with another token.
    assert_eq!(google.count("api_unauthorized"), 0);
}

/// gRPC's C core has the metadata server's name and port built in, with the dot of the root at the name's end, which
/// the line in `/etc/hosts` has to have as well: that is what `--add-host` makes. `exec` serves the port, which needs no
/// privilege in a network namespace of one's own.
#[test]
fn a_client_with_a_fixed_host_finds_the_metadata_server_in_the_agents_own_namespace() {
    let google = Emulator::start(&LIFETIME);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &CAPABILITIES);
    daemon.start();
    daemon.connect("alice", &CAPABILITIES).expect_ok();
    let agent = daemon.wait_for_state("bot", "active");

    let usually = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/cpp/library_agent");
    let program = std::env::var_os("TOKEN_BROKER_TEST_CPP_AGENT").map_or(usually, PathBuf::from);
    assert!(
        program.exists(),
        "{} is not there: run tests/run",
        program.display()
    );
    let tokens = 4.to_string();
    let entry = [
        "token-broker",
        "exec",
        "--metadata",
        "127.0.0.1:80",
        "--",
        program.to_str().unwrap(),
        &tokens,
    ];
    let folder = open_folder();
    let hosts = folder.path().join("hosts");
    fs::write(
        &hosts,
        "127.0.0.1 localhost metadata.google.internal metadata.google.internal.\n",
    )
    .unwrap();
    let mut container = Container::of(&agent, &entry)
        .mount(hosts, "/etc/hosts")
        .program(program.parent().unwrap());
    for folder in ["/usr", "/lib", "/lib64"].map(Path::new) {
        if folder.exists() {
            container = container.program(folder);
        }
    }
    let mut container = container.start();
    assert_eq!(container.wait(), 0, "{}", container.stderr());
    let seen: Value = serde_json::from_str(&container.stdout()).unwrap();
    assert!(seen["tokens"].as_array().unwrap().len() >= 4, "{seen}");
}

/// Google's APIs, as the emulator has them, on the same port inside the network namespace.
fn bring_in(network: File, port: &str) {
    let address = format!("127.0.0.1:{port}");
    // A socket belongs for good to the namespace in which it is made, and a thread can move to another one.
    let inside = thread::spawn({
        let address = address.clone();
        move || {
            use std::os::fd::AsFd;
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            TcpListener::bind(address).unwrap()
        }
    });
    let listener = inside.join().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (inside, outside) = (stream.unwrap(), TcpStream::connect(&address).unwrap());
            let (from, to) = (inside.try_clone().unwrap(), outside.try_clone().unwrap());
            thread::spawn(move || pass(from, to));
            thread::spawn(move || pass(outside, inside));
        }
    });
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// The interpreter that `tests/run` installed packages for, and where it has its files.
struct Python {
    program: PathBuf,
    folders: Vec<PathBuf>,
}

impl Python {
    #[track_caller]
    fn find() -> Self {
        let usually = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/venv/bin/python");
        let program = std::env::var_os("TOKEN_BROKER_TEST_PYTHON").map_or(usually, PathBuf::from);
        let say = "import os, sys; print(sys.prefix); print(sys.base_prefix); \
                   print(os.path.dirname(os.path.realpath(sys.executable)))";
        let said = Output::of(Command::new(&program).args(["-c", say])).expect_ok();
        let mut folders: Vec<PathBuf> = said.stdout.lines().map(PathBuf::from).collect();
        // What it is linked with.
        let libraries = ["/usr", "/lib", "/lib64"].map(PathBuf::from);
        folders.extend(libraries.into_iter().filter(|folder| folder.exists()));
        folders.sort();
        folders.dedup();
        let all = folders.clone();
        folders.retain(|folder| {
            !all.iter()
                .any(|other| other != folder && folder.starts_with(other))
        });
        Self { program, folders }
    }
}
