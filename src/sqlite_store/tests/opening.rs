//! What a start finds in the state folder.

use std::os::unix::fs::PermissionsExt;

use crate::{sqlite_store::tests::*, store::StoreError, vault::KeyId};

#[tokio::test]
async fn every_file_is_for_the_owner_alone() {
    let (folder, store) = fresh();
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{:?}",
            entry.file_name()
        );
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, IN_USE);
}

#[tokio::test]
async fn the_database_is_set_up_as_promised() {
    let (_folder, store) = fresh();
    let settings = store
        .write(Rank::Addition, |connection| {
            let read = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            Ok([
                read("synchronous")?,
                read("foreign_keys")?,
                read("secure_delete")?,
                read("application_id")?,
            ])
        })
        .await
        .unwrap();
    assert_eq!(settings, [2, 1, 1, 0x746b_6272]);
    let mode = store
        .write(Rank::Addition, |connection| {
            Ok(connection.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0))?)
        })
        .await;
    assert_eq!(mode.unwrap(), "wal");
    let written = store
        .read(|connection| Ok(connection.execute("DELETE FROM agents", [])?))
        .await;
    assert!(
        matches!(written, Err(StoreError::Storage { .. })),
        "a reader cannot write"
    );
}

#[tokio::test]
async fn a_second_daemon_is_refused_until_the_first_is_gone() {
    let (folder, store) = fresh();
    let error = refusal(&folder, &vault(1));
    assert!(matches!(error, StoreError::Locked(_)));
    assert!(
        error.to_string().contains(&folder.path().display().to_string()),
        "{error}"
    );
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    drop(store);
    assert_eq!(open(&folder).load().await.unwrap().integrations.len(), 1);
}

#[tokio::test]
async fn a_closed_store_leaves_one_file_and_answers_nothing() {
    let (folder, store) = fresh();
    let (put, ()) = tokio::join!(store.put_integration(account(1), None, Vec::new()), store.close());
    put.unwrap();
    assert!(matches!(
        store.put_integration(account(2), None, Vec::new()).await,
        Err(StoreError::Closed)
    ));
    assert!(matches!(store.load().await, Err(StoreError::Closed)));
    store.close().await;
    assert!(
        !folder.path().join("broker.db-wal").exists(),
        "the log was emptied into the database"
    );
    // The folder is free while the closed store still exists.
    assert_eq!(open(&folder).load().await.unwrap().integrations.len(), 1);
}

#[tokio::test]
async fn a_wrong_key_is_named_beside_the_right_one() {
    let (folder, store) = fresh();
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    drop(store);
    let before = database_bytes(&folder);
    let (needed, configured) = (KeyId::of(&Key::new([1; 32])), KeyId::of(&Key::new([2; 32])));
    assert_eq!(
        refusal(&folder, &vault(2)).to_string(),
        format!(
            "{} is sealed with master key {needed}, the configured one is {configured}: put key {needed} back, as \
             key.source or in key.previous; nothing else opens what is sealed with it",
            folder.path().join(DATABASE).display()
        )
    );
    assert_eq!(database_bytes(&folder), before);
    assert_eq!(
        grant(&open(&folder), 1).await,
        "grant",
        "the right key opens it as before"
    );
}

#[tokio::test]
async fn a_database_of_each_older_version_is_brought_up_to_date() {
    for (version, upcoming) in (0_i64..).zip(schema::MIGRATIONS).skip(1) {
        let folder = tempfile::tempdir().unwrap();
        let old = raw(folder.path());
        for migration in schema::MIGRATIONS
            .iter()
            .take_while(|migration| **migration != upcoming)
        {
            old.execute_batch(migration).unwrap();
        }
        old.pragma_update(None, "application_id", 0x746b_6272).unwrap();
        old.pragma_update(None, "user_version", version).unwrap();
        assert!(key_check::note(&old, &vault(1)).is_ok(), "version {version}");
        drop(old);
        let store = open(&folder);
        store.put_integration(account(1), None, Vec::new()).await.unwrap();
        assert_eq!(grant(&store, 1).await, "grant", "version {version}");
    }
}

#[tokio::test]
async fn what_was_declined_survives_a_restart() {
    let (folder, store) = fresh();
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    let keys: Arc<[_]> = ["google.drive".parse().unwrap()].into();
    assert!(store.set_declined(&id(1), keys.clone()).await.unwrap());
    drop(store);
    let account = now(&open(&folder), 1).await;
    assert_eq!((account.declined, account.version), (keys, 1));
}

#[tokio::test]
async fn a_key_stays_needed_after_another_took_its_place() {
    let (folder, store) = fresh();
    drop(store);
    let both = Arc::new(Vault::new(
        Keyring::new(Key::new([2; 32]), vec![Key::new([1; 32])]),
        Arc::new(SystemEntropy),
    ));
    drop(SqliteStore::open(folder.path(), &both).unwrap());
    assert!(matches!(refusal(&folder, &vault(1)), StoreError::WrongKey { .. }));
    assert!(matches!(refusal(&folder, &vault(2)), StoreError::WrongKey { .. }));
    SqliteStore::open(folder.path(), &both).unwrap();
}

#[tokio::test]
async fn an_altered_key_check_is_not_taken_for_a_wrong_key() {
    let (folder, store) = fresh();
    drop(store);
    raw(folder.path())
        .execute(
            "UPDATE master_keys SET sealed_check = CAST(substr(sealed_check, 1, 120) || x'00' AS BLOB)",
            [],
        )
        .unwrap();
    let error = refusal(&folder, &vault(1)).to_string();
    assert!(
        error.contains("the key check of the database does not open"),
        "{error}"
    );
}

#[tokio::test]
async fn a_newer_database_is_left_alone() {
    let (folder, store) = fresh();
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    raw(folder.path())
        .pragma_update(None, "user_version", 99)
        .unwrap();
    // As a crash of the newer version would leave it: part of it is in the write-ahead log only.
    let crashed = crashed_copy(&folder);
    let before = database_bytes(&crashed);
    let error = refusal(&crashed, &vault(1));
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    assert_eq!(database_bytes(&crashed), before);
    assert!(crashed.path().join("broker.db-wal").metadata().unwrap().len() > 0);
}

#[tokio::test]
async fn a_start_cut_short_before_the_tables_is_completed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(DATABASE), b"").unwrap();
    raw(folder.path())
        .pragma_update(None, "application_id", 0x746b_6272)
        .unwrap();
    open(&folder)
        .put_integration(account(1), None, Vec::new())
        .await
        .unwrap();
    assert_eq!(open(&folder).load().await.unwrap().integrations.len(), 1);
}
