//! Accounts, and what becomes of their renewals.

use crate::{
    cause::{Call, GrantCause, GrantRefusal, ProviderCause, Refusal},
    sqlite_store::tests::*,
    store::{AgentRecord, RenewalIntent, StoreError},
};

#[tokio::test]
async fn every_field_of_an_account_survives_a_restart() {
    let (folder, store) = fresh();
    let sent = IntegrationRecord {
        provider: "google-sa".parse().unwrap(),
        health: Health::Misconfigured(written("the client is gone; set client_id")),
        renewed_at: Some(at(7)),
        ..account(1)
    };
    store
        .put_integration(sent.clone(), None, Vec::new())
        .await
        .unwrap();
    store
        .put_integration(
            IntegrationRecord {
                grant_expires_at: None,
                ..account(2)
            },
            None,
            Vec::new(),
        )
        .await
        .unwrap();
    drop(store);

    let contents = open(&folder).load().await.unwrap();
    assert!(contents.unusable.is_empty());
    let [first, second] = contents.integrations.as_slice() else {
        panic!("two accounts")
    };
    assert_eq!(
        (&first.id, &first.provider, &first.owner),
        (&sent.id, &sent.provider, &sent.owner)
    );
    assert_eq!((&first.subject, &first.account), (&sent.subject, &sent.account));
    assert_eq!(
        (&first.issuer_binding, &first.scopes),
        (&sent.issuer_binding, &sent.scopes)
    );
    assert_eq!(
        (first.connected_at, first.grant_expires_at),
        (sent.connected_at, sent.grant_expires_at)
    );
    assert_eq!((first.renewed_at, &first.health), (sent.renewed_at, &sent.health));
    assert!(first.secret == sent.secret && first.proof_key == sent.proof_key);
    assert_eq!(
        (second.renewed_at, second.grant_expires_at, &second.renewal),
        (None, None, &None)
    );
}

#[tokio::test]
async fn every_field_of_a_token_and_an_agent_survives_a_restart() {
    let (folder, store) = fresh();
    let version = store.put_integration(account(1), None, Vec::new()).await.unwrap();
    let sent = TokenRecord {
        granted: scopes("a"),
        ..token(1, "a b", 7)
    };
    store
        .finish_renewal(&id(1), version, renewed(sent.clone()))
        .await
        .unwrap();
    let agent = AgentRecord {
        name: "bot".parse().unwrap(),
        manifest: "{}".into(),
    };
    store.put_agent(agent.clone(), Vec::new()).await.unwrap();
    drop(store);

    let contents = open(&folder).load().await.unwrap();
    assert_eq!(contents.agents, [agent]);
    assert_eq!(contents.integrations[0].renewed_at, Some(at(7)));
    let [kept] = contents.tokens.as_slice() else {
        panic!("one token")
    };
    assert_eq!(
        (&kept.integration, &kept.requested, &kept.granted),
        (&id(1), &sent.requested, &sent.granted)
    );
    assert_eq!(
        (kept.issued_at, kept.issued_in_boot, kept.expires_at),
        (sent.issued_at, sent.issued_in_boot, sent.expires_at)
    );
    let binding = Binding::AccessToken {
        integration: &id(1),
        requested: &kept.requested,
    };
    assert_eq!(**vault(1).open(&binding, &kept.secret).unwrap(), *b"token");
}

/// As an earlier version kept why a grant does not work.
fn written(sentence: &str) -> Box<GrantCause> {
    Box::new(GrantCause::Written(sentence.to_owned()))
}

fn refused() -> GrantCause {
    GrantCause::Refused(GrantRefusal {
        cause: ProviderCause::Refused(Refusal {
            call: Call::Refresh,
            status: 400,
            error: Some("invalid_grant".to_owned()),
            subtype: None,
            reasons: Vec::new(),
            description: Some("Token has been \"expired\" or revoked.".to_owned()),
        }),
        refused_at: at(9),
        connected_at: Some(at(0)),
        cut_off: None,
    })
}

