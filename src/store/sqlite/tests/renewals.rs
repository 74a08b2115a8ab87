//! Accounts, and what becomes of their renewals.

use super::*;
use crate::store::{AgentRecord, RenewalIntent, StoreError};

#[tokio::test]
async fn every_field_survives_a_restart() {
    let (folder, store) = fresh();
    let sent = IntegrationRecord {
        kind: IntegrationKind::GoogleServiceAccount,
        health: Health::Misconfigured("the client is gone; set client_id".into()),
        renewed_at: Some(at(7)),
        ..account(1)
    };
    let version = store.put_integration(sent.clone(), None).await.unwrap();
    store
        .finish_renewal(&id(1), version, renewed(token(1, "a", 7)))
        .await
        .unwrap();
    store
        .put_integration(
            IntegrationRecord {
                grant_expires_at: None,
                ..account(2)
            },
            None,
        )
        .await
        .unwrap();
    let agent = AgentRecord {
        name: "bot".parse().unwrap(),
        manifest: "{}".into(),
    };
    store.put_agent(agent.clone()).await.unwrap();
    drop(store);

    let contents = open(&folder).load().await.unwrap();
    assert!(contents.problems.is_empty());
    assert_eq!(contents.agents, [agent]);
    let [first, second] = contents.integrations.as_slice() else {
        panic!("two accounts")
    };
    assert_eq!(
        (&first.id, first.kind, &first.owner),
        (&sent.id, sent.kind, &sent.owner)
    );
    assert_eq!((&first.subject, &first.account), (&sent.subject, &sent.account));
    assert_eq!((&first.authority, &first.scopes), (&sent.authority, &sent.scopes));
    assert_eq!(
        (first.connected_at, first.grant_expires_at),
        (sent.connected_at, sent.grant_expires_at)
    );
    assert_eq!((first.renewed_at, &first.health), (Some(at(7)), &Health::Active));
    assert!(first.secret == sent.secret);
    assert_eq!(
        (second.renewed_at, second.grant_expires_at, &second.renewal),
        (None, None, &None)
    );
    let [kept] = contents.tokens.as_slice() else {
        panic!("one token")
    };
    let sent = token(1, "a", 7);
    assert_eq!(
        (&kept.integration, &kept.requested, &kept.granted),
        (&id(1), &sent.requested, &sent.granted)
    );
    assert_eq!(
        (kept.issued_at, kept.expires_at),
        (sent.issued_at, sent.expires_at)
    );
    let binding = Binding::AccessToken {
        integration: &id(1),
        requested: &kept.requested,
    };
    assert_eq!(**vault(1).open(&binding, &kept.secret).unwrap(), *b"token");
}

#[tokio::test]
async fn each_kind_of_health_survives() {
    let (_folder, store) = fresh();
    let mut version = store.put_integration(account(1), None).await.unwrap();
    for health in [
        Health::ReconnectRequired("it expired".into()),
        Health::Revoked("by alice".into()),
        Health::Misconfigured("no such client".into()),
        Health::Active,
    ] {
        let outcome = RenewalOutcome {
            rotated: None,
            health: health.clone(),
            renewed_at: None,
            token: None,
        };
        let next = store.finish_renewal(&id(1), version, outcome).await.unwrap();
        assert!(next > version, "a change of health is a change of the grant");
        version = next;
        assert_eq!(now(&store, 1).await.health, health);
    }
}

#[tokio::test]
async fn an_account_is_added_once_and_replaced_only_as_it_was_read() {
    let (_folder, store) = fresh();
    let first = store.put_integration(account(1), None).await.unwrap();
    let again = store.put_integration(account(1), None).await;
    assert!(matches!(again, Err(StoreError::Conflict)), "added twice");
    let second = store.put_integration(account(1), Some(first)).await.unwrap();
    assert!(second > first);
    let stale = store.put_integration(account(1), Some(first)).await;
    assert!(
        matches!(stale, Err(StoreError::Conflict)),
        "replaced what was replaced"
    );
    let absent = store.put_integration(account(2), Some(first)).await;
    assert!(
        matches!(absent, Err(StoreError::Conflict)),
        "replaced what is not there"
    );
    assert_eq!(now(&store, 1).await.version, second);
}

#[tokio::test]
async fn replacing_an_account_forgets_its_tokens_and_its_intent() {
    let (_folder, store) = fresh();
    let version = store.put_integration(account(1), None).await.unwrap();
    store
        .finish_renewal(&id(1), version, renewed(token(1, "a", 0)))
        .await
        .unwrap();
    store.begin_renewal(&id(1), at(1)).await.unwrap();
    store
        .put_integration(now(&store, 1).await, Some(version))
        .await
        .unwrap();
    assert_eq!(now(&store, 1).await.renewal, None);
    assert!(tokens(&store).await.is_empty());
}

