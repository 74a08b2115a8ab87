//! Accounts: added, replaced, deleted, given up.

use std::sync::Arc;

use token_broker::{
    cause::GrantCause,
    store::{Health, IntegrationRecord, RenewalOutcome, StoreError},
    vault::Binding,
};

use crate::support::{Scene, account, at, id, refresh_token, renewed, scopes, token, up};

/// All that a record says, without its secrets.
fn told(record: &IntegrationRecord) -> String {
    format!(
        "{:?}",
        (
            (&record.id, &record.provider, &record.owner, &record.subject),
            (&record.account, &record.former, &record.issuer_binding),
            (&record.scopes, &record.declined, &record.health),
            (record.connected_at, record.renewed_at, record.grant_expires_at),
            &record.renewal,
        )
    )
}

pub(crate) async fn every_field_survives_a_restart(scene: Scene) {
    let robot_id = id(2);
    let robot = IntegrationRecord {
        provider: "google-sa".parse().unwrap(),
        owner: "bob".parse().unwrap(),
        account: "robot@example.com".to_owned(),
        former: ["machine \"quoted\"@example.com".to_owned(), "b".to_owned()].into(),
        scopes: scopes("c"),
        grant_expires_at: None,
        declined: ["google.drive".parse().unwrap(), "google.docs".parse().unwrap()].into(),
        secret: scene
            .vault
            .seal(&Binding::ServiceAccountKey(&robot_id), b"a key file"),
        proof_key: None,
        ..account(2)
    };
    let (first, second) = (scene.put(account(1)).await, scene.put(robot.clone()).await);
    let narrower = token_broker::store::TokenRecord {
        granted: scopes("a"),
        ..token(1, "a b", 5)
    };
    let version = scene
        .store
        .finish_renewal(&id(1), first, renewed(narrower))
        .await
        .unwrap();
    let scene = scene.restart().await;
    let contents = scene.store.load().await.unwrap();
    assert_eq!(contents.unusable, []);
    assert!(contents.unchecked.is_empty());
    let [one, two] = &contents.integrations[..] else {
        panic!("{} accounts", contents.integrations.len())
    };
    let mut expected = account(1);
    expected.renewed_at = Some(at(5));
    assert_eq!((told(one), one.version), (told(&expected), version));
    assert_eq!((told(two), two.version), (told(&robot), second));
    assert!(two.proof_key.is_none());
    let proof_key = one.proof_key.as_ref().unwrap();
    let opened = scene.vault.open(&Binding::ProofKey(&id(1)), proof_key).unwrap();
    assert_eq!(opened.as_slice(), b"key 1");
    let key = scene
        .vault
        .open(&Binding::ServiceAccountKey(&robot_id), &two.secret);
    assert_eq!(key.unwrap().as_slice(), b"a key file");
    let [token] = &contents.tokens[..] else {
        panic!("{} tokens", contents.tokens.len())
    };
    assert_eq!((&token.integration, token.issued_in_boot), (&id(1), Some(up(0))));
    assert_eq!((&token.requested, &token.granted), (&scopes("a b"), &scopes("a")));
    assert_eq!((token.issued_at, token.expires_at), (at(5), at(3604)));
    assert!(scene.store.integration(&id(3)).await.unwrap().is_none());
    assert!(scene.store.facts().await.unwrap().bytes > 0);
}

pub(crate) async fn an_account_is_added_once_and_replaced_only_as_it_was_read(scene: Scene) {
    let store = &scene.store;
    let first = scene.put(account(1)).await;
    let conflict = Err(StoreError::Conflict);
    assert_eq!(
        store.put_integration(account(1), None, Vec::new()).await,
        conflict
    );
    let other = store
        .put_integration(account(1), Some(first + 1), Vec::new())
        .await;
    assert_eq!(other, conflict);
    assert_eq!(
        store.put_integration(account(2), Some(1), Vec::new()).await,
        conflict
    );
    let second = store
        .put_integration(account(1), Some(first), Vec::new())
        .await
        .unwrap();
    assert!(second > first);
    assert_eq!(scene.account(1).await.version, second);
    assert_eq!(
        store.put_integration(account(1), Some(first), Vec::new()).await,
        conflict
    );
}

pub(crate) async fn replacing_an_account_forgets_its_tokens_and_its_intent(scene: Scene) {
    let first = scene.put(account(1)).await;
    scene
        .store
        .finish_renewal(&id(1), first, renewed(token(1, "a", 0)))
        .await
        .unwrap();
    scene.store.begin_renewal(&id(1), at(1)).await.unwrap();
    assert!(scene.account(1).await.renewal.is_some());
    let replaced = scene
        .store
        .put_integration(account(1), Some(first), Vec::new())
        .await;
    replaced.unwrap();
    assert_eq!(scene.account(1).await.renewal, None);
    assert!(scene.tokens().await.is_empty());
}

