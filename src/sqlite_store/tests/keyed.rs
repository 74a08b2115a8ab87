//! Rows that come to lie under another key, and the table of the keyring's keys.

use std::collections::BTreeSet;

use crate::{
    clock::Uptime as Up,
    id::AgentName,
    seal::WrappedKey,
    sqlite_store::{keyed::TABLES, tests::*},
    store::{
        AgentRecord, HolderRecord, KeyRecord, KeyState, KeyStore, KeyUse, NamedKeys, RowPlace, RowsSeen,
        StoredKeyring,
    },
    telemetry::audit::{Actor, AuditEvent, Decision},
    vault::KeyId,
};

fn key(byte: u8) -> Key {
    Key::new([byte; 32])
}

fn key_id(byte: u8) -> KeyId {
    KeyId::of(&key(byte))
}

/// A key's record; nobody unwraps it here.
fn record(byte: u8, state: KeyState) -> KeyRecord {
    let wrapped = WrappedKey {
        seal: "file:/k".to_owned(),
        seal_key: "0011223344556677".to_owned(),
        bytes: vec![byte],
    };
    KeyRecord::new("a store", &key(byte), state, at(0), at(u64::from(byte)), wrapped)
}

fn keyring(keys: Vec<KeyRecord>) -> StoredKeyring {
    let mut keyring = StoredKeyring {
        store: "a store".to_owned(),
        keys,
    };
    keyring.confirm(&key(1));
    keyring.sort();
    keyring
}

fn vault_of(active: u8, retiring: &[u8]) -> Arc<Vault> {
    let retiring = retiring.iter().map(|byte| key(*byte)).collect();
    Arc::new(Vault::new(
        Keyring::new(key(active), retiring),
        Arc::new(SystemEntropy),
    ))
}

/// A store whose keyring has one key, in a new folder.
fn founded(vault: &Arc<Vault>) -> (TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let first = keyring(vec![record(1, KeyState::Active)]);
    let store = SqliteStore::open_with(folder.path(), vault, Some(&first)).unwrap();
    (folder, store)
}

async fn walk(store: &SqliteStore, moves: bool) -> RowsSeen {
    let (mut seen, mut next) = (RowsSeen::default(), Some(RowPlace::default()));
    while let Some(place) = next {
        let step = if moves {
            store.move_rows(place).await
        } else {
            store.check_rows(place).await
        };
        let step = step.unwrap();
        seen.add(step.seen);
        next = step.next;
    }
    seen
}

fn agent(name: &str) -> AgentName {
    name.parse().unwrap()
}

/// One row of each kind at least, and more accounts than a step takes.
async fn fill(store: &SqliteStore) {
    for number in 0..60 {
        store
            .put_integration(account(number), None, Vec::new())
            .await
            .unwrap();
    }
    let id = id(100);
    let service_account = IntegrationRecord {
        provider: "google-sa".parse().unwrap(),
        secret: vault(1).seal(&Binding::ServiceAccountKey(&id), b"a key file"),
        proof_key: None,
        subject: "sa".to_owned(),
        id,
        ..account(100)
    };
    store
        .put_integration(service_account, None, Vec::new())
        .await
        .unwrap();
    let outcome = RenewalOutcome {
        rotated: None,
        health: Health::Active,
        grant_expires_at: None,
        renewed_at: Some(at(1)),
        token: Some(token(3, "a", 1)),
    };
    let version = now(store, 3).await.version;
    store
        .finish_renewal(&super::id(3), version, outcome)
        .await
        .unwrap();
    store
        .enqueue_revocation(&super::id(4), at(1), Vec::new())
        .await
        .unwrap();
    let record = AgentRecord {
        name: agent("bot"),
        manifest: "{}".to_owned(),
    };
    store.put_agent(record, Vec::new()).await.unwrap();
    store
        .change_holders(vec![holder("alice")], Vec::new())
        .await
        .unwrap();
    // Three weeks, of which one is counted, with lines that stay and lines that do not.
    for number in 0..21 {
        let day = at(number * 24 * 3600);
        let moment = BootMoment {
            boot: BootId::from_bytes([1; 16]),
            uptime: Up::START.after(Duration::from_secs(number * 24 * 3600)),
        };
        store.tick_trail(day, Some(moment)).await.unwrap();
        let line = |action| AuditEvent::new(day, Actor::Daemon, action, Decision::Allowed);
        let lines = vec![line("token.used"), line("token.used"), line("agent.put")];
        store.append_audit(lines).await.unwrap();
    }
    assert!(store.count_audit(at(13 * 24 * 3600)).await.unwrap() > 0);
}

