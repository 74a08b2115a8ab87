//! The keyring on real databases, with local seals.

use std::{path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    clock::ManualClock,
    config::{Config, KeySection, KeySource},
    entropy::SystemEntropy,
    seal::{Seal, SealError},
    secret::Key,
    sqlite_store::SqliteStore,
    store::{AgentRecord, KeyState, KeyStore, KeyringFault, NamedKeys, Store, StoredKeyring},
    telemetry::audit::Actor,
    vault::{self, KeyId, Vault},
};

const NOON: &str = "2026-12-01T12:00:00Z";

fn now() -> Timestamp {
    NOON.parse().unwrap()
}

/// A folder with a database's state and master keys.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for byte in [1, 2, 3] {
            place.write_key(byte);
        }
        place
    }

    fn write_key(&self, byte: u8) {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(self.key_file(byte)).unwrap();
        let text = vault::key::encode(&Key::new([byte; 32]));
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }

    fn key_file(&self, byte: u8) -> std::path::PathBuf {
        self.folder.path().join(format!("{byte}.key"))
    }

    fn source(&self, byte: u8) -> KeySource {
        KeySource::File(self.key_file(byte))
    }

    fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    fn section(&self, source: u8, previous: &[u8]) -> KeySection {
        let previous: Vec<_> = previous
            .iter()
            .map(|byte| self.source(*byte).to_string())
            .collect();
        let text = format!(
            "[key]\nsource = {:?}\nprevious = {previous:?}\n",
            self.source(source).to_string()
        );
        let file = self.folder.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        Config::load(Some(&file), std::iter::empty()).unwrap().key
    }

    async fn seals(&self, source: u8, previous: &[u8]) -> Seals {
        Seals::configured(&self.section(source, previous)).await.unwrap()
    }

    async fn seal(&self, byte: u8) -> Seal {
        Seal::configured(&self.source(byte), &self.section(byte, &[]))
            .await
            .unwrap()
    }

    /// What a daemon's start does, with this configuration.
    async fn start(&self, source: u8, previous: &[u8]) -> Result<Running, KeyringError> {
        start_in(&self.state(), self.seals(source, previous).await).await
    }
}

/// What a daemon has of its keyring.
struct Running {
    store: Arc<SqliteStore>,
    vault: Arc<Vault>,
    clock: Arc<ManualClock>,
    parts: Arc<KeyringParts>,
    cases: Arc<KeyringCases>,
}

async fn start_in(state: &Path, seals: Seals) -> Result<Running, KeyringError> {
    let named = SqliteStore::keys_in(state)?;
    let opened = open(&seals, &named, now(), &SystemEntropy, |_| {}).await?;
    let vault = Arc::new(Vault::new(opened.keyring, Arc::new(SystemEntropy)));
    let store = Arc::new(SqliteStore::open_with(state, &vault, opened.founded.as_ref())?);
    let clock = Arc::new(ManualClock::new(now()));
    let parts = Arc::new(KeyringParts {
        keys: store.clone(),
        vault: vault.clone(),
        seals: RwLock::new(seals),
        clock: clock.clone(),
        entropy: Arc::new(SystemEntropy),
        keep_days: 90,
        turn: Mutex::default(),
    });
    Ok(Running {
        store,
        vault,
        clock,
        cases: Arc::new(KeyringCases {
            rotation: Rotation::new(parts.clone()),
            resealing: Resealing::new(parts.clone()),
            inspection: Inspection::new(parts.clone()),
        }),
        parts,
    })
}

impl Running {
    async fn put_agent(&self, name: &str) {
        let agent = AgentRecord {
            name: name.parse().unwrap(),
            manifest: "{}".to_owned(),
        };
        self.store.put_agent(agent, Vec::new()).await.unwrap();
    }

    async fn agents(&self) -> usize {
        let contents = self.store.load().await.unwrap();
        assert_eq!(contents.unusable, Vec::new());
        contents.agents.len()
    }

    /// Each key's state, the oldest key first.
    async fn states(&self) -> Vec<KeyState> {
        let keyring = self.store.keyring().await.unwrap();
        let mut states: Vec<_> = keyring.keys.iter().map(|key| key.state).collect();
        states.sort_unstable();
        states
    }

    /// Runs what the daemon runs until no key is retiring.
    async fn settle(&self) {
        let stop = CancellationToken::new();
        let settled = async {
            while self.states().await.contains(&KeyState::Retiring) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            stop.cancel();
        };
        tokio::join!(self.cases.rotation.run(stop.clone()), settled);
    }

