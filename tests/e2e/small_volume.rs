//! State on a file system that is small, or that is not where it was.

use std::{fs, path::Path, process::Command, sync::Arc};

use jiff::Timestamp;
use rusqlite::Connection;
use tempfile::TempDir;
use token_broker::{
    clock::{Clock, SystemClock},
    entropy::SystemEntropy,
    secret::Key,
    sqlite_store::SqliteStore,
    store::Store,
    telemetry::audit::{Actor, AuditEvent, Decision},
    vault::{Keyring, Vault, key},
};

use crate::support::{Daemon, Disk, Emulator, is_root, one_line, wait_until};

const SEND: &str = "google.gmail.send";
const MIB: u64 = 1024 * 1024;

fn open(state: &Path) -> SqliteStore {
    open_with(Key::new([7; 32]), state)
}

fn open_with(key: Key, state: &Path) -> SqliteStore {
    let keyring = Keyring::new(key, Vec::new());
    SqliteStore::open(state, &Arc::new(Vault::new(keyring, Arc::new(SystemEntropy)))).unwrap()
}

/// Changes the same few pages of the database again and again.
async fn change(store: &SqliteStore, times: usize) -> Result<(), String> {
    for time in 0..times {
        let now = Timestamp::from_second(i64::try_from(time).unwrap()).unwrap();
        let event = AuditEvent::new(now, Actor::Daemon, "token.renewed", Decision::Allowed);
        store
            .append_audit(vec![event])
            .await
            .map_err(|error| format!("change {time}: {error}"))?;
        if time % 100 == 99 {
            // The trail alone is to take no room here.
            store.prune_audit(now).await.map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

fn log_length(state: &Path) -> u64 {
    fs::metadata(state.join("broker.db-wal")).map_or(0, |log| log.len())
}

#[tokio::test]
async fn a_volume_of_eight_megabytes_is_not_filled_by_the_write_ahead_log() {
    assert!(is_root(), "this mounts a small file system: run it as root");
    let folder = TempDir::new().unwrap();
    let disk = Disk::mount(&folder.path().join("state"), "8m");
    let store = open(disk.path());
    change(&store, 3000).await.unwrap();
    assert!(log_length(disk.path()) < MIB, "{}", log_length(disk.path()));
    drop(store);
    drop(disk);
}

#[tokio::test]
async fn a_log_that_a_long_read_made_fill_the_volume_gives_its_room_back() {
    assert!(is_root(), "this mounts a small file system: run it as root");
    let folder = TempDir::new().unwrap();
    let disk = Disk::mount(&folder.path().join("state"), "8m");
    let store = open(disk.path());
    change(&store, 1).await.unwrap();
    // Somebody looks at the database for long, as a backup by other means does.
    let reader = Connection::open(disk.path().join("broker.db")).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let lines =
        |reader: &Connection| reader.query_row("SELECT count(*) FROM audit", [], |row| row.get::<_, i64>(0));
    lines(&reader).unwrap();
    let full = change(&store, 5000).await.unwrap_err();
    assert!(full.contains("disk is full"), "{full}");
    assert!(log_length(disk.path()) > 4 * MIB);
    // Nothing is there to be removed but the log itself.
    reader.execute_batch("COMMIT").unwrap();
    change(&store, 1000).await.unwrap();
    assert!(log_length(disk.path()) < MIB, "{}", log_length(disk.path()));
    drop((reader, store));
    drop(disk);
}

/// A trail of more than eight megabytes, as an earlier run of the daemon would have left it.
fn write_much(daemon: &Daemon) {
    let key = key::parse(&fs::read(daemon.key_file()).unwrap()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = open_with(key, &daemon.state_dir());
        let line = AuditEvent {
            detail: "x".repeat(900),
            ..AuditEvent::new(SystemClock.now(), Actor::Daemon, "agent.put", Decision::Allowed)
        };
        while store.trail_size().await.unwrap().bytes <= 9 * MIB {
            store.append_audit(vec![line.clone(); 200]).await.unwrap();
        }
        store.close().await;
    });
}

#[test]
fn the_trail_may_take_half_of_a_small_volume_and_no_more() {
    assert!(is_root(), "this mounts a small file system: run it as root");
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    let disk = Disk::mount(&daemon.state_dir(), "16m");
    write_much(&daemon);
    daemon.start();
    let size =
        || daemon.cli(&["status", "--output", "json"]).expect_ok().json()["daemon"]["audit_size"].clone();
    wait_until("the trail to be small enough", || {
        size()["bytes"].as_u64().unwrap() <= 8 * MIB && size()["max_bytes"] == 8 * MIB
    });
    assert_eq!(size()["limited_by_volume"], true);
    let status = daemon.cli(&["status"]).expect_ok();
    assert!(
        status.stdout.contains("of 8.0 MiB at most (half of the volume)"),
        "{}",
        status.stdout
    );
    daemon.cli(&["audit", "verify"]).expect_ok();
    let told = daemon.whole_log();
    assert_eq!(
        told.matches("may take half of the volume of state_dir at most")
            .count(),
        1,
        "{told}"
    );
    daemon.terminate();
    drop(disk);
}

fn is_unready_for(daemon: &Daemon, sentence: &str) {
    wait_until("the daemon not to be ready", || {
        let page = daemon.page("/readyz");
        page.status == 503 && page.text().contains(sentence)
    });
}

fn expect_refused(daemon: &Daemon, sentence: &str) {
    let connected = daemon.connect_as("bob", "bob@example.com", &[SEND]);
    assert_ne!(connected.code, 0, "{}", connected.stdout);
    assert!(
        one_line(&connected.stderr).contains(sentence),
        "{}",
        connected.stderr
    );
    let added = daemon.cli(&["agents", "add", "extra", "--owner", "alice", "--capability", SEND]);
    assert_ne!(added.code, 0, "{}", added.stdout);
    assert!(one_line(&added.stderr).contains(sentence), "{}", added.stderr);
}

fn expect_well(daemon: &Daemon) {
    wait_until("the daemon to be ready", || daemon.page("/readyz").status == 200);
    daemon.connect_as("bob", "bob@example.com", &[SEND]).expect_ok();
    assert_eq!(daemon.terminate(), 0);
    daemon.start();
    daemon.wait_for_state("alices", "active");
    daemon
        .cli(&["integrations", "show", "--owner", "bob"])
        .expect_ok();
}

fn alice() -> (Emulator, Daemon) {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("alices", "alice", &[SEND]);
    daemon.start();
    daemon
        .connect_as("alice", "alice@example.com", &[SEND])
        .expect_ok();
    daemon.wait_for_state("alices", "active");
    (google, daemon)
}

#[test]
fn a_state_folder_that_was_moved_away_is_not_written_to() {
    let (_google, daemon) = alice();
    let (state, away) = (daemon.state_dir(), daemon.state_dir().with_extension("away"));
    fs::rename(&state, &away).unwrap();
    is_unready_for(&daemon, "is gone");
    expect_refused(&daemon, "is gone");
    // Nor where another one takes its place.
    fs::create_dir(&state).unwrap();
    is_unready_for(&daemon, "is not what the daemon opened");
    expect_refused(&daemon, "is not what the daemon opened");
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
    assert_eq!(daemon.page("/healthz").status, 200);
    fs::remove_dir(&state).unwrap();
    fs::rename(&away, &state).unwrap();
    expect_well(&daemon);
}

#[test]
fn a_state_folder_that_something_is_mounted_over_is_not_written_to() {
    assert!(is_root(), "this mounts a file system: run it as root");
    let (_google, daemon) = alice();
    let mut over = Command::new("mount");
    over.args(["-t", "tmpfs", "tmpfs"]).arg(daemon.state_dir());
    assert!(over.status().unwrap().success());
    is_unready_for(&daemon, "is not what the daemon opened");
    expect_refused(&daemon, "is not what the daemon opened");
    assert_eq!(fs::read_dir(daemon.state_dir()).unwrap().count(), 0);
    let mut back = Command::new("umount");
    assert!(back.arg(daemon.state_dir()).status().unwrap().success());
    expect_well(&daemon);
}

#[test]
fn a_database_that_another_took_the_place_of_is_not_mixed_with_it() {
    let (_google, daemon) = alice();
    let database = daemon.state_dir().join("broker.db");
    let aside = database.with_extension("aside");
    fs::rename(&database, &aside).unwrap();
    fs::copy(&aside, &database).unwrap();
    is_unready_for(&daemon, "broker.db: is not what the daemon opened");
    expect_refused(&daemon, "is not what the daemon opened");
    fs::rename(&aside, &database).unwrap();
    expect_well(&daemon);
}
