//! The writer thread: shared commits, and what goes wrong with them.

use std::sync::mpsc;

use rusqlite::params;
use tokio::sync::oneshot;

use crate::{
    sql::Fault,
    sqlite_store::tests::*,
    store::{AgentRecord, StoreError},
    telemetry::audit::{Actor, AuditEvent, Decision},
};

fn agent(name: &str, manifest: &str) -> AgentRecord {
    AgentRecord {
        name: name.parse().unwrap(),
        manifest: manifest.to_owned(),
    }
}

async fn names(store: &SqliteStore) -> Vec<String> {
    store
        .load()
        .await
        .unwrap()
        .agents
        .iter()
        .map(|agent| agent.name.to_string())
        .collect()
}

/// Keeps the writer busy, in a batch of its own, until what it returns is dropped: what is asked meanwhile
/// shares the next commit.
async fn busy(store: &SqliteStore) -> (mpsc::Sender<()>, impl Future<Output = ()>) {
    let (release, held) = mpsc::channel::<()>();
    let (started, is_started) = oneshot::channel();
    let mut started = Some(started);
    let mut hold = store.write(Rank::Addition, move |_| {
        if let Some(started) = started.take() {
            let _ = started.send(());
        }
        Ok(held.recv().is_ok())
    });
    tokio::select! {
        _ = &mut hold => unreachable!("it is not released yet"),
        started = is_started => started.unwrap(),
    }
    (release, async move { drop(hold.await) })
}

/// Runs `work`, all of it in one batch of the writer.
macro_rules! in_one_batch {
    ($store:expr, $($work:expr),+) => {{
        let (release, hold) = busy($store).await;
        // Polled in order: the work, and then the release.
        let (results, (), ()) = tokio::join!(
            biased;
            async { tokio::join!($($work),+) },
            async move { drop(release) },
            hold
        );
        results
    }};
}

#[tokio::test]
async fn what_waits_together_is_committed_together() {
    let (folder, store) = fresh();
    let outside = folder.path().to_owned();
    let (first, seen) = in_one_batch!(
        &store,
        store.put_agent(agent("first", "{}"), Vec::new()),
        store.write(Rank::Addition, move |connection| {
            let count = "SELECT count(*) FROM agents";
            let inside: i64 = connection.query_row(count, [], |row| row.get(0))?;
            let outside: i64 = raw(&outside).query_row(count, [], |row| row.get(0))?;
            Ok((inside, outside))
        })
    );
    first.unwrap();
    assert_eq!(
        seen.unwrap(),
        (1, 0),
        "the second runs in the transaction of the first"
    );
    assert_eq!(names(&store).await, ["first"]);
}

#[tokio::test]
async fn an_operation_that_fails_takes_nothing_from_the_others() {
    let (_folder, store) = fresh();
    let (before, failed, after) = in_one_batch!(
        &store,
        store.put_agent(agent("before", "{}"), Vec::new()),
        store.write(Rank::Addition, |connection| {
            connection.execute("INSERT INTO agents (name, manifest) VALUES ('half', '{}')", [])?;
            Err::<(), Fault>(StoreError::Conflict.into())
        }),
        store.put_agent(agent("after", "{}"), Vec::new())
    );
    before.unwrap();
    assert!(matches!(failed, Err(StoreError::Conflict)));
    after.unwrap();
    assert_eq!(names(&store).await, ["after", "before"]);
}

#[tokio::test]
async fn a_commit_that_fails_takes_nothing_from_the_others() {
    let (_folder, store) = fresh();
    store.put_agent(agent("early", "{}"), Vec::new()).await.unwrap();
    let (put, orphan) = in_one_batch!(
        &store,
        store.put_agent(agent("kept", "{}"), Vec::new()),
        // What no check finds before the commit itself.
        store.write(Rank::Addition, |connection| {
            connection.execute_batch(
                "PRAGMA defer_foreign_keys = ON; INSERT INTO secrets (place, integration, secret) VALUES (1, 9, x'')",
            )?;
            Ok(())
        })
    );
    put.unwrap();
    let error = orphan.unwrap_err();
    assert!(matches!(error, StoreError::Storage { .. }), "{error}");
    assert_eq!(names(&store).await, ["early", "kept"]);
    store.put_agent(agent("late", "{}"), Vec::new()).await.unwrap();
    assert_eq!(names(&store).await, ["early", "kept", "late"]);
}

#[tokio::test]
async fn a_transaction_that_the_database_ended_fails_for_all() {
    let (_folder, store) = fresh();
    let (put, ended, after) = in_one_batch!(
        &store,
        store.put_agent(agent("before", "{}"), Vec::new()),
        store.write(Rank::Addition, |connection| {
            // As an input or output error may do by itself.
            connection.execute_batch("ROLLBACK")?;
            Err::<(), Fault>(StoreError::Conflict.into())
        }),
        store.put_agent(agent("after", "{}"), Vec::new())
    );
    put.unwrap();
    after.unwrap();
    assert!(matches!(ended, Err(StoreError::Storage { .. })));
    store.put_agent(agent("late", "{}"), Vec::new()).await.unwrap();
    assert_eq!(names(&store).await, ["after", "before", "late"]);
}