fn holder(name: &str) -> HolderRecord {
    let agent = agent("bot");
    let holder = format!("\"{name}\"");
    let binding = Binding::AgentSecret {
        agent: &agent,
        holder: Some(&holder),
    };
    let secret = vault(1).seal(&binding, b"a secret");
    HolderRecord {
        agent,
        holder: Some(holder),
        secret: Some(secret),
    }
}

#[tokio::test]
async fn every_kind_of_row_comes_to_lie_under_the_active_key() {
    let vault = vault_of(1, &[]);
    let (folder, store) = founded(&vault);
    fill(&store).await;
    let before = walk(&store, false).await;
    assert_eq!((before.unusable, before.moved), (Vec::new(), 0));
    let rows = store.keyed_rows().await.unwrap();
    assert_eq!(before.rows, rows, "each row is looked at once");
    for table in TABLES.iter().copied().flatten() {
        let sql = format!("SELECT count(*) FROM ({})", table.uses);
        let found: i64 = raw(folder.path()).query_row(&sql, [], |row| row.get(0)).unwrap();
        assert!(found > 0, "there is no {}", table.what);
    }

    vault.activate(&key(2));
    assert_eq!(walk(&store, true).await.moved, rows);
    assert_eq!(walk(&store, true).await.moved, 0, "once is enough");
    let uses = store.key_uses().await.unwrap();
    assert_eq!(uses, [KeyUse { id: key_id(2), rows }]);
    vault.retire(key_id(1));
    assert_eq!(walk(&store, false).await.unusable, Vec::<String>::new());
    let [before, after] = [(1, KeyState::Active), (2, KeyState::Active)]
        .map(|(byte, state)| keyring(vec![record(byte, state)]));
    store.put_keyring(before, after, Vec::new()).await.unwrap();
    drop(store);

    // All that there is opens with the new key alone.
    let store = SqliteStore::open(folder.path(), &vault_of(2, &[])).unwrap();
    let contents = store.load().await.unwrap();
    assert_eq!(contents.unusable, Vec::new());
    assert_eq!((contents.integrations.len(), contents.tokens.len()), (60, 1));
    assert_eq!((contents.revocations.len(), contents.agents.len()), (1, 1));
    assert_eq!(store.verify_audit(None).await.unwrap().problem, None);
    let grant = |number: usize| &contents.integrations[number];
    let open = |binding: &Binding<'_>, sealed: &Sealed| vault.open(binding, sealed).unwrap().to_vec();
    let last = contents.integrations.last().unwrap();
    assert_eq!(
        open(&Binding::ServiceAccountKey(&last.id), &last.secret),
        b"a key file"
    );
    assert_eq!(
        open(&Binding::RefreshToken(&grant(0).id), &grant(0).secret),
        b"grant"
    );
    let proof_key = grant(0).proof_key.as_ref().unwrap();
    assert_eq!(open(&Binding::ProofKey(&grant(0).id), proof_key), b"key 0");
}

/// What a migration adds that is sealed or bound belongs into the walk.
#[test]
fn the_walk_knows_every_table_that_has_something_sealed_or_bound() {
    let folder = tempfile::tempdir().unwrap();
    drop(SqliteStore::open(folder.path(), &vault(1)).unwrap());
    let raw = raw(folder.path());
    let mut statement = raw
        .prepare(
            "SELECT tables.name, columns.name FROM sqlite_schema AS tables \
             JOIN pragma_table_info(tables.name) AS columns \
             WHERE tables.type = 'table' AND columns.type = 'BLOB' AND columns.name <> 'boot'",
        )
        .unwrap();
    let found = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let found: BTreeSet<(String, String)> = found.map(Result::unwrap).collect();
    let elsewhere = ["keyring_keys", "master_keys"];
    for (table, column) in found
        .iter()
        .filter(|(table, _)| !elsewhere.contains(&table.as_str()))
    {
        let known = TABLES.iter().copied().flatten().any(|known| {
            known.uses.contains(&format!("FROM {table}")) && known.uses.contains(&format!("substr({column},"))
        });
        assert!(known, "{table}.{column}");
    }
    assert!(found.len() > 12, "{found:?}");
}

