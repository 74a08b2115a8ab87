//! What a daemon has in a file, moved to a server.

use std::sync::Arc;

use token_broker::{
    sqlite_store::SqliteStore,
    store::{AgentRecord, KeyState, KeyStore, RowPlace, Store, StoreError},
    store_copy,
    telemetry::audit::Actor,
    vault::Binding,
};

use crate::{
    postgres::{open, section},
    server,
    support::{DAY, account, agent, at, holder, id, keyring, line, renewed, token, up, vault_of},
};

/// A store with one row of each kind at least.
async fn fill(store: &SqliteStore) {
    for number in [1, 2, 3, 4] {
        let version = store
            .put_integration(account(number), None, Vec::new())
            .await
            .unwrap();
        let outcome = renewed(token(number, "a", 1));
        store.finish_renewal(&id(number), version, outcome).await.unwrap();
    }
    store.begin_renewal(&id(2), at(5)).await.unwrap();
    store.delete_integration(&id(4), Vec::new()).await.unwrap();
    store.enqueue_revocation(&id(3), at(1), Vec::new()).await.unwrap();
    let record = AgentRecord {
        name: agent("bot"),
        manifest: "{}".to_owned(),
    };
    store.put_agent(record, Vec::new()).await.unwrap();
    store
        .change_holders(vec![holder("bot", "alice")], Vec::new())
        .await
        .unwrap();
    store
        .remember_event("one", Some(&id(1)), at(1), Vec::new())
        .await
        .unwrap();
    for day in 0..21 {
        store.tick_trail(at(day * DAY), Some(up(day))).await.unwrap();
        let lines = ["token.used", "token.used", "agent.put"];
        let lines = lines.map(|action| line(day * DAY, Actor::Daemon, action));
        store.append_audit(lines.into()).await.unwrap();
    }
    store.count_audit(at(13 * DAY)).await.unwrap();
}

#[tokio::test]
async fn all_that_lasts_comes_along_and_is_whole() {
    let (folder, room) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (vault, first) = (vault_of(1, &[]), keyring(&[(1, KeyState::Active)]));
    let file = SqliteStore::open_with(folder.path(), &vault, Some(&first)).unwrap();
    fill(&file).await;
    let head = file.trail_head().await.unwrap();
    let report = file.verify_audit(None).await.unwrap();
    let versions: Vec<u64> = file
        .load()
        .await
        .unwrap()
        .integrations
        .iter()
        .map(|record| record.version)
        .collect();
    let target = section(&server::server().database().await, "");
    let copy = {
        let (from, room, target) = (folder.path().to_owned(), room.path().to_owned(), target.clone());
        move || store_copy::copy(&SqliteStore::copy_of_stopped(&from, &room)?, &target)
    };
    let running = tokio::task::spawn_blocking(copy.clone()).await.unwrap().err();
    assert!(matches!(running, Some(StoreError::Locked(_))), "{running:?}");
    file.close().await;
    drop(file);
    let copied = tokio::task::spawn_blocking(copy.clone()).await.unwrap().unwrap();
    let told: Vec<_> = copied.iter().map(|copied| (copied.what, copied.rows)).collect();
    assert_eq!(
        told[..3],
        [
            ("accounts", 2),
            ("grants that are still to be revoked", 1),
            ("agents of the API", 1)
        ]
    );

    let store = open(target, room.path(), &vault, &first).await.unwrap();
    let contents = store.load().await.unwrap();
    assert_eq!(contents.unusable, []);
    assert!(contents.tokens.is_empty());
    assert_eq!(
        contents
            .integrations
            .iter()
            .map(|record| record.version)
            .collect::<Vec<_>>(),
        versions
    );
    assert_eq!(
        (
            contents.revocations.len(),
            contents.agents.len(),
            contents.holders.len()
        ),
        (1, 1, 1)
    );
    let grant = &contents.integrations[0];
    let opened = vault
        .open(&Binding::RefreshToken(&grant.id), &grant.secret)
        .unwrap();
    assert_eq!(opened.as_slice(), b"grant");
    assert!(contents.integrations[1].renewal.is_some());
    assert!(store.is_event_known("one").await.unwrap());
    assert!(store.keyring().await.unwrap() == first);
    assert_eq!(store.trail_head().await.unwrap(), head);
    assert_eq!(store.verify_audit(Some(head)).await.unwrap(), report);
    // Every row is this keyring's, and it goes on from here.
    let (mut place, mut unusable) = (Some(RowPlace::default()), 0);
    while let Some(next) = place {
        let step = store.check_rows(next).await.unwrap();
        unusable += step.seen.unusable_count;
        place = step.next;
    }
    assert_eq!(unusable, 0);
    let again = store
        .put_integration(account(4), None, vec![line(1, Actor::Daemon, "agent.put")])
        .await
        .unwrap();
    assert!(again > versions.iter().copied().max().unwrap());
    let store: Arc<dyn KeyStore> = Arc::new(store);
    drop(store);
    let refused = tokio::task::spawn_blocking(copy)
        .await
        .unwrap()
        .err()
        .unwrap()
        .to_string();
    assert!(refused.contains("is not empty"), "{refused}");
}