#[tokio::test]
async fn a_renewal_shows_the_intent_before_it_and_counts_the_attempts() {
    let (_folder, store) = fresh();
    let version = store.put_integration(account(1), None).await.unwrap();
    let begin = async |seconds| {
        store
            .begin_renewal(&id(1), at(seconds))
            .await
            .unwrap()
            .unwrap()
            .renewal
    };
    assert_eq!(begin(1).await, None);
    assert_eq!(
        begin(2).await,
        Some(RenewalIntent {
            started_at: at(1),
            attempts: 1
        })
    );
    assert_eq!(
        begin(3).await,
        Some(RenewalIntent {
            started_at: at(2),
            attempts: 2
        })
    );
    assert_eq!(
        now(&store, 1).await.renewal,
        Some(RenewalIntent {
            started_at: at(3),
            attempts: 3
        })
    );
    assert_eq!(
        now(&store, 1).await.version,
        version,
        "an intent changes nothing of the grant"
    );

    store
        .finish_renewal(&id(1), version, renewed(token(1, "a", 4)))
        .await
        .unwrap();
    assert_eq!(now(&store, 1).await.renewal, None);
    assert_eq!(begin(5).await, None);
    assert_eq!(
        begin(6).await,
        Some(RenewalIntent {
            started_at: at(5),
            attempts: 1
        })
    );
}

#[tokio::test]
async fn an_intent_survives_a_crash() {
    let (folder, store) = fresh();
    store.put_integration(account(1), None).await.unwrap();
    store.begin_renewal(&id(1), at(1)).await.unwrap();
    let crashed = crashed_copy(&folder);
    let revived = open(&crashed);
    let cut_short = revived.begin_renewal(&id(1), at(9)).await.unwrap().unwrap();
    assert_eq!(
        cut_short.renewal,
        Some(RenewalIntent {
            started_at: at(1),
            attempts: 1
        })
    );
}

#[tokio::test]
async fn what_was_answered_survives_a_crash() {
    let (folder, store) = fresh();
    let version = store.put_integration(account(1), None).await.unwrap();
    let outcome = RenewalOutcome {
        rotated: Some(refresh_token(&id(1), "rotated")),
        ..renewed(token(1, "a", 0))
    };
    store.finish_renewal(&id(1), version, outcome).await.unwrap();
    let crashed = crashed_copy(&folder);
    let revived = open(&crashed);
    assert_eq!(grant(&revived, 1).await, "rotated");
    assert_eq!(tokens(&revived).await, ["a"]);
}

#[tokio::test]
async fn the_account_changes_version_with_its_grant_only() {
    let (_folder, store) = fresh();
    let first = store.put_integration(account(1), None).await.unwrap();
    // Two flights for different scopes began with the same version: the first must not spoil the second.
    let same = store
        .finish_renewal(&id(1), first, renewed(token(1, "a", 0)))
        .await
        .unwrap();
    assert_eq!(same, first);
    assert_eq!(
        grant(&store, 1).await,
        "grant",
        "an answer without a refresh token keeps the old one"
    );

    let rotated = RenewalOutcome {
        rotated: Some(refresh_token(&id(1), "rotated")),
        ..renewed(token(1, "b", 1))
    };
    let second = store.finish_renewal(&id(1), first, rotated).await.unwrap();
    assert!(second > first);
    let stale = store
        .finish_renewal(&id(1), first, renewed(token(1, "c", 2)))
        .await;
    assert!(matches!(stale, Err(StoreError::Conflict)));
    assert_eq!(grant(&store, 1).await, "rotated");
    assert_eq!(
        tokens(&store).await,
        ["a", "b"],
        "nothing of the stale renewal was written"
    );
}

#[tokio::test]
async fn a_deleted_account_is_not_resurrected() {
    let (_folder, store) = fresh();
    let version = store.put_integration(account(1), None).await.unwrap();
    store
        .finish_renewal(&id(1), version, renewed(token(1, "a", 0)))
        .await
        .unwrap();
    store.begin_renewal(&id(1), at(1)).await.unwrap();
    assert!(store.delete_integration(&id(1)).await.unwrap());
    assert!(!store.delete_integration(&id(1)).await.unwrap());
    let late = store
        .finish_renewal(&id(1), version, renewed(token(1, "a", 1)))
        .await;
    assert!(matches!(late, Err(StoreError::Conflict)));
    assert!(store.begin_renewal(&id(1), at(2)).await.unwrap().is_none());
    let contents = store.load().await.unwrap();
    assert!(contents.integrations.is_empty() && contents.tokens.is_empty());

    // Nor does the renewal find an account that came back under the same id.
    let again = store.put_integration(account(1), None).await.unwrap();
    assert!(again > version);
    let late = store
        .finish_renewal(&id(1), version, renewed(token(1, "a", 1)))
        .await;
    assert!(matches!(late, Err(StoreError::Conflict)));
}

