//! Security events are remembered, a bounded number of them, and dead grants have no access tokens.

use super::*;
use crate::store::sqlite::security_events::REMEMBERED;

#[tokio::test]
async fn an_event_is_known_from_then_on_also_after_a_restart() {
    let (folder, store) = fresh();
    assert!(!store.is_event_known("one").await.unwrap());
    store.remember_event("one", at(0), Vec::new()).await.unwrap();
    store.remember_event("one", at(5), Vec::new()).await.unwrap();
    assert!(store.is_event_known("one").await.unwrap());
    assert!(!store.is_event_known("on").await.unwrap());
    store.close().await;
    assert!(open(&folder).is_event_known("one").await.unwrap());
}

#[tokio::test]
async fn the_oldest_event_makes_room() {
    let (_folder, store) = fresh();
    store.remember_event("first", at(0), Vec::new()).await.unwrap();
    store
        .write(|connection| {
            let mut statement =
                connection.prepare("INSERT INTO security_events (id, received_at) VALUES (?, 0)")?;
            for number in 1..REMEMBERED {
                statement.execute([number.to_string()])?;
            }
            Ok(())
        })
        .await
        .unwrap();
    assert!(store.is_event_known("first").await.unwrap());
    store.remember_event("last", at(0), Vec::new()).await.unwrap();
    assert!(!store.is_event_known("first").await.unwrap());
    assert!(store.is_event_known("1").await.unwrap() && store.is_event_known("last").await.unwrap());
    let count = store
        .read(|connection| {
            Ok(
                connection.query_row("SELECT count(*) FROM security_events", [], |row| {
                    row.get::<_, i64>(0)
                })?,
            )
        })
        .await;
    assert_eq!(count.unwrap(), REMEMBERED);
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
        rotated: None,
        health: Health::Revoked("withdrawn".into()),
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
