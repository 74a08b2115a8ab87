//! The store on real databases in folders of their own.

mod audit;
mod backup;
mod bound;
mod counting;
mod damage;
mod full_disk;
mod keyed;
mod opening;
mod renewals;
mod security_events;
mod trail;
mod trail_ends;
mod trail_size;
mod unconfirmed;
mod writing;

use std::{fs, path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::{
    capability::ScopeSet,
    clock::{self, BootId, BootMoment, Uptime},
    entropy::SystemEntropy,
    id::IntegrationId,
    secret::Key,
    sqlite::{folder::DATABASE, operation::Rank, schema},
    sqlite_store::{SqliteStore, key_check},
    store::{Health, IntegrationRecord, RenewalOutcome, Store, StoreError, TokenRecord},
    vault::{Binding, Keyring, Sealed, Vault},
};

/// What lies in the folder of a database that is in use.
const IN_USE: [&str; 6] = [
    "broker.db",
    "broker.db-shm",
    "broker.db-wal",
    "broker.lock",
    "broker.mark",
    "broker.reserve",
];

/// A vault whose active master key consists of `byte`.
fn vault(byte: u8) -> Arc<Vault> {
    Arc::new(Vault::new(
        Keyring::new(Key::new([byte; 32]), Vec::new()),
        Arc::new(SystemEntropy),
    ))
}

fn open(folder: &TempDir) -> SqliteStore {
    SqliteStore::open(folder.path(), &vault(1)).unwrap()
}

/// A store in a new folder.
fn fresh() -> (TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    (folder, store)
}

/// Why a start is refused.
fn refusal(folder: &TempDir, vault: &Arc<Vault>) -> StoreError {
    SqliteStore::open(folder.path(), vault)
        .err()
        .expect("it is refused")
}

fn database_bytes(folder: &TempDir) -> Vec<u8> {
    fs::read(folder.path().join(DATABASE)).unwrap()
}

/// The database as anybody with the file would see and change it.
fn raw(folder: &Path) -> Connection {
    Connection::open(folder.join(DATABASE)).unwrap()
}

/// What a crash at this moment would leave behind.
fn crashed_copy(folder: &TempDir) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn id(number: u32) -> IntegrationId {
    format!("int_{number:020x}").parse().unwrap()
}

fn scopes(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

/// Half past ten, and that many seconds.
fn at(seconds: u64) -> Timestamp {
    clock::after(
        "2024-01-15T10:30:00.000001Z".parse().unwrap(),
        Duration::from_secs(seconds),
    )
}

fn account(number: u32) -> IntegrationRecord {
    let id = id(number);
    IntegrationRecord {
        provider: "google".parse().unwrap(),
        owner: "alice".parse().unwrap(),
        subject: format!("10{number}"),
        account: "alice@example.com".to_owned(),
        former: Arc::default(),
        issuer_binding: "https://oauth2.example.com/token#client".into(),
        scopes: scopes("a b"),
        health: Health::Active,
        version: 0,
        connected_at: at(0),
        renewed_at: None,
        grant_expires_at: Some(at(604_799)),
        renewal: None,
        declined: Arc::default(),
        secret: refresh_token(&id, "grant"),
        proof_key: Some(vault(1).seal(&Binding::ProofKey(&id), format!("key {number}").as_bytes())),
        id,
    }
}

fn refresh_token(id: &IntegrationId, text: &str) -> Sealed {
    vault(1).seal(&Binding::RefreshToken(id), text.as_bytes())
}

fn token(number: u32, requested: &str, seconds: u64) -> TokenRecord {
    let (integration, requested) = (id(number), scopes(requested));
    let binding = Binding::AccessToken {
        integration: &integration,
        requested: &requested,
    };
    TokenRecord {
        secret: vault(1).seal(&binding, b"token"),
        granted: requested.clone(),
        issued_at: at(seconds),
        issued_in_boot: Some(BootMoment {
            boot: BootId::from_bytes([7; 16]),
            uptime: Uptime::from_micros(1),
        }),
        expires_at: at(seconds + 3599),
        requested,
        integration,
    }
}

/// A renewal that obtained `token` and rotated nothing.
fn renewed(token: TokenRecord) -> RenewalOutcome {
    RenewalOutcome {
        grant_expires_at: None,
        rotated: None,
        health: Health::Active,
        renewed_at: Some(token.issued_at),
        token: Some(token),
    }
}

/// The account as it is now, which is there.
async fn now(store: &SqliteStore, number: u32) -> IntegrationRecord {
    store.integration(&id(number)).await.unwrap().unwrap()
}

/// What the account's refresh token opens to.
async fn grant(store: &SqliteStore, number: u32) -> String {
    let secret = now(store, number).await.secret;
    let opened = vault(1)
        .open(&Binding::RefreshToken(&id(number)), &secret)
        .unwrap();
    String::from_utf8(opened.to_vec()).unwrap()
}

/// The scopes that there are access tokens for, sorted.
async fn tokens(store: &SqliteStore) -> Vec<String> {
    let tokens = store.load().await.unwrap().tokens;
    let mut requested: Vec<_> = tokens.iter().map(|token| token.requested.to_string()).collect();
    requested.sort();
    requested
}
