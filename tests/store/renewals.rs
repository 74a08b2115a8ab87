//! Renewals: their intents, their outcomes, the access tokens.

use token_broker::{
    cause::GrantCause,
    store::{Health, RenewalIntent, RenewalOutcome, StoreError},
};

use crate::support::{Scene, account, at, id, refresh_token, renewed, token};

fn intent(seconds: u64, attempts: u32) -> RenewalIntent {
    RenewalIntent {
        started_at: at(seconds),
        attempts,
    }
}

pub(crate) async fn a_renewal_shows_the_intent_before_it_and_counts_the_attempts(scene: Scene) {
    let store = &scene.store;
    let version = scene.put(account(1)).await;
    let begin = async |seconds| store.begin_renewal(&id(1), at(seconds)).await.unwrap().unwrap();
    let first = begin(1).await;
    assert_eq!(
        (first.version, first.health, first.renewal),
        (version, Health::Active, None)
    );
    assert_eq!(begin(2).await.renewal, Some(intent(1, 1)));
    assert_eq!(begin(3).await.renewal, Some(intent(2, 2)));
    assert_eq!(scene.account(1).await.renewal, Some(intent(3, 3)));
    store
        .finish_renewal(&id(1), version, renewed(token(1, "a", 3)))
        .await
        .unwrap();
    assert_eq!(begin(4).await.renewal, None);
    assert!(store.begin_renewal(&id(2), at(1)).await.unwrap().is_none());
}

pub(crate) async fn an_intent_survives_a_restart(scene: Scene) {
    scene.put(account(1)).await;
    scene.store.begin_renewal(&id(1), at(1)).await.unwrap();
    let scene = scene.restart().await;
    assert_eq!(scene.account(1).await.renewal, Some(intent(1, 1)));
    let grant = scene.store.begin_renewal(&id(1), at(2)).await.unwrap().unwrap();
    assert_eq!(grant.renewal, Some(intent(1, 1)));
}

pub(crate) async fn the_version_changes_with_the_grant_only(scene: Scene) {
    let store = &scene.store;
    let first = scene.put(account(1)).await;
    let same = store
        .finish_renewal(&id(1), first, renewed(token(1, "a", 1)))
        .await
        .unwrap();
    assert_eq!(same, first);
    let dead = RenewalOutcome {
        health: Health::ReconnectRequired(Box::new(GrantCause::Written("gone".to_owned()))),
        renewed_at: None,
        token: None,
        ..renewed(token(1, "a", 1))
    };
    let changed = store.finish_renewal(&id(1), first, dead).await.unwrap();
    assert!(changed > first);
    let now = scene.account(1).await;
    assert_eq!((now.version, now.renewed_at), (changed, Some(at(1))));
}

pub(crate) async fn a_rotated_token_takes_the_place_of_the_one_before(scene: Scene) {
    let first = scene.put(account(1)).await;
    let outcome = RenewalOutcome {
        rotated: Some(refresh_token(1, "next")),
        grant_expires_at: Some(at(99)),
        ..renewed(token(1, "a", 1))
    };
    let version = scene.store.finish_renewal(&id(1), first, outcome).await.unwrap();
    assert!(version > first);
    let scene = scene.restart().await;
    assert_eq!(scene.grant(1).await, "next");
    let now = scene.account(1).await;
    assert_eq!((now.version, now.grant_expires_at), (version, Some(at(99))));
    assert!(now.proof_key.is_some(), "it is bound to the same key");
    assert_eq!(scene.tokens().await, ["a"]);
}

pub(crate) async fn an_outcome_for_another_version_changes_nothing(scene: Scene) {
    let first = scene.put(account(1)).await;
    let replaced = scene
        .store
        .put_integration(account(1), Some(first), Vec::new())
        .await;
    let second = replaced.unwrap();
    let outcome = RenewalOutcome {
        rotated: Some(refresh_token(1, "of the one before")),
        ..renewed(token(1, "a", 1))
    };
    let finished = scene.store.finish_renewal(&id(1), first, outcome).await;
    assert_eq!(finished, Err(StoreError::Conflict));
    assert_eq!(
        (scene.grant(1).await.as_str(), scene.account(1).await.version),
        ("grant", second)
    );
    assert!(scene.tokens().await.is_empty());
}

