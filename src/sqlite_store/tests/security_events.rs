//! Security events are remembered, a bounded number of them, and dead grants have no access tokens.

use crate::{budget::table::SECURITY_EVENTS, cause::GrantCause, sqlite_store::tests::*};

#[tokio::test]
async fn an_event_is_known_from_then_on_also_after_a_restart() {
    let (folder, store) = fresh();
    assert!(!store.is_event_known("one").await.unwrap());
    store
        .remember_event("one", None, at(0), Vec::new())
        .await
        .unwrap();
    store
        .remember_event("one", None, at(5), Vec::new())
        .await
        .unwrap();
    assert!(store.is_event_known("one").await.unwrap());
    assert!(!store.is_event_known("on").await.unwrap());
    store.close().await;
    assert!(open(&folder).is_event_known("one").await.unwrap());
}

/// How many are remembered.
async fn remembered(store: &SqliteStore) -> usize {
    let count = store.read(|connection| {
        let count = "SELECT count(*) FROM security_events";
        Ok(connection.query_row(count, [], |row| row.get::<_, i64>(0))?)
    });
    usize::try_from(count.await.unwrap()).unwrap()
}

/// Puts rows there that concerned so many accounts, one each; `None` is of a version that did not say which.
async fn fill(store: &SqliteStore, rows: usize, account: impl Fn(usize) -> Option<String> + Send + 'static) {
    let filled = store.write(Rank::Addition, move |connection| {
        let insert = "INSERT INTO security_events (id, received_at, account) VALUES (?, 0, ?)";
        let mut statement = connection.prepare(insert)?;
        for number in 0..rows {
            statement.execute(rusqlite::params![format!("row-{number}"), account(number)])?;
        }
        Ok(())
    });
    filled.await.unwrap();
}

#[tokio::test]
async fn an_accounts_events_push_out_its_own_alone() {
    let (_folder, store) = fresh();
    let remember = async |event: &str, account: Option<u32>| {
        let account = account.map(id);
        let remembered = store.remember_event(event, account.as_ref(), at(0), Vec::new());
        remembered.await.unwrap();
    };
    remember("first of one", Some(1)).await;
    remember("of two", Some(2)).await;
    remember("of nobody", None).await;
    for number in 0..SECURITY_EVENTS.each {
        remember(&format!("one-{number}"), Some(1)).await;
        remember(&format!("nobody-{number}"), None).await;
    }
    for (event, known) in [
        ("first of one", false),
        ("one-0", true),
        ("of nobody", false),
        ("of two", true),
    ] {
        assert_eq!(store.is_event_known(event).await.unwrap(), known, "{event}");
    }
    assert_eq!(remembered(&store).await, 2 * SECURITY_EVENTS.each + 1);
}

#[tokio::test]
async fn all_accounts_together_have_a_bound_too() {
    let (_folder, store) = fresh();
    fill(&store, SECURITY_EVENTS.all, |number| {
        Some(format!("account-{number}"))
    })
    .await;
    store
        .remember_event("last", None, at(0), Vec::new())
        .await
        .unwrap();
    assert!(!store.is_event_known("row-0").await.unwrap());
    assert!(store.is_event_known("row-1").await.unwrap() && store.is_event_known("last").await.unwrap());
    assert_eq!(remembered(&store).await, SECURITY_EVENTS.all);
}

#[tokio::test]
async fn what_an_earlier_version_remembered_stays_known() {
    let (_folder, store) = fresh();
    fill(&store, SECURITY_EVENTS.all - 1, |_| None).await;
    store
        .remember_event("new", None, at(0), Vec::new())
        .await
        .unwrap();
    assert!(store.is_event_known("row-0").await.unwrap());
}

#[tokio::test]
async fn a_grant_that_does_not_work_has_no_access_tokens() {
    let (_folder, store) = fresh();
    for number in [1, 2] {
        let version = store
            .put_integration(account(number), None, Vec::new())
            .await
            .unwrap();
        let outcome = renewed(token(number, "a", 0));
        store.finish_renewal(&id(number), version, outcome).await.unwrap();
    }
    assert_eq!(tokens(&store).await, ["a", "a"]);
    let dead = RenewalOutcome {
        grant_expires_at: None,
        rotated: None,
        health: Health::Revoked(Box::new(GrantCause::Written("withdrawn".to_owned()))),
        renewed_at: None,
        token: None,
    };
    let version = now(&store, 1).await.version;
    store.finish_renewal(&id(1), version, dead).await.unwrap();
    assert_eq!(tokens(&store).await, ["a"], "the other account's stays");
    store.forget_tokens(&id(2)).await.unwrap();
    assert!(tokens(&store).await.is_empty());
    assert_eq!(now(&store, 2).await.health, Health::Active);
    assert_eq!(grant(&store, 2).await, "grant");
}
