//! `PostgreSQL` when something breaks: connections, commits without an answer, a server that is away, other brokers.

use std::sync::Arc;

use token_broker::{
    config::StoreSection,
    postgres_store::PostgresStore,
    store::{KeyState, RenewalOutcome, StorageFault, Store, StoreError, StoredKeyring},
    telemetry::audit::Actor,
    vault::Vault,
};

use crate::{
    cutting::{Cut, Wire},
    postgres::{open, section},
    server,
    support::{account, at, id, keyring, line, refresh_token, renewed, token, vault_of},
};

/// A database behind a wire that can be cut.
struct Scene {
    /// The database itself.
    url: String,
    wire: Wire,
    state: tempfile::TempDir,
    vault: Arc<Vault>,
    keyring: StoredKeyring,
}

impl Scene {
    async fn begin() -> Self {
        let url = server::server().database().await;
        Self {
            wire: Wire::to(&server::server().folder.join(".s.PGSQL.5432")),
            url,
            state: tempfile::tempdir().unwrap(),
            vault: vault_of(1, &[]),
            keyring: keyring(&[(1, KeyState::Active)]),
        }
    }

    fn section(&self) -> StoreSection {
        let own = server::server().folder.display().to_string();
        section(
            &self.url.replace(&own, &self.wire.folder().display().to_string()),
            "",
        )
    }

    async fn open(&self) -> Result<PostgresStore, StoreError> {
        open(self.section(), self.state.path(), &self.vault, &self.keyring).await
    }
}

async fn grant(store: &PostgresStore, vault: &Vault, number: u32) -> String {
    let secret = store.integration(&id(number)).await.unwrap().unwrap().secret;
    let binding = token_broker::vault::Binding::RefreshToken(&id(number)).to_string();
    let opened = vault.open(&token_broker::vault::Binding::RefreshToken(&id(number)), &secret);
    String::from_utf8(opened.unwrap_or_else(|_| panic!("{binding}")).to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_server_ends_are_made_anew() {
    let scene = Scene::begin().await;
    let store = scene.open().await.unwrap();
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    for number in 2..5 {
        server::execute(
            &scene.url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
        store
            .put_integration(account(number), None, Vec::new())
            .await
            .unwrap();
        assert!(store.integration(&id(number)).await.unwrap().is_some());
    }
}

/// The wire is cut while a commit is under way, and nobody knows on which side of the server.
async fn commit_is_cut(cut: Cut) {
    let scene = Scene::begin().await;
    let store = scene.open().await.unwrap();
    let version = store.put_integration(account(1), None, Vec::new()).await.unwrap();
    scene.wire.cut_next_commit(cut);
    let lines = vec![line(1, Actor::Daemon, "agent.put")];
    let second = store.put_integration(account(1), Some(version), lines).await;
    assert!(scene.wire.was_cut());
    // It is done once: twice would be a conflict, or two lines.
    assert!(second.unwrap() > version);
    let report = store.verify_audit(None).await.unwrap();
    assert_eq!((report.lines, report.problem), (1, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_done_and_not_answered_is_accepted() {
    commit_is_cut(Cut::Answer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_never_arrived_is_repeated() {
    commit_is_cut(Cut::Request).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_grant_that_the_database_never_heard_of_is_there_after_a_restart() {
    let scene = Scene::begin().await;
    let store = scene.open().await.unwrap();
    for number in [1, 2] {
        store
            .put_integration(account(number), None, Vec::new())
            .await
            .unwrap();
        store.begin_renewal(&id(number), at(1)).await.unwrap();
    }
    let version = store.integration(&id(1)).await.unwrap().unwrap().version;
    scene.wire.close();
    let rotated = |number| RenewalOutcome {
        rotated: Some(refresh_token(number, "next")),
        ..renewed(token(number, "a", 1))
    };
    for number in [1, 2] {
        let lost = store.finish_renewal(&id(number), version, rotated(number)).await;
        assert!(
            matches!(
                &lost,
                Err(StoreError::Storage {
                    fault: StorageFault::Database(_),
                    ..
                })
            ),
            "{lost:?}"
        );
    }
    drop(store);
    // Meanwhile the person connected the second account again.
    let other = tempfile::tempdir().unwrap();
    let elsewhere = open(
        section(&scene.url, ""),
        other.path(),
        &scene.vault,
        &scene.keyring,
    );
    let elsewhere = elsewhere.await.unwrap();
    elsewhere
        .put_integration(account(2), Some(version), Vec::new())
        .await
        .unwrap();
    drop(elsewhere);
    scene.wire.open();
    let store = scene.open().await.unwrap();
    assert_eq!(grant(&store, &scene.vault, 1).await, "next");
    assert_eq!(grant(&store, &scene.vault, 2).await, "grant");
    let now = store.integration(&id(1)).await.unwrap().unwrap();
    assert!(now.version > version && now.renewal.is_none());
    drop(store);
    let again = scene.open().await.unwrap();
    assert_eq!(
        again.integration(&id(1)).await.unwrap().unwrap().version,
        now.version
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_and_comes_back_is_used_again() {
    let scene = Scene::begin().await;
    let store = scene.open().await.unwrap();
    scene.wire.close();
    let refused = store
        .put_integration(account(1), None, Vec::new())
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("the database does not answer"), "{refused}");
    assert!(store.prove_writable().await.is_err());
    assert!(store.integration(&id(1)).await.is_err());
    scene.wire.open();
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    assert!(store.integration(&id(1)).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_one_brokers_and_another_name_waits_until_it_leaves() {
    let scene = Scene::begin().await;
    let first = scene.open().await.unwrap();
    let mut other = scene.section();
    other.broker = "broker-2".to_owned();
    let come = || open(other.clone(), scene.state.path(), &scene.vault, &scene.keyring);
    let refused = come().await.err();
    assert!(
        matches!(&refused, Some(StoreError::Taken { broker, .. }) if broker == "broker-1"),
        "{refused:?}"
    );
    // The same one once more: after a crash, which nobody noticed.
    let second = scene.open().await.unwrap();
    let refused = first.put_integration(account(1), None, Vec::new()).await;
    assert!(matches!(refused, Err(StoreError::Replaced { .. })), "{refused:?}");
    second
        .put_integration(account(1), None, Vec::new())
        .await
        .unwrap();
    drop(first);
    assert!(
        come().await.is_err(),
        "the first one's end is not the second one's"
    );
    second.close().await;
    let third = come().await.unwrap();
    assert!(third.integration(&id(1)).await.unwrap().is_some());
    // It has a trail of its own.
    third
        .append_audit(vec![line(1, Actor::Daemon, "agent.put")])
        .await
        .unwrap();
    assert_eq!(third.trail_head().await.unwrap().sequence, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_of_a_later_program_is_left_alone() {
    let scene = Scene::begin().await;
    drop(scene.open().await.unwrap());
    server::execute(&scene.url, "UPDATE schema_state SET version = 99").await;
    drop(scene.open().await.unwrap());
    server::execute(&scene.url, "UPDATE schema_state SET least = 99").await;
    let refused = scene.open().await.err();
    assert!(
        matches!(refused, Some(StoreError::Newer { found: 99, .. })),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_were_taken_out_are_not_replaced_by_new_ones() {
    let scene = Scene::begin().await;
    let store = scene.open().await.unwrap();
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    drop(store);
    server::execute(&scene.url, "DELETE FROM keyring_keys; DELETE FROM keyring_store").await;
    let refused = scene.open().await.err().unwrap().to_string();
    assert!(refused.contains("0 keys of the keyring are active"), "{refused}");
}
