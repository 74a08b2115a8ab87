//! A daemon whose records are in `PostgreSQL`.

#[path = "../support/postgres.rs"]
#[allow(dead_code, reason = "the stores' own tests need more of it")]
mod server;

use std::{fs, os::unix::fs::symlink, path::PathBuf, thread};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Daemon, Emulator, wait_until};

const SEND: &str = "google.gmail.send";

fn wait<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(what)
}

/// A database that can be taken away: by the way to its socket.
struct Database {
    url: String,
    way: TempDir,
}

impl Database {
    fn new() -> Self {
        let database = Self {
            url: wait(server::server().database()),
            way: tempfile::tempdir().unwrap(),
        };
        database.come_back();
        database
    }

    /// What `store.url` says.
    fn setting(&self) -> String {
        let own = server::server().folder.display().to_string();
        self.url.replace(&own, &self.way.path().display().to_string())
    }

    fn socket(&self) -> PathBuf {
        self.way.path().join(".s.PGSQL.5432")
    }

    fn go_away(&self) {
        fs::remove_file(self.socket()).unwrap();
        self.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()");
    }

    fn come_back(&self) {
        symlink(server::server().folder.join(".s.PGSQL.5432"), self.socket()).unwrap();
    }

    fn run(&self, statements: &str) {
        wait(server::execute(&self.url, statements));
    }

    fn daemon(&self, google: &Emulator) -> Daemon {
        let daemon = Daemon::with(
            google,
            &[("store.url", &self.setting()), ("cluster.name", "broker-1")],
        );
        daemon.write_manifest("bot", "alice", &[SEND]);
        daemon
    }
}

fn connect(daemon: &Daemon) -> String {
    daemon
        .connect_as("alice", "alice@example.com", &[SEND])
        .expect_ok();
    daemon.wait_for_state("bot", "active");
    daemon.wait_for_token("bot", None)
}

#[test]
fn a_daemon_on_a_server_does_what_one_on_a_file_does() {
    let (google, database) = (Emulator::start(&[]), Database::new());
    let daemon = database.daemon(&google);
    let empty = daemon.cli(&["store", "check"]).expect_ok();
    assert!(empty.stdout.contains("it is empty"), "{}", empty.stdout);
    daemon.start();
    let token = connect(&daemon);
    let asked = google.count("refresh");
    for crash in [false, true] {
        if crash {
            daemon.kill9();
            daemon.start();
        } else {
            daemon.restart();
        }
        daemon.wait_for_state("bot", "active");
        assert_eq!(daemon.agent("bot").token().as_deref(), Some(token.as_str()));
    }
    assert_eq!(google.count("refresh"), asked, "tokens are kept");
    daemon.cli(&["audit", "verify"]).expect_ok();
    daemon.cli(&["key", "rotate"]).expect_ok();
    let brokers = daemon.cli(&["brokers"]).expect_ok();
    assert!(
        brokers.stdout.starts_with("broker-1: version"),
        "{}",
        brokers.stdout
    );
    let doctor = daemon.cli(&["doctor"]);
    assert!(
        doctor.stdout.contains("answers, and takes changes: PostgreSQL"),
        "{}",
        doctor.stdout
    );
    let backup = daemon.cli(&["backup", daemon.state_dir().join("copy.db").to_str().unwrap()]);
    assert!(
        backup.code != 0 && backup.stderr.contains("pg_dump"),
        "{}",
        backup.stderr
    );
    assert!(!daemon.state_dir().join("broker.db").exists());
    daemon
        .cli(&["integrations", "disconnect", "--owner", "alice", "--yes"])
        .expect_ok();
    daemon.wait_for_state("bot", "not_connected");
    assert_eq!(daemon.agent("bot").token(), None);
}

#[test]
fn tokens_are_served_while_the_database_is_away_and_renewals_go_on_afterwards() {
    let (google, database) = (Emulator::start(&[]), Database::new());
    let daemon = database.daemon(&google);
    daemon.start();
    let token = connect(&daemon);
    database.go_away();
    wait_until("the daemon to notice", || {
        daemon.log().contains("nothing is written at the moment")
    });
    assert_eq!(daemon.agent("bot").ask_token().as_deref(), Some(token.as_str()));
    assert_eq!(daemon.agent("bot").token().as_deref(), Some(token.as_str()));
    let refused = daemon.cli(&["integrations", "disconnect", "--owner", "alice", "--yes"]);
    assert!(
        refused.code != 0 && refused.stderr.contains("the database does not answer"),
        "{}",
        refused.stderr
    );
    database.come_back();
    wait_until("the daemon to go on", || {
        daemon.log().contains("the database takes changes again")
    });
    daemon
        .cli(&["integrations", "check", "--owner", "alice"])
        .expect_ok();
    assert!(google.count("refresh") > 0);
    daemon.cli(&["audit", "verify"]).expect_ok();
}

#[test]
fn a_rotated_grant_that_came_while_the_database_was_away_outlives_a_crash() {
    let (google, database) = (Emulator::start(&["--rotation", "strict"]), Database::new());
    let daemon = database.daemon(&google);
    daemon.start();
    connect(&daemon);
    let hold = google.fault(&json!({ "endpoint": "token", "hold_answer": true }));
    thread::scope(|scope| {
        let agent = daemon.agent("bot");
        scope.spawn(move || agent.try_get("/v1/token?refresh=true"));
        google.wait_for_count("faults_struck", 1);
        database.go_away();
        google.clear_fault(&hold);
        let journal = daemon.state_dir().join("journal");
        // One that is being written is none yet.
        let is_entry = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b"int_");
        let entries = || fs::read_dir(&journal).unwrap().flatten().filter(is_entry).count();
        wait_until("the grant to be written down", || entries() == 1);
        daemon.kill9();
        database.come_back();
        daemon.start();
        assert_eq!(entries(), 0);
    });
    // The one before is spent: with it, Google would end the grant.
    daemon
        .cli(&["integrations", "check", "--owner", "alice"])
        .expect_ok();
    daemon.wait_for_state("bot", "active");
}
