//! The keyring, and rows that come to lie under another key of it.

use token_broker::{
    store::{AgentRecord, IntegrationRecord, KeyState, KeyUse, RowPlace, RowsSeen, StoreError},
    telemetry::audit::Actor,
    vault::Binding,
};

use crate::support::{
    DAY, Scene, account, activate, agent, at, holder, id, key_id, keyring, line, renewed, token, up, vault_of,
};

async fn walk(scene: &Scene, moves: bool) -> RowsSeen {
    let (mut seen, mut next) = (RowsSeen::default(), Some(RowPlace::default()));
    while let Some(place) = next {
        let step = if moves {
            scene.store.move_rows(place).await
        } else {
            scene.store.check_rows(place).await
        };
        let step = step.unwrap();
        seen.add(step.seen);
        next = step.next;
    }
    seen
}

/// One row of each kind at least, and more accounts than a step takes.
async fn fill(scene: &Scene) {
    let store = &scene.store;
    for number in 0..60 {
        scene.put(account(number)).await;
    }
    let robot = IntegrationRecord {
        provider: "google-sa".parse().unwrap(),
        secret: scene
            .vault
            .seal(&Binding::ServiceAccountKey(&id(100)), b"a key file"),
        proof_key: None,
        ..account(100)
    };
    scene.put(robot).await;
    let version = scene.account(3).await.version;
    store
        .finish_renewal(&id(3), version, renewed(token(3, "a", 1)))
        .await
        .unwrap();
    store.enqueue_revocation(&id(4), at(1), Vec::new()).await.unwrap();
    let record = AgentRecord {
        name: agent("bot"),
        manifest: "{}".to_owned(),
    };
    store.put_agent(record, Vec::new()).await.unwrap();
    store
        .change_holders(vec![holder("bot", "alice")], Vec::new())
        .await
        .unwrap();
    // Three weeks, of which one is counted, with lines that stay and lines that do not.
    for day in 0..21 {
        store.tick_trail(at(day * DAY), Some(up(day))).await.unwrap();
        let lines = ["token.used", "token.used", "agent.put"];
        let lines = lines.map(|action| line(day * DAY, Actor::Daemon, action));
        store.append_audit(lines.into()).await.unwrap();
    }
    assert!(store.count_audit(at(13 * DAY)).await.unwrap() > 0);
}

pub(crate) async fn every_kind_of_row_comes_to_lie_under_the_active_key(scene: Scene) {
    fill(&scene).await;
    let before = walk(&scene, false).await;
    assert_eq!((before.unusable, before.moved), (Vec::new(), 0));
    let rows = scene.store.keyed_rows().await.unwrap();
    assert_eq!(before.rows, rows, "each row is looked at once");
    // 60 accounts of two rows each, a token, a revocation, an agent, its holder, and the trail's.
    assert!(rows > 124, "{rows}");
    activate(&scene.vault, 2);
    assert_eq!(walk(&scene, true).await.moved, rows);
    assert_eq!(walk(&scene, true).await.moved, 0, "once is enough");
    let uses = scene.store.key_uses().await.unwrap();
    assert_eq!(uses, [KeyUse { id: key_id(2), rows }]);
    scene.vault.retire(key_id(1));
    assert_eq!(walk(&scene, false).await.unusable, Vec::<String>::new());
    let before = scene.store.keyring().await.unwrap();
    let after = keyring(&[(2, KeyState::Active)]);
    scene.store.put_keyring(before, after, Vec::new()).await.unwrap();

    // All that there is opens with the new key alone.
    let scene = scene
        .restart_with(vault_of(2, &[]))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let contents = scene.store.load().await.unwrap();
    assert_eq!(contents.unusable, []);
    assert_eq!((contents.integrations.len(), contents.tokens.len()), (60, 1));
    assert_eq!((contents.revocations.len(), contents.agents.len()), (1, 1));
    scene.whole().await;
    assert_eq!(scene.grant(0).await, "grant");
    let robot = scene.account(100).await;
    let opened = scene
        .vault
        .open(&Binding::ServiceAccountKey(&robot.id), &robot.secret);
    assert_eq!(opened.unwrap().as_slice(), b"a key file");
    let proof_key = scene.account(0).await.proof_key.unwrap();
    assert!(scene.vault.open(&Binding::ProofKey(&id(0)), &proof_key).is_ok());
}

pub(crate) async fn a_keyring_is_changed_as_it_was_read_or_not_at_all(scene: Scene) {
    let first = scene.store.keyring().await.unwrap();
    assert!(first == keyring(&[(1, KeyState::Active)]));
    let second = keyring(&[
        (2, KeyState::Active),
        (1, KeyState::Retiring),
        (3, KeyState::Pending),
    ]);
    let lines = || vec![line(1, Actor::Daemon, "key.rotated")];
    scene
        .store
        .put_keyring(first.clone(), second.clone(), lines())
        .await
        .unwrap();
    let again = scene.store.put_keyring(first, second.clone(), lines()).await;
    assert_eq!(again, Err(StoreError::Conflict));
    assert_eq!(scene.whole().await, 1);
    let scene = scene
        .restart_with(vault_of(2, &[1]))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(scene.store.keyring().await.unwrap() == second);
}

pub(crate) async fn a_store_whose_keys_are_not_had_is_not_opened(scene: Scene) {
    scene.put(account(1)).await;
    let home = {
        let Scene { store, home, .. } = scene;
        drop(store);
        home
    };
    let refused = home
        .open(&vault_of(2, &[]), &keyring(&[(2, KeyState::Active)]))
        .await
        .err();
    assert!(
        matches!(refused, Some(StoreError::WrongKey { needed, .. }) if needed == key_id(1)),
        "{refused:?}"
    );
}

pub(crate) async fn an_altered_row_is_named_and_not_moved(scene: Scene) {
    scene.put(account(1)).await;
    scene.put(account(2)).await;
    let sql = format!("UPDATE integrations SET owner = 'mallory' WHERE id = '{}'", id(1));
    scene.home.meddle(&sql).await;
    activate(&scene.vault, 2);
    let seen = walk(&scene, true).await;
    assert_eq!(seen.unusable_count, 1);
    let named = format!("account {}: it was altered", id(1));
    assert!(seen.unusable[0].starts_with(&named), "{:?}", seen.unusable);
    let under = scene.store.key_uses().await.unwrap();
    let left = KeyUse {
        id: key_id(1),
        rows: 1,
    };
    assert!(under.contains(&left), "{under:?}");
    assert_eq!(walk(&scene, false).await.unusable_count, 1);
}
