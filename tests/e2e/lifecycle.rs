//! The process: its start, its signals, its end.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Daemon, Emulator, PATIENCE, get, wait_for, wait_until};

const SEND: &str = "google.gmail.send";
const DRIVE: &str = "google.drive.readonly";

fn running() -> (Emulator, Daemon) {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND, DRIVE]);
    daemon.start();
    daemon.connect("alice", &[SEND, DRIVE]).expect_ok();
    daemon.wait_for_state("bot", "active");
    (google, daemon)
}

#[test]
fn sigterm_lets_what_is_under_way_end_and_nobody_answers_any_more() {
    let (google, daemon) = running();
    let agent = daemon.agent("bot");
    let mut events = agent.watch();
    events.until("the token", |event, _| event == "token");
    // Google takes its time with a token that somebody asks for.
    let hold = google.fault(&json!({ "endpoint": "token", "hold": true }));
    let asking = std::thread::spawn({
        let agent = agent.clone();
        move || agent.get("/v1/token?capability=google.gmail.send")
    });
    google.wait_for_count("faults_struck", 1);
    daemon.signal(Signal::TERM);
    // Whoever only watches is let go at once, and the daemon takes nobody new.
    while events.next().is_some() {}
    wait_until("the agent's socket to go", || {
        agent.try_get("/v1/status").is_err()
    });
    assert!(daemon.is_alive(), "it waits for what is under way");
    google.clear_fault(&hold);
    let answer = asking.join().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(daemon.wait_for_end(), 0, "{}", daemon.log());
    assert!(!daemon.admin_socket().exists());
    assert!(
        agent.try_get("/v1/token").is_err(),
        "nobody answers on what is left of the agent's"
    );
    // What was obtained at the end was kept.
    daemon.start();
    let refreshes = google.count("refresh");
    let again = agent
        .get("/v1/token?capability=google.gmail.send")
        .expect_ok()
        .json();
    assert_eq!(again["access_token"], answer.json()["access_token"]);
    assert_eq!(google.count("refresh"), refreshes);
}

#[test]
fn a_provider_that_never_answers_does_not_keep_it_from_ending() {
    let (google, daemon) = running();
    google.fault(&json!({ "endpoint": "token", "hold": true }));
    let agent = daemon.agent("bot");
    let asking = std::thread::spawn({
        let agent = agent.clone();
        move || agent.try_get("/v1/token?capability=google.gmail.send")
    });
    google.wait_for_count("faults_struck", 1);
    daemon.signal(Signal::INT);
    wait_until("the agent's socket to go", || {
        agent.try_get("/v1/status").is_err()
    });
    assert!(daemon.is_alive(), "it waits for what is under way");
    // Who cannot wait says so once more, later than what signals a process and its group at once.
    wait_until("its end", || {
        daemon.signal(Signal::INT);
        !daemon.is_alive()
    });
    assert_eq!(daemon.wait_for_end(), 1, "{}", daemon.log());
    assert!(daemon.log().contains("a second signal"), "{}", daemon.log());
    let _ = asking.join().unwrap();
}