    async fn under(&self) -> Vec<KeyId> {
        let uses = self.store.key_uses().await.unwrap();
        uses.into_iter().map(|found| found.id).collect()
    }
}

fn master(byte: u8) -> KeyId {
    KeyId::of(&Key::new([byte; 32]))
}

#[tokio::test]
async fn a_new_database_has_a_key_of_its_own_which_its_seal_opens() {
    let place = Place::new();
    let running = place.start(1, &[]).await.unwrap();
    running.put_agent("bot").await;
    let active = running.vault.active_key();
    assert_ne!(active, master(1), "rows do not lie under the master key itself");
    drop(running);
    let again = place.start(1, &[]).await.unwrap();
    assert_eq!((again.vault.active_key(), again.agents().await), (active, 1));
    drop(again);
    let refused = place.start(2, &[]).await.err().unwrap();
    assert!(
        matches!(refused, KeyringError::Seal(SealError::Foreign { .. })),
        "{refused}"
    );
    // The same key, wherever it is read from; and one from before, as long as it is named.
    std::fs::copy(place.key_file(1), place.key_file(2)).unwrap();
    assert_eq!(place.start(2, &[]).await.unwrap().agents().await, 1);
    assert_eq!(place.start(3, &[1]).await.unwrap().agents().await, 1);
}

#[tokio::test]
async fn a_database_from_before_is_taken_over_at_its_first_start() {
    let place = Place::new();
    let keyring = vault::Keyring::new(Key::new([1; 32]), Vec::new());
    let old = Arc::new(Vault::new(keyring, Arc::new(SystemEntropy)));
    let store = SqliteStore::open(&place.state(), &old).unwrap();
    let agent = AgentRecord {
        name: "bot".parse().unwrap(),
        manifest: "{}".to_owned(),
    };
    store.put_agent(agent, Vec::new()).await.unwrap();
    drop(store);
    let refused = place.start(2, &[]).await.err().unwrap();
    assert!(
        matches!(refused, KeyringError::NoMasterKey(id) if id == master(1)),
        "{refused}"
    );

    let running = place.start(1, &[]).await.unwrap();
    assert_eq!(running.states().await, [KeyState::Active, KeyState::Retiring]);
    assert_eq!(running.agents().await, 1, "before anything is moved");
    running.settle().await;
    assert_eq!(running.states().await, [KeyState::Active, KeyState::Retired]);
    assert_eq!(running.under().await, [running.vault.active_key()]);
    let kept = running.store.keyring().await.unwrap();
    assert!(kept.key(master(1)).is_some(), "for backups from before");
    drop(running);
    assert_eq!(place.start(1, &[]).await.unwrap().agents().await, 1);
}

#[tokio::test]
async fn a_rotation_moves_everything_and_says_so() {
    let place = Place::new();
    let running = place.start(1, &[]).await.unwrap();
    for number in 0..120 {
        running.put_agent(&format!("bot-{number}")).await;
    }
    let first = running.vault.active_key();
    let second = running.cases.rotation.rotate(Actor::Admin(0)).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(running.vault.active_key(), second);
    // Asked again meanwhile, it is the same.
    assert_eq!(
        running.cases.rotation.rotate(Actor::Admin(0)).await.unwrap(),
        second
    );
    running.settle().await;
    let progress = running.cases.rotation.progress().borrow().clone();
    assert_eq!((progress.active, progress.retiring), (Some(second), Vec::new()));
    assert!(
        progress.seen.moved >= 120,
        "{progress:?}",
        progress = progress.seen
    );
    assert_eq!(running.under().await, [second]);
    let report = running.cases.inspection.report().await.unwrap();
    assert_eq!(report.keys.iter().map(|key| key.rows).sum::<u64>(), progress.rows);
    let trail = running.store.audit(0, 100, false).await.unwrap();
    let told: Vec<_> = trail.iter().map(|line| line.action.as_str()).collect();
    assert_eq!(told, ["key.rotated", "key.retired"]);
    assert_eq!(running.store.verify_audit(None).await.unwrap().problem, None);
    drop(running);
    assert_eq!(place.start(1, &[]).await.unwrap().agents().await, 120);
}