pub(crate) async fn no_version_is_used_twice(scene: Scene) {
    let store = &scene.store;
    let mut last = scene.put(account(1)).await;
    let rotated = RenewalOutcome {
        rotated: Some(refresh_token(1, "next")),
        ..renewed(token(1, "a", 0))
    };
    let grown = store.finish_renewal(&id(1), last, rotated).await.unwrap();
    assert!(grown > last);
    last = grown;
    for _ in 0..2 {
        assert!(store.delete_integration(&id(1), Vec::new()).await.unwrap());
        let again = scene.put(account(1)).await;
        assert!(again > last, "{again} after {last}");
        last = again;
    }
}

pub(crate) async fn what_was_declined_is_kept_beside_the_grant(scene: Scene) {
    let version = scene.put(account(1)).await;
    let declined: Arc<[_]> = ["google.drive".parse().unwrap()].into();
    assert!(scene.store.set_declined(&id(1), declined.clone()).await.unwrap());
    let now = scene.account(1).await;
    assert_eq!((now.version, now.declined), (version, declined.clone()));
    assert!(!scene.store.set_declined(&id(2), declined).await.unwrap());
    let scene = scene.restart().await;
    assert_eq!(scene.account(1).await.declined.len(), 1);
}

pub(crate) async fn each_kind_of_health_survives(scene: Scene) {
    let cause = || Box::new(GrantCause::Written("it \"was\" taken away".to_owned()));
    let altered = Box::new(GrantCause::Altered {
        account: "alice@example.com".to_owned(),
    });
    let kinds = [
        Health::Active,
        Health::ReconnectRequired(cause()),
        Health::Revoked(cause()),
        Health::Disabled(cause()),
        Health::Misconfigured(altered),
    ];
    for (number, health) in (1..).zip(&kinds) {
        let record = IntegrationRecord {
            health: health.clone(),
            ..account(number)
        };
        scene.put(record).await;
    }
    let scene = scene.restart().await;
    for (number, health) in (1..).zip(&kinds) {
        assert_eq!(scene.account(number).await.health, *health);
    }
}

pub(crate) async fn a_deleted_account_is_not_resurrected(scene: Scene) {
    let store = &scene.store;
    let version = scene.put(account(1)).await;
    store.begin_renewal(&id(1), at(1)).await.unwrap();
    assert!(store.delete_integration(&id(1), Vec::new()).await.unwrap());
    assert!(!store.delete_integration(&id(1), Vec::new()).await.unwrap());
    let outcome = renewed(token(1, "a", 0));
    let finished = store.finish_renewal(&id(1), version, outcome).await;
    assert_eq!(finished, Err(StoreError::Conflict));
    assert!(store.begin_renewal(&id(1), at(2)).await.unwrap().is_none());
    let contents = store.load().await.unwrap();
    assert!(contents.integrations.is_empty() && contents.tokens.is_empty());
}

pub(crate) async fn a_grant_that_is_given_up_is_still_to_be_revoked(scene: Scene) {
    let store = &scene.store;
    scene.put(account(1)).await;
    scene.put(account(2)).await;
    assert!(store.enqueue_revocation(&id(1), at(7), Vec::new()).await.unwrap());
    assert!(!store.enqueue_revocation(&id(1), at(8), Vec::new()).await.unwrap());
    let mut contents = store.load().await.unwrap();
    assert_eq!(contents.integrations.len(), 1);
    let mut owed = contents.revocations.remove(0);
    assert!(contents.revocations.is_empty());
    assert_eq!(
        (&owed.id, owed.owner.as_str(), owed.since),
        (&id(1), "alice", at(7))
    );
    assert_eq!(
        (owed.subject.as_str(), owed.account.as_str()),
        ("101", "alice@example.com")
    );
    assert_eq!(&*owed.issuer_binding, "https://oauth2.example.com/token#client");
    owed.secret = refresh_token(1, "its successor");
    store.put_revocation(owed.clone()).await.unwrap();
    let scene = scene.restart().await;
    let found = scene.store.load().await.unwrap().revocations.remove(0);
    let opened = scene
        .vault
        .open(&Binding::RefreshToken(&id(1)), &found.secret)
        .unwrap();
    assert_eq!(opened.as_slice(), b"its successor");
    scene.store.complete_revocation(&id(1), Vec::new()).await.unwrap();
    // What is done is not owed again by who comes late.
    scene.store.put_revocation(owed).await.unwrap();
    assert!(scene.store.load().await.unwrap().revocations.is_empty());
}