async fn limit_pages(store: &SqliteStore, more: i64) {
    let limit = store.write(Rank::Addition, move |connection| {
        let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        Ok(connection.pragma_update_and_check(None, "max_page_count", pages + more, |_| Ok(()))?)
    });
    limit.await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_said_plainly_and_passes() {
    let (folder, store) = fresh();
    store.put_agent(agent("early", "{}"), Vec::new()).await.unwrap();
    let large = "x".repeat(20_000);
    limit_pages(&store, 2).await;
    let (small, refused) = in_one_batch!(
        &store,
        store.put_agent(agent("small", "{}"), Vec::new()),
        store.put_agent(agent("large", &large), Vec::new())
    );
    let error = refused.unwrap_err().to_string();
    assert!(
        error.contains("broker.db: the disk is full: this change was not written"),
        "{error}"
    );
    let kept = if small.is_ok() {
        vec!["early", "small"]
    } else {
        vec!["early"]
    };
    assert_eq!(names(&store).await, kept);

    limit_pages(&store, 1000).await;
    store.put_agent(agent("large", &large), Vec::new()).await.unwrap();
    drop(store);
    assert!(names(&open(&folder)).await.contains(&"large".to_owned()));
}

#[tokio::test]
async fn what_the_trail_needs_of_a_full_disk_is_taken_from_nobody() {
    let (_folder, store) = fresh();
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    let version = store.begin_renewal(&id(1), at(1)).await.unwrap().unwrap().version;
    limit_pages(&store, 2).await;
    let line = AuditEvent {
        detail: "x".repeat(40_000),
        ..AuditEvent::new(at(1), Actor::Daemon, "token.renewed", Decision::Allowed)
    };
    let (trail, renewed) = in_one_batch!(
        &store,
        store.append_audit(vec![line.clone()]),
        store.finish_renewal(&id(1), version, renewed(token(1, "a", 1)))
    );
    assert!(trail.unwrap_err().to_string().contains("the disk is full"));
    renewed.unwrap();
    assert_eq!(now(&store, 1).await.renewed_at, Some(at(1)));
    limit_pages(&store, 1000).await;
    store.append_audit(vec![line]).await.unwrap();
}

#[tokio::test]
async fn a_trail_that_is_damaged_takes_no_renewal_with_it() {
    let (_folder, store) = fresh();
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    let version = store.begin_renewal(&id(1), at(1)).await.unwrap().unwrap().version;
    store
        .write(Rank::Addition, |connection| {
            Ok(connection.execute_batch("ALTER TABLE audit RENAME TO elsewhere")?)
        })
        .await
        .unwrap();
    let event = AuditEvent::new(at(1), Actor::Daemon, "token.renewed", Decision::Allowed);
    let (trail, renewed) = in_one_batch!(
        &store,
        store.append_audit(vec![event]),
        store.finish_renewal(&id(1), version, renewed(token(1, "a", 1)))
    );
    assert!(trail.is_err());
    renewed.unwrap();
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_undo_its_write() {
    let (_folder, store) = fresh();
    let (release, hold) = busy(&store).await;
    tokio::select! {
        biased;
        () = hold => panic!("held until released"),
        _ = store.put_agent(agent("sent", "{}"), Vec::new()) => panic!("not before the hold ends"),
        () = async {} => {}
    }
    drop(release);
    // Comes after it in the queue.
    store.put_agent(agent("next", "{}"), Vec::new()).await.unwrap();
    assert_eq!(names(&store).await, ["next", "sent"]);
}

#[tokio::test]
async fn a_reader_sees_the_last_commit_while_the_writer_is_busy() {
    let (_folder, store) = fresh();
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    let (release, hold) = busy(&store).await;
    let ((), ()) = tokio::join!(hold, async {
        assert!(store.integration(&id(1)).await.unwrap().is_some());
        drop(release);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_at_once_lose_nothing() {
    let (folder, store) = fresh();
    let store = Arc::new(store);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..64 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut version = store
                .put_integration(account(number), None, Vec::new())
                .await
                .unwrap();
            for round in 1..=8 {
                let seen = store
                    .begin_renewal(&id(number), at(round))
                    .await
                    .unwrap()
                    .unwrap();
                assert_eq!(seen.version, version);
                let outcome = RenewalOutcome {
                    rotated: Some(refresh_token(&id(number), &format!("grant {round}"))),
                    ..renewed(token(number, "a", round))
                };
                version = store.finish_renewal(&id(number), version, outcome).await.unwrap();
                assert_eq!(
                    now(&store, number).await.version,
                    version,
                    "a read sees what was answered"
                );
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let crashed = crashed_copy(&folder);
    let revived = open(&crashed);
    for number in 0..64 {
        assert_eq!(grant(&revived, number).await, "grant 8");
    }
    let count: i64 = raw(crashed.path())
        .query_row(
            "SELECT count(*) FROM secrets WHERE requested IS NOT NULL AND obtained_at = ?",
            params![at(8).as_microsecond()],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(count, 64);
}