#[tokio::test]
async fn what_was_sealed_before_a_rotation_and_is_written_after_it_lies_under_the_new_key() {
    let vault = vault_of(1, &[]);
    let (_folder, store) = founded(&vault);
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    store.put_integration(account(2), None, Vec::new()).await.unwrap();
    vault.activate(&key(2));
    walk(&store, true).await;
    vault.retire(key_id(1));
    // Sealed while the other key was active.
    store.put_integration(account(3), None, Vec::new()).await.unwrap();
    let outcome = RenewalOutcome {
        rotated: Some(refresh_token(&id(1), "next")),
        health: Health::Active,
        grant_expires_at: None,
        renewed_at: Some(at(1)),
        token: Some(token(1, "a", 1)),
    };
    let version = now(&store, 1).await.version;
    store.finish_renewal(&id(1), version, outcome).await.unwrap();
    store.enqueue_revocation(&id(2), at(1), Vec::new()).await.unwrap();
    let mut owed = store.load().await.unwrap().revocations.remove(0);
    owed.secret = refresh_token(&id(2), "successor");
    store.put_revocation(owed).await.unwrap();
    store
        .change_holders(vec![holder("alice")], Vec::new())
        .await
        .unwrap();
    let uses = store.key_uses().await.unwrap();
    assert_eq!(uses.iter().map(|found| found.id).collect::<Vec<_>>(), [key_id(2)]);
    assert_eq!(walk(&store, false).await.unusable, Vec::<String>::new());
    let rotated = now(&store, 1).await.secret;
    let opened = vault.open(&Binding::RefreshToken(&id(1)), &rotated).unwrap();
    assert_eq!(opened.as_slice(), b"next");
}

#[tokio::test]
async fn who_has_a_retired_key_writes_no_row() {
    let vault = vault_of(1, &[]);
    let (folder, store) = founded(&vault);
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    let old: (Vec<u8>, Vec<u8>) = raw(folder.path())
        .query_row(
            "SELECT integrations.mac, secrets.mac FROM integrations JOIN secrets ON place = number << 16",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    vault.activate(&key(2));
    walk(&store, true).await;
    let put_back = raw(folder.path()).execute("UPDATE integrations SET mac = ?", [&old.0]);
    put_back.unwrap();
    assert!(
        store.integration(&id(1)).await.is_ok(),
        "the key is not retired yet"
    );
    vault.retire(key_id(1));
    let refused = store.integration(&id(1)).await.err().unwrap().to_string();
    assert!(
        refused.contains(&format!("bound to key {}", key_id(1))),
        "{refused}"
    );
}

#[tokio::test]
async fn an_altered_row_is_named_and_not_moved() {
    let vault = vault_of(1, &[]);
    let (folder, store) = founded(&vault);
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    store.put_integration(account(2), None, Vec::new()).await.unwrap();
    let sql = "UPDATE integrations SET owner = 'mallory' WHERE number = 1";
    raw(folder.path()).execute(sql, []).unwrap();
    vault.activate(&key(2));
    let seen = walk(&store, true).await;
    assert_eq!(seen.unusable_count, 1);
    assert!(
        seen.unusable[0].starts_with(&format!("account {}: it was altered", id(1))),
        "{:?}",
        seen.unusable
    );
    let under = store.key_uses().await.unwrap();
    assert!(
        under.contains(&KeyUse {
            id: key_id(1),
            rows: 1
        }),
        "{under:?}"
    );
    assert_eq!(walk(&store, false).await.unusable_count, 1);
}

#[tokio::test]
async fn a_keyring_is_changed_as_it_was_read_or_not_at_all() {
    let vault = vault_of(1, &[]);
    let (folder, store) = founded(&vault);
    let first = store.keyring().await.unwrap();
    assert!(first == keyring(vec![record(1, KeyState::Active)]));
    let second = keyring(vec![record(1, KeyState::Retiring), record(2, KeyState::Active)]);
    store
        .put_keyring(first.clone(), second.clone(), Vec::new())
        .await
        .unwrap();
    let again = store.put_keyring(first, second.clone(), Vec::new()).await;
    assert_eq!(again, Err(StoreError::Conflict));
    assert!(store.keyring().await.unwrap() == second);
    drop(store);
    // Each key that rows may lie under is needed from now on.
    for lacking in [vault_of(1, &[]), vault_of(2, &[])] {
        assert!(matches!(refusal(&folder, &lacking), StoreError::WrongKey { .. }));
    }
    assert!(SqliteStore::keys_in(folder.path()).unwrap() == NamedKeys::Keyring(second));
    drop(SqliteStore::open(folder.path(), &vault_of(2, &[1])).unwrap());
}

#[test]
fn a_database_whose_keys_were_taken_out_is_not_begun_anew() {
    let vault = vault_of(1, &[]);
    let (folder, store) = founded(&vault);
    drop(store);
    raw(folder.path())
        .execute_batch("DELETE FROM keyring_keys; DELETE FROM keyring_store")
        .unwrap();
    let new = keyring(vec![record(2, KeyState::Active)]);
    let refused = SqliteStore::open_with(folder.path(), &vault_of(2, &[]), Some(&new))
        .err()
        .unwrap();
    assert!(
        refused.to_string().contains("0 keys of the keyring are active"),
        "{refused}"
    );
}