fn kept_reason(folder: &TempDir) -> String {
    let kept = "SELECT health_reason FROM secrets WHERE place = 1 << 16";
    raw(folder.path()).query_row(kept, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_cause_is_kept_as_data() {
    let (folder, store) = fresh();
    let health = Health::ReconnectRequired(Box::new(refused()));
    let account = IntegrationRecord { health, ..account(1) };
    store.put_integration(account, None, Vec::new()).await.unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept_reason(&folder)).unwrap();
    assert_eq!(kept["refused"]["cause"]["refused"]["error"], "invalid_grant");
}

#[tokio::test]
async fn a_sentence_of_version_14_is_read_and_stays_as_it_is() {
    let (folder, store) = fresh();
    let account = IntegrationRecord {
        health: Health::ReconnectRequired(written("Google no longer accepts this grant.")),
        proof_key: None,
        ..account(1)
    };
    let version = store.put_integration(account, None, Vec::new()).await.unwrap();
    drop(store);
    // What that version wrote, and it had no other tables, but for one column and the keyring.
    assert_eq!(kept_reason(&folder), "Google no longer accepts this grant.");
    raw(folder.path())
        .execute_batch(
            "PRAGMA user_version = 14; ALTER TABLE secrets DROP COLUMN proof_key; \
             DROP TABLE keyring_store; DROP TABLE keyring_keys",
        )
        .unwrap();

    let store = open(&folder);
    let expected = Health::ReconnectRequired(written("Google no longer accepts this grant."));
    assert_eq!(now(&store, 1).await.health, expected);
    let outcome = RenewalOutcome {
        grant_expires_at: None,
        rotated: None,
        health: expected,
        renewed_at: None,
        token: None,
    };
    let next = store.finish_renewal(&id(1), version, outcome).await.unwrap();
    assert_eq!(next, version, "the same sentence is no change");
    assert_eq!(kept_reason(&folder), "Google no longer accepts this grant.");
}

#[tokio::test]
async fn each_kind_of_health_survives() {
    let (_folder, store) = fresh();
    let mut version = store.put_integration(account(1), None, Vec::new()).await.unwrap();
    for health in [
        Health::ReconnectRequired(written("it expired")),
        Health::ReconnectRequired(Box::new(refused())),
        Health::Disabled(Box::new(GrantCause::AccountDisabled {
            account: "alice@example.com".to_owned(),
            reason: "hijacking".to_owned(),
            announced_at: at(1),
        })),
        Health::Revoked(Box::new(GrantCause::PermissionsRemoved {
            account: "alice@example.com".to_owned(),
            announced_at: at(1),
        })),
        Health::Misconfigured(written("no such client")),
        Health::Active,
    ] {
        let outcome = RenewalOutcome {
            grant_expires_at: None,
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
    let first = store.put_integration(account(1), None, Vec::new()).await.unwrap();
    let again = store.put_integration(account(1), None, Vec::new()).await;
    assert!(matches!(again, Err(StoreError::Conflict)), "added twice");
    let second = store
        .put_integration(account(1), Some(first), Vec::new())
        .await
        .unwrap();
    assert!(second > first);
    let stale = store.put_integration(account(1), Some(first), Vec::new()).await;
    assert!(
        matches!(stale, Err(StoreError::Conflict)),
        "replaced what was replaced"
    );
    let absent = store.put_integration(account(2), Some(first), Vec::new()).await;
    assert!(
        matches!(absent, Err(StoreError::Conflict)),
        "replaced what is not there"
    );
    assert_eq!(now(&store, 1).await.version, second);
}

#[tokio::test]
async fn replacing_an_account_forgets_its_tokens_and_its_intent() {
    let (_folder, store) = fresh();
    let version = store.put_integration(account(1), None, Vec::new()).await.unwrap();
    store
        .finish_renewal(&id(1), version, renewed(token(1, "a", 0)))
        .await
        .unwrap();
    store.begin_renewal(&id(1), at(1)).await.unwrap();
    store
        .put_integration(now(&store, 1).await, Some(version), Vec::new())
        .await
        .unwrap();
    assert_eq!(now(&store, 1).await.renewal, None);
    assert!(tokens(&store).await.is_empty());
}

#[tokio::test]
async fn a_renewal_shows_the_intent_before_it_and_counts_the_attempts() {
    let (_folder, store) = fresh();
    let version = store.put_integration(account(1), None, Vec::new()).await.unwrap();
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
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
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
    let version = store.put_integration(account(1), None, Vec::new()).await.unwrap();
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
    let first = store.put_integration(account(1), None, Vec::new()).await.unwrap();
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
    let version = store.put_integration(account(1), None, Vec::new()).await.unwrap();
    store
        .finish_renewal(&id(1), version, renewed(token(1, "a", 0)))
        .await
        .unwrap();
    store.begin_renewal(&id(1), at(1)).await.unwrap();
    assert!(store.delete_integration(&id(1), Vec::new()).await.unwrap());
    assert!(!store.delete_integration(&id(1), Vec::new()).await.unwrap());
    let late = store
        .finish_renewal(&id(1), version, renewed(token(1, "a", 1)))
        .await;
    assert!(matches!(late, Err(StoreError::Conflict)));
    assert!(store.begin_renewal(&id(1), at(2)).await.unwrap().is_none());
    let contents = store.load().await.unwrap();
    assert!(contents.integrations.is_empty() && contents.tokens.is_empty());

    // Nor does the renewal find an account that came back under the same id.
    let again = store.put_integration(account(1), None, Vec::new()).await.unwrap();
    assert!(again > version);
    let late = store
        .finish_renewal(&id(1), version, renewed(token(1, "a", 1)))
        .await;
    assert!(matches!(late, Err(StoreError::Conflict)));
}

#[tokio::test]
async fn a_token_replaces_the_one_for_the_same_scopes_and_expired_ones_go() {
    let (_folder, store) = fresh();
    let version = store.put_integration(account(1), None, Vec::new()).await.unwrap();
    store.put_integration(account(2), None, Vec::new()).await.unwrap();
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
async fn an_accounts_rows_lie_together_and_room_is_used_again() {
    let (folder, store) = fresh();
    let mut versions = Vec::new();
    for number in 1..=2 {
        versions.push(
            store
                .put_integration(account(number), None, Vec::new())
                .await
                .unwrap(),
        );
    }
    let renew = async |number: u32, requested, seconds| {
        let version = versions[number as usize - 1];
        let outcome = renewed(token(number, requested, seconds));
        store.finish_renewal(&id(number), version, outcome).await.unwrap();
    };
    let places = || -> Vec<String> {
        raw(folder.path())
            .prepare("SELECT concat(place >> 16, '+', place & 65535, ' ', requested) FROM secrets")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    };
    renew(1, "a", 0).await;
    renew(2, "a", 0).await;
    renew(1, "b", 100).await;
    renew(1, "c", 200).await;
    let first = ["1+0 ", "1+1 a", "1+2 b", "1+3 c", "2+0 ", "2+1 a"];
    assert_eq!(places(), first);
    // `b` is renewed in its place; `a` has expired by then.
    renew(1, "b", 3600).await;
    assert_eq!(places(), ["1+0 ", "1+2 b", "1+3 c", "2+0 ", "2+1 a"]);
    renew(1, "d", 3601).await;
    renew(1, "e", 3602).await;
    assert_eq!(places()[..5], ["1+0 ", "1+1 d", "1+2 b", "1+3 c", "1+4 e"]);
    // An account without a free place does not reach into the next one's.
    raw(folder.path())
        .execute_batch(
            "WITH RECURSIVE free (place) AS (VALUES ((1 << 16) + 5) UNION ALL \
             SELECT place + 1 FROM free WHERE place < (1 << 16) + 65535) \
             INSERT INTO secrets (place, integration, requested, expires_at, secret) \
             SELECT place, 1, place, 9000000000000000, x'' FROM free",
        )
        .unwrap();
    renew(1, "f", 3603).await;
    let after = places();
    assert_eq!(after[after.len() - 3..], ["1+65535 f", "2+0 ", "2+1 a"]);
}

#[tokio::test]
async fn agents_are_added_replaced_and_deleted() {
    let (_folder, store) = fresh();
    let agent = |manifest: &str| AgentRecord {
        name: "bot".parse().unwrap(),
        manifest: manifest.into(),
    };
    store.put_agent(agent("1"), Vec::new()).await.unwrap();
    store.put_agent(agent("2"), Vec::new()).await.unwrap();
    assert_eq!(store.load().await.unwrap().agents, [agent("2")]);
    assert!(
        store
            .delete_agent(&"bot".parse().unwrap(), Vec::new())
            .await
            .unwrap()
    );
    assert!(
        !store
            .delete_agent(&"bot".parse().unwrap(), Vec::new())
            .await
            .unwrap()
    );
    assert!(store.load().await.unwrap().agents.is_empty());
}

#[tokio::test]
async fn what_takes_a_bound_grants_place_is_bound_to_the_same_key() {
    let (folder, store) = fresh();
    let sent = account(1);
    let version = store
        .put_integration(sent.clone(), None, Vec::new())
        .await
        .unwrap();
    let begun = store.begin_renewal(&id(1), at(1)).await.unwrap().unwrap();
    assert!(begun.proof_key == sent.proof_key);
    let outcome = RenewalOutcome {
        rotated: Some(refresh_token(&id(1), "next")),
        ..renewed(token(1, "a b", 0))
    };
    store.finish_renewal(&id(1), version, outcome).await.unwrap();
    drop(store);
    let store = open(&folder);
    assert_eq!(grant(&store, 1).await, "next");
    assert!(now(&store, 1).await.proof_key == sent.proof_key);
    let unbound = IntegrationRecord {
        proof_key: None,
        ..account(1)
    };
    let replaced = now(&store, 1).await.version;
    store
        .put_integration(unbound, Some(replaced), Vec::new())
        .await
        .unwrap();
    assert!(now(&store, 1).await.proof_key.is_none());
}