#[test]
fn a_slow_answer_with_the_only_copy_of_a_grant_is_waited_for() {
    let google = Emulator::start(&["--rotation", "strict"]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("bot", "active");
    // The old grant is spent, and the answer with the new one takes longer than anything else may at the end.
    let hold = google.fault(&json!({ "endpoint": "token", "hold_answer": true }));
    let agent = daemon.agent("bot");
    let asking = std::thread::spawn(move || agent.try_get("/v1/token?refresh=true"));
    google.wait_for_count("faults_struck", 1);
    daemon.signal(Signal::TERM);
    wait_until("the end of all else", || {
        !daemon.is_alive() || daemon.log().contains("waiting for the provider's answers")
    });
    google.clear_fault(&hold);
    assert_eq!(daemon.wait_for_end(), 0, "{}", daemon.log());
    let _ = asking.join().unwrap();
    daemon.start();
    let agent = daemon.wait_for_state("bot", "active");
    agent.get("/v1/token?refresh=true").expect_ok();
    daemon
        .cli(&["integrations", "check", "--owner", "alice"])
        .expect_ok();
}

#[test]
fn a_restart_asks_google_for_nothing_and_has_the_files_before_it_is_ready() {
    let (google, daemon) = running();
    let agent = daemon.agent("bot");
    let env = agent.env();
    let refreshes = google.count("refresh");
    for restart in [Daemon::restart, |daemon: &Daemon| {
        daemon.kill9();
        // Whoever cleans up after the daemon may have taken the whole folder.
        fs::remove_dir_all(daemon.runtime_dir()).unwrap();
        daemon.start();
    }] {
        restart(&daemon);
        assert_eq!(agent.env(), env);
        assert_eq!(agent.get("/v1/env").expect_ok().text(), env);
    }
    assert_eq!(google.count("refresh"), refreshes);
    for (path, text) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        assert_eq!(daemon.page(path).expect_ok().text(), text);
    }
    assert!((daemon.metric("token_broker_agents{state=\"active\"}") - 1.0).abs() < f64::EPSILON);
}

#[test]
fn what_a_killed_daemon_left_behind_is_cleaned_up() {
    let (_google, daemon) = running();
    daemon.write_manifest("gone", "alice", &[SEND]);
    let gone = daemon.wait_for_state("gone", "active");
    daemon.kill9();
    assert!(daemon.admin_socket().exists(), "nothing was cleaned up yet");
    fs::remove_file(daemon.agents_d().join("gone.yaml")).unwrap();
    daemon.start();
    assert!(!gone.directory.exists(), "the agent went while nobody watched");
    assert_eq!(daemon.agent("bot").get("/v1/token").status, 200);
    daemon.cli(&["status"]).expect_ok();
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_stops() {
    let google = Emulator::start(&[]);
    let mut daemon = Daemon::new(&google);
    let path = daemon.config_dir().join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    daemon
        .environment
        .push(("NOTIFY_SOCKET".to_owned(), path.to_str().unwrap().to_owned()));
    let next = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    daemon.start();
    assert!(next().lines().any(|line| line == "READY=1"));
    assert_eq!(daemon.terminate(), 0);
    assert!(next().lines().any(|line| line == "STOPPING=1"));
}

#[test]
fn sighup_reads_manifests_and_log_level_again_and_survives_a_broken_file() {
    let (_google, daemon) = running();
    let config = fs::read_to_string(daemon.config_file()).unwrap();
    assert!(!daemon.log().contains("DEBUG"));
    let louder = config.replace("# level = \"info\"", "level = \"debug\"");
    assert_ne!(louder, config);
    fs::write(daemon.config_file(), louder).unwrap();
    daemon.signal(Signal::HUP);
    wait_until("the reload", || daemon.log().contains("were read again"));

    fs::write(daemon.config_file(), format!("stat_dir = \"/x\"\n{config}")).unwrap();
    daemon.signal(Signal::HUP);
    let line = wait_for("the complaint", || {
        let log = daemon.log();
        log.lines()
            .find(|line| line.contains("stat_dir"))
            .map(str::to_owned)
    });
    assert!(line.contains("the one in force stays"), "{line}");
    assert!(
        line.contains("config.toml:1") || line.contains("line 1"),
        "{line}"
    );
    assert_eq!(daemon.agent("bot").get("/v1/token").status, 200);

    fs::write(
        daemon.config_file(),
        config.replace("# concurrency = 64", "concurrency = 8"),
    )
    .unwrap();
    daemon.signal(Signal::HUP);
    wait_until("the hint at a restart", || {
        daemon.log().contains("take a restart")
    });
}

#[test]
fn a_start_that_cannot_work_says_why() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    let config = fs::read_to_string(daemon.config_file()).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let cases = [
        (
            config.replace("127.0.0.1:0\"", &format!("{address}\"")),
            1,
            address.as_str(),
        ),
        (format!("stat_dir = \"/x\"\n{config}"), 7, "state_dir"),
        (
            config.replace("endpoint_base = \"http://127", "endpoint_base = \"http://8"),
            7,
            "endpoint_base",
        ),
        (
            config.replace("\nclient_id = ", "\n# client_id = "),
            7,
            "client_id",
        ),
    ];
    for (text, code, sentence) in cases {
        assert_ne!(text, config);
        fs::write(daemon.config_file(), text).unwrap();
        let refused = daemon.try_start().unwrap_err();
        assert!(
            refused.stderr.lines().last().unwrap().contains(sentence),
            "{}",
            refused.stderr
        );
        assert_eq!(refused.code, code, "{}", refused.stderr);
    }
    fs::write(daemon.config_file(), config).unwrap();
    daemon.start();
    assert_eq!(get(&format!("{}/readyz", daemon.http())).status, 200);
}