pub(crate) async fn a_token_replaces_the_one_for_the_same_scopes_and_expired_ones_go(scene: Scene) {
    let store = &scene.store;
    let version = scene.put(account(1)).await;
    scene.put(account(2)).await;
    for requested in ["a", "b", "c"] {
        store
            .finish_renewal(&id(1), version, renewed(token(1, requested, 0)))
            .await
            .unwrap();
    }
    store
        .finish_renewal(&id(1), version, renewed(token(1, "a", 10)))
        .await
        .unwrap();
    assert_eq!(scene.tokens().await, ["a", "b", "c"]);
    // Those of the beginning end at 3599.
    store
        .finish_renewal(&id(1), version, renewed(token(1, "b", 3600)))
        .await
        .unwrap();
    assert_eq!(scene.tokens().await, ["a", "b"]);
    let tokens = store.load().await.unwrap().tokens;
    let of_b = tokens
        .iter()
        .find(|token| token.requested.to_string() == "b")
        .unwrap();
    assert_eq!(of_b.issued_at, at(3600));
}

pub(crate) async fn a_grant_that_does_not_work_has_no_access_tokens(scene: Scene) {
    let version = scene.put(account(1)).await;
    scene
        .store
        .finish_renewal(&id(1), version, renewed(token(1, "a", 0)))
        .await
        .unwrap();
    let dead = RenewalOutcome {
        health: Health::Revoked(Box::new(GrantCause::Written("gone".to_owned()))),
        token: None,
        ..renewed(token(1, "a", 0))
    };
    scene.store.finish_renewal(&id(1), version, dead).await.unwrap();
    assert!(scene.tokens().await.is_empty());
}

pub(crate) async fn tokens_are_forgotten_without_the_grant(scene: Scene) {
    for number in [1, 2] {
        let version = scene.put(account(number)).await;
        let outcome = renewed(token(number, &format!("of-{number}"), 0));
        scene
            .store
            .finish_renewal(&id(number), version, outcome)
            .await
            .unwrap();
    }
    scene.store.forget_tokens(&id(1)).await.unwrap();
    assert_eq!(scene.tokens().await, ["of-2"]);
    assert_eq!(scene.grant(1).await, "grant");
}

pub(crate) async fn many_renewals_at_once_lose_nothing(scene: Scene) {
    const ACCOUNTS: u32 = 40;
    let adding = (0..ACCOUNTS).map(|number| scene.put(account(number)));
    let versions = futures_util::future::join_all(adding).await;
    let renewals = (0..ACCOUNTS).zip(&versions).map(|(number, version)| {
        let store = &scene.store;
        async move {
            // One of them is refused, and takes nothing from the others that are committed with it.
            let wrong = u64::from(number == 7);
            store.begin_renewal(&id(number), at(1)).await.unwrap().unwrap();
            let outcome = RenewalOutcome {
                rotated: Some(refresh_token(number, &format!("next {number}"))),
                ..renewed(token(number, "a", 1))
            };
            store
                .finish_renewal(&id(number), version + wrong * 1000, outcome)
                .await
        }
    });
    let ended = futures_util::future::join_all(renewals).await;
    let scene = scene.restart().await;
    for (number, ended) in (0..ACCOUNTS).zip(ended) {
        let expected = if number == 7 {
            assert_eq!(ended, Err(StoreError::Conflict));
            "grant".to_owned()
        } else {
            assert_eq!(ended.unwrap(), scene.account(number).await.version);
            format!("next {number}")
        };
        assert_eq!(scene.grant(number).await, expected);
    }
    assert_eq!(scene.tokens().await.len(), 39);
}