#[tokio::test]
async fn a_token_replaces_the_one_for_the_same_scopes_and_expired_ones_go() {
    let (_folder, store) = fresh();
    let version = store.put_integration(account(1), None).await.unwrap();
    store.put_integration(account(2), None).await.unwrap();
    for (requested, seconds) in [("a", 0), ("a b", 0), ("b a", 3000)] {
        store
            .finish_renewal(&id(1), version, renewed(token(1, requested, seconds)))
            .await
            .unwrap();
    }
    let kept = store.load().await.unwrap().tokens;
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[1].issued_at, at(3000));

    // `a` expired at 3599 and nobody renews it any more.
    store
        .finish_renewal(&id(1), version, renewed(token(1, "c", 3599)))
        .await
        .unwrap();
    assert_eq!(tokens(&store).await, ["a b", "c"]);
}

#[tokio::test]
async fn agents_are_added_replaced_and_deleted() {
    let (_folder, store) = fresh();
    let agent = |manifest: &str| AgentRecord {
        name: "bot".parse().unwrap(),
        manifest: manifest.into(),
    };
    store.put_agent(agent("1")).await.unwrap();
    store.put_agent(agent("2")).await.unwrap();
    assert_eq!(store.load().await.unwrap().agents, [agent("2")]);
    assert!(store.delete_agent(&"bot".parse().unwrap()).await.unwrap());
    assert!(!store.delete_agent(&"bot".parse().unwrap()).await.unwrap());
    assert!(store.load().await.unwrap().agents.is_empty());
}

#[tokio::test]
async fn a_ciphertext_moved_to_another_row_does_not_open() {
    let (folder, store) = fresh();
    store.put_integration(account(1), None).await.unwrap();
    store.put_integration(account(2), None).await.unwrap();
    raw(folder.path())
        .execute(
            "UPDATE integrations SET secret = (SELECT secret FROM integrations WHERE id = ?1) WHERE id = ?2",
            [id(2).as_str(), id(1).as_str()],
        )
        .unwrap();
    let moved = now(&store, 1).await.secret;
    let error = vault(1)
        .open(&Binding::RefreshToken(&id(1)), &moved)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(id(1).as_str()) && error.contains("moved there from another record"),
        "{error}"
    );
    assert_eq!(grant(&store, 2).await, "grant", "the other one works on");
}

#[tokio::test]
async fn a_row_that_makes_no_sense_is_reported_and_left_alone() {
    let (folder, store) = fresh();
    for number in 1..=8 {
        let version = store.put_integration(account(number), None).await.unwrap();
        store
            .finish_renewal(&id(number), version, renewed(token(number, "a", 0)))
            .await
            .unwrap();
    }
    let database = raw(folder.path());
    let damage = [
        "scopes = 'a \"b\"'",
        "health = 'fine'",
        "kind = 'yahoo'",
        "owner = ''",
        "version = -1",
        "connected_at = 9223372036854775807",
    ];
    for (number, assignment) in (1..).zip(damage) {
        let sql = format!("UPDATE integrations SET {assignment} WHERE id = ?");
        database.execute(&sql, [id(number).as_str()]).unwrap();
    }
    database
        .execute(
            "UPDATE access_tokens SET granted = '\"' WHERE integration = ?",
            [id(7).as_str()],
        )
        .unwrap();

    let contents = store.load().await.unwrap();
    assert_eq!(
        contents
            .integrations
            .iter()
            .map(|record| &record.id)
            .collect::<Vec<_>>(),
        [&id(7), &id(8)]
    );
    assert_eq!(contents.tokens.len(), 7);
    assert_eq!(contents.problems.len(), 7);
    for (number, problem) in (1..).zip(&contents.problems) {
        assert!(problem.contains(id(number).as_str()), "{problem}");
    }
    assert_eq!(
        contents.problems[1],
        format!(
            "the record {} in the database cannot be read: its health `fine` is unknown",
            id(2)
        )
    );
    // A renewal says so, too, and writes nothing.
    let refused = store.begin_renewal(&id(2), at(1)).await;
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })));
    let attempts: i64 = database
        .query_row(
            "SELECT renewal_attempts FROM integrations WHERE id = ?",
            [id(2).as_str()],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(attempts, 0);
    assert!(
        store.delete_integration(&id(2)).await.unwrap(),
        "it can be disconnected"
    );
}