#[test]
fn it_ends_within_seconds_under_load() {
    let (_google, daemon) = running();
    let agent = daemon.agent("bot");
    let watchers: Vec<_> = (0..20).map(|_| agent.watch()).collect();
    let asked = std::time::Instant::now();
    assert_eq!(daemon.terminate(), 0, "{}", daemon.log());
    // Its own limit for what is under way is 10 s; nothing is, so it is nowhere near.
    assert!(asked.elapsed() < Duration::from_secs(9), "{:?}", asked.elapsed());
    assert!(!daemon.log().contains("still under way"), "{}", daemon.log());
    drop(watchers);
}

/// What systemd is to a service of type `notify`: a socket, and a word that it waits for every so often.
struct Systemd {
    _folder: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Systemd {
    /// Becomes the daemon's, with this watchdog.
    fn of(daemon: &mut Daemon, watchdog: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut set = |name: &str, value: String| daemon.environment.push((name.to_owned(), value));
        set("NOTIFY_SOCKET", path.to_str().unwrap().to_owned());
        set("WATCHDOG_USEC", watchdog.as_micros().to_string());
        Self {
            _folder: folder,
            socket,
        }
    }

    /// Waits for this word.
    fn hear(&self, word: &str, within: Duration) -> bool {
        let mut buffer = [0; 256];
        let until = Instant::now() + within;
        while let Some(left) = until
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
        {
            self.socket.set_read_timeout(Some(left)).unwrap();
            if let Ok(length) = self.socket.recv(&mut buffer)
                && String::from_utf8_lossy(&buffer[..length]).contains(word)
            {
                return true;
            }
        }
        false
    }
}

#[test]
fn systemds_watchdog_is_fed_while_the_daemon_goes_on() {
    let google = Emulator::start(&[]);
    let mut daemon = Daemon::new(&google);
    let watchdog = Duration::from_secs(1);
    let systemd = Systemd::of(&mut daemon, watchdog);
    daemon.start();
    assert!(systemd.hear("READY=1", PATIENCE));
    for _ in 0..3 {
        assert!(systemd.hear("WATCHDOG=1", PATIENCE));
    }
    // Somebody else holds the database, and the thread that writes waits for it.
    let held = rusqlite::Connection::open(daemon.state_dir().join("broker.db")).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    // What was answered just before may still count.
    wait_until("silence", || !systemd.hear("WATCHDOG=1", watchdog * 2));
    assert_eq!(daemon.page("/healthz").status, 200);
    held.execute_batch("ROLLBACK").unwrap();
    assert!(systemd.hear("WATCHDOG=1", PATIENCE));
    daemon.signal(Signal::TERM);
    assert!(systemd.hear("STOPPING=1", PATIENCE));
    assert_eq!(daemon.wait_for_end(), 0, "{}", daemon.log());
}