/// Who asked may go away at any moment: what is in use is what was committed all the same.
#[tokio::test]
async fn a_change_that_nobody_waits_for_any_more_is_made_whole() {
    let place = Place::new();
    let running = place.start(1, &[]).await.unwrap();
    let mut active = running.vault.active_key();
    let (mut rotated, mut cut_off) = (0, 0);
    for step in 0..60 {
        let patience = Duration::from_micros(100) * step;
        let asked = tokio::time::timeout(patience, running.cases.rotate(Actor::Admin(0))).await;
        cut_off += u32::from(asked.is_err());
        let seal = place.seal(if step % 2 == 0 { 2 } else { 1 }).await;
        let _ = tokio::time::timeout(patience, running.cases.reseal(Some(seal), Actor::Admin(0))).await;
        {
            // A change has it until it is whole.
            let _turn = running.parts.turn.lock().await;
            assert_eq!(
                running.cases.inspection.fault().await.unwrap(),
                None,
                "{patience:?}"
            );
            let report = running.cases.inspection.report().await.unwrap();
            let key = report.keys.iter().find(|key| key.state == KeyState::Active);
            assert_eq!(key.unwrap().seal, report.seal, "{patience:?}");
        }
        running.settle().await;
        rotated += u32::from(std::mem::replace(&mut active, running.vault.active_key()) != active);
    }
    assert!(rotated > 0 && cut_off > 0, "{rotated} {cut_off}");
}

fn copy_of(state: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(state).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

/// What a `kill -9` leaves at any moment of a rotation goes on from there.
#[tokio::test]
async fn a_rotation_that_was_cut_off_goes_on() {
    let place = Place::new();
    let running = place.start(1, &[]).await.unwrap();
    for number in 0..150 {
        running.put_agent(&format!("bot-{number}")).await;
    }
    let mut moments = vec![copy_of(&place.state())];
    let rotated = running.cases.rotation.rotate(Actor::Admin(0)).await.unwrap();
    moments.push(copy_of(&place.state()));
    let mut next = Some(crate::store::RowPlace::default());
    while let Some(from) = next {
        next = running.store.move_rows(from).await.unwrap().next;
        moments.push(copy_of(&place.state()));
    }
    running.settle().await;
    moments.push(copy_of(&place.state()));
    drop(running);
    for (number, moment) in moments.iter().enumerate() {
        let after = start_in(moment.path(), place.seals(1, &[]).await).await.unwrap();
        after.settle().await;
        assert_eq!(after.agents().await, 150, "moment {number}");
        let active = after.vault.active_key();
        assert_eq!(after.under().await, [active], "moment {number}");
        assert_eq!(active == rotated, number > 0, "moment {number}");
        assert_eq!(after.store.verify_audit(None).await.unwrap().problem, None);
    }
}

#[tokio::test]
async fn a_pending_key_is_used_by_the_next_rotation() {
    let place = Place::new();
    let running = place.start(1, &[]).await.unwrap();
    let before = running.store.keyring().await.unwrap();
    let key = Key::new([9; 32]);
    let seal = place.seal(1).await;
    let wrapped = parts::wrap(&seal, &before.store, &key).await.unwrap();
    let record = crate::store::KeyRecord::new(&before.store, &key, KeyState::Pending, now(), now(), wrapped);
    let mut after = before.clone();
    after.keys.push(record);
    after.confirm(running.vault.keyring().key(running.vault.active_key()).unwrap());
    running
        .store
        .put_keyring(before, after, Vec::new())
        .await
        .unwrap();
    drop(running);
    let running = place.start(1, &[]).await.unwrap();
    let rotated = running.cases.rotation.rotate(Actor::Admin(0)).await.unwrap();
    assert_eq!(rotated, KeyId::of(&key));
    running.settle().await;
    assert_eq!(running.states().await, [KeyState::Active, KeyState::Retired]);
}

#[tokio::test]
async fn another_seal_takes_over_and_the_one_before_is_not_needed() {
    let place = Place::new();
    let running = place.start(1, &[]).await.unwrap();
    running.put_agent("bot").await;
    running.cases.rotation.rotate(Actor::Admin(0)).await.unwrap();
    running.settle().await;
    let done = running
        .cases
        .resealing
        .reseal(Some(place.seal(2).await), Actor::Admin(0))
        .await
        .unwrap();
    assert_eq!(
        done.keys.len(),
        1,
        "what is kept for backups lies under the active key"
    );
    assert_eq!(done.seal_key, master(2).to_string());
    // From now on, a rotation is the new one's.
    running.cases.rotation.rotate(Actor::Admin(0)).await.unwrap();
    running.settle().await;
    drop(running);
    let refused = place.start(1, &[]).await.err().unwrap();
    assert!(
        matches!(refused, KeyringError::Seal(SealError::Foreign { .. })),
        "{refused}"
    );
    assert_eq!(place.start(2, &[]).await.unwrap().agents().await, 1);
}

#[tokio::test]
async fn the_start_seals_anew_where_the_configuration_names_another_seal() {
    let place = Place::new();
    drop(place.start(1, &[]).await.unwrap());
    let running = place.start(2, &[1]).await.unwrap();
    running.cases.resealing.follow_configuration().await;
    drop(running);
    let running = place.start(2, &[]).await.unwrap();
    running.cases.resealing.follow_configuration().await;
    let trail = running.store.audit(0, 100, false).await.unwrap();
    assert_eq!(trail.len(), 1, "once: {trail:?}");
}

#[tokio::test]
async fn a_retired_key_is_kept_for_its_time_by_the_trails_own_clock() {
    let place = Place::new();
    let running = place.start(1, &[]).await.unwrap();
    running.cases.rotation.rotate(Actor::Admin(0)).await.unwrap();
    running.settle().await;
    let upkeep = async || running.cases.rotation.forget().await.unwrap();
    // A wall clock that jumps ahead by years makes nothing old.
    running
        .clock
        .set(now() + jiff::SignedDuration::from_hours(24 * 4000));
    upkeep().await;
    assert_eq!(running.states().await, [KeyState::Active, KeyState::Retired]);
    running.clock.set(now());
    for _ in 0..91 {
        running.clock.advance(Duration::from_secs(24 * 3600));
        upkeep().await;
    }
    assert_eq!(running.states().await, [KeyState::Active]);
}

#[tokio::test]
async fn a_keyring_that_somebody_changed_is_refused() {
    let place = Place::new();
    let running = place.start(1, &[]).await.unwrap();
    let old = running.store.keyring().await.unwrap().keys[0].clone();
    let stolen = running.vault.keyring().key(old.id).cloned().unwrap();
    running.cases.rotation.rotate(Actor::Admin(0)).await.unwrap();
    running.settle().await;
    let whole = running.store.keyring().await.unwrap();
    drop(running);
    let state = |wanted| whole.keys.iter().position(|key| key.state == wanted).unwrap();
    let (active, retired) = (state(KeyState::Active), state(KeyState::Retired));
    let changed = |change: &dyn Fn(&mut StoredKeyring)| {
        let mut changed = whole.clone();
        change(&mut changed);
        changed
    };
    let seals = place.seals(1, &[]).await;
    for (what, keyring) in [
        (
            "a retired key seals again",
            changed(&|ring| {
                ring.keys[active].state = KeyState::Retired;
                ring.keys[retired].state = KeyState::Active;
            }),
        ),
        (
            "two seal",
            changed(&|ring| ring.keys[retired].state = KeyState::Active),
        ),
        (
            "none seals",
            changed(&|ring| ring.keys[active].state = KeyState::Retiring),
        ),
        (
            "it is of another database",
            changed(&|ring| ring.store = "0".repeat(32)),
        ),
        (
            "keys are exchanged",
            changed(&|ring| {
                let other = ring.keys[retired].wrapped.clone();
                ring.keys[active].wrapped = other;
            }),
        ),
        (
            // Who stole the key when it was active, with the database that it was wrapped in.
            "the thief of a retired key makes it count again",
            changed(&|ring| {
                ring.keys[retired] = old.turned(&ring.store, &stolen, KeyState::Retiring, now());
            }),
        ),
        (
            "and binds all to it",
            changed(&|ring| {
                ring.keys[retired] = old.turned(&ring.store, &stolen, KeyState::Retiring, now());
                ring.confirm(&stolen);
            }),
        ),
        (
            "and makes it the active one",
            changed(&|ring| {
                ring.keys[retired] = old.turned(&ring.store, &stolen, KeyState::Active, now());
                ring.keys[active].state = KeyState::Retiring;
                ring.confirm(&stolen);
            }),
        ),
        (
            "it is older than it was",
            changed(&|ring| {
                ring.keys[active].changed_at = Timestamp::UNIX_EPOCH;
            }),
        ),
    ] {
        let opened = try_open(&seals, &keyring).await;
        assert!(
            matches!(
                opened,
                Err(
                    KeyringError::Altered(KeyringFault::Altered(_) | KeyringFault::NotOneActive(_))
                        | KeyringError::Seal(SealError::Refused { .. })
                )
            ),
            "{what}: {:?}",
            opened.err()
        );
    }
    assert!(try_open(&seals, &whole).await.is_ok());
}

#[tokio::test]
async fn a_backup_from_before_another_seal_is_restored_with_the_keys_that_were_kept() {
    let place = Place::new();
    let running = place.start(1, &[]).await.unwrap();
    running.put_agent("bot").await;
    let backup = running.store.keyring().await.unwrap();
    running.cases.rotation.rotate(Actor::Admin(0)).await.unwrap();
    running.settle().await;
    running
        .cases
        .resealing
        .reseal(Some(place.seal(2).await), Actor::Admin(0))
        .await
        .unwrap();
    let present = running.store.keyring().await.unwrap();
    let seals = place.seals(2, &[]).await;
    let new = (now(), &SystemEntropy as &dyn crate::entropy::Entropy);
    let active = backup.active().unwrap().id;
    let [backup, present] = [backup, present].map(NamedKeys::Keyring);
    let (ring, keep) = for_restore(&seals, &backup, &present, new).await.unwrap();
    assert_eq!(ring.active_id(), active);
    assert!(
        try_open(&seals, &keep.unwrap()).await.is_ok(),
        "the seal of now opens it"
    );
    let alone = for_restore(&seals, &backup, &NamedKeys::default(), new).await;
    assert!(matches!(
        alone,
        Err(KeyringError::Seal(SealError::Foreign { .. }))
    ));
    // Where the seal that wrapped it is configured, it stays as it is.
    let both = place.seals(2, &[1]).await;
    let (_, keep) = for_restore(&both, &backup, &NamedKeys::default(), new)
        .await
        .unwrap();
    assert!(keep.is_none());
}

/// The same as a start would, before anything is replaced.
#[tokio::test]
async fn a_backup_whose_keyring_was_changed_is_not_restored() {
    let place = Place::new();
    let running = place.start(1, &[]).await.unwrap();
    running.cases.rotation.rotate(Actor::Admin(0)).await.unwrap();
    running.settle().await;
    let seals = place.seals(1, &[]).await;
    let whole = running.store.keyring().await.unwrap();
    let restore = async |backup: StoredKeyring| {
        let new = (now(), &SystemEntropy as &dyn crate::entropy::Entropy);
        let backup = NamedKeys::Keyring(backup);
        for_restore(&seals, &backup, &NamedKeys::default(), new).await
    };
    assert!(restore(whole.clone()).await.is_ok());
    let retired = whole.keys.iter().position(|key| key.state == KeyState::Retired);
    let retired = retired.unwrap();
    let mut older = whole.clone();
    older.keys[retired].created_at = jiff::Timestamp::UNIX_EPOCH;
    let refused = restore(older).await.err().unwrap();
    assert!(
        matches!(refused, KeyringError::Altered(KeyringFault::Altered(id)) if id == whole.keys[retired].id),
        "{refused}"
    );
    let mut both = whole.clone();
    both.keys[retired].state = KeyState::Active;
    let refused = restore(both).await.err().unwrap();
    assert!(
        matches!(refused, KeyringError::Altered(KeyringFault::NotOneActive(2))),
        "{refused}"
    );
}

#[tokio::test]
async fn a_keyring_that_was_changed_under_a_daemon_is_neither_rotated_nor_sealed_anew() {
    let place = Place::new();
    let running = place.start(1, &[]).await.unwrap();
    let cases = &running.cases;
    assert_eq!(cases.inspection.fault().await.unwrap(), None);
    let before = running.store.keyring().await.unwrap();
    let mut emptied = before.clone();
    emptied.keys.clear();
    running
        .store
        .put_keyring(before, emptied, Vec::new())
        .await
        .unwrap();
    let gone = KeyringFault::NotOneActive(0);
    assert_eq!(cases.inspection.fault().await.unwrap(), Some(gone.clone()));
    let rotated = cases.rotation.rotate(Actor::Admin(0)).await.err().unwrap();
    let resealed = cases.resealing.reseal(None, Actor::Admin(0)).await.err().unwrap();
    for refused in [rotated, resealed] {
        assert!(
            matches!(&refused, KeyringError::Altered(fault) if *fault == gone),
            "{refused}"
        );
    }
}
