//! Grants that are bound to a key: worth nothing to who has the refresh token alone, and no different for everybody else.

use jiff::SignedDuration;
use token_broker::{
    broker::{AccountRef, AgentState, ConnectTarget, GrantBinding, Revocation},
    provider::{NoToken, Remedy},
    store::Store,
    vault::Binding,
};

use crate::support::*;

const UNBOUND: Option<GrantBinding> = Some(GrantBinding::Unbound { would_bind: true });
const BOUND: Option<GrantBinding> = Some(GrantBinding::Bound);

/// Alice has connected to a provider that binds grants.
async fn bound() -> Scene {
    let scene = Scene::new().await;
    scene.google.habits().binds = true;
    scene.connect("alice", &[SEND]).await;
    scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    scene
}

/// What somebody gets who stole Alice's refresh token, and has the client's secret.
async fn stolen(scene: &Scene) -> Result<(), String> {
    let living = scene.google.living(ALICE);
    let [token] = living.as_slice() else {
        panic!("{living:?}")
    };
    let answer = scene.google.refresh_without_proof(token).await;
    let code = |failure: NoToken| failure.error.oauth_error().unwrap_or_default().to_owned();
    answer.map(|_| ()).map_err(code)
}

#[tokio::test]
async fn a_bound_grant_goes_on_over_rotations_and_restarts_and_is_worth_nothing_by_itself() {
    let mut scene = bound().await;
    assert_eq!(scene.account("alice").binding, BOUND);
    scene.google.habits().rotates = true;
    for _ in 0..3 {
        scene.next_renewal().await;
    }
    assert_eq!(scene.google.proofs(), 5, "the exchange, and each renewal");
    assert_eq!(stolen(&scene).await, Err("invalid_grant".to_owned()));
    for _ in 0..2 {
        scene.next_renewal().await;
        scene = scene.restart().await;
    }
    scene.next_renewal().await;
    assert_eq!(state(&scene.handle("bot")), AgentState::Active);
    assert_eq!(scene.google.spent_presented(), 0);
    assert_eq!(stolen(&scene).await, Err("invalid_grant".to_owned()));
    let disconnected = scene.account("alice").record.id;
    scene
        .broker
        .disconnect
        .disconnect(
            &AccountRef::Id(disconnected.clone()),
            Revocation::WhenLast,
            admin(),
        )
        .await
        .unwrap();
    assert_eq!(scene.google.revoked(), [ALICE]);
    assert!(scene.store_has_nothing_of(&disconnected).await);
}

#[tokio::test]
async fn each_connection_makes_a_key_of_its_own_and_an_old_grant_is_bound_by_the_next_one() {
    let scene = Scene::new().await;
    let id = scene.connect("alice", &[SEND]).await;
    assert_eq!(
        scene.account("alice").binding,
        Some(GrantBinding::Unbound { would_bind: false })
    );
    assert_eq!(stolen(&scene).await, Ok(()));
    // It is turned on: what is there stays as it is.
    scene.google.habits().binds = true;
    scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(
        (scene.account("alice").binding, scene.google.proofs()),
        (UNBOUND, 0)
    );
    assert_eq!(scene.broker.accounts.bindable_count(), 1);
    scene.connect("alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(scene.account("alice").binding, BOUND);
    assert_eq!(scene.broker.accounts.bindable_count(), 0);
    let first = scene.store.integration(&id).await.unwrap().unwrap().proof_key;
    // And off again.
    scene.google.habits().binds = false;
    let scene = scene.restart().await;
    scene.next_renewal().await;
    assert_eq!(scene.account("alice").binding, BOUND);
    scene.google.habits().binds = true;
    scene.connect("alice", &[SEND]).await;
    let second = scene.store.integration(&id).await.unwrap().unwrap().proof_key;
    let open = |sealed| vault().open(&Binding::ProofKey(&id), &sealed).unwrap();
    assert_ne!(open(first.unwrap()), open(second.unwrap()));
}

#[tokio::test]
async fn an_imported_grant_stays_unbound() {
    let scene = Scene::new().await;
    scene.google.habits().binds = true;
    let grant = scene.google.held_elsewhere(ALICE, with_openid(&[SEND]));
    let target = ConnectTarget::Owner(owner("alice"));
    let imported = scene
        .broker
        .import
        .import(&target, "", grant.as_str().into(), admin())
        .await;
    assert_eq!(imported.ok().unwrap().account.binding, UNBOUND);
    scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(state(&scene.handle("bot")), AgentState::Active);
    assert_eq!(scene.google.proofs(), 0);
}

#[tokio::test]
async fn the_provider_is_believed_about_the_time_of_a_proof() {
    for ahead in [SignedDuration::from_hours(3), SignedDuration::from_hours(-3)] {
        let scene = Scene::new().await;
        scene.google.habits().binds = true;
        scene.google.habits().date = Some(ahead);
        // Nothing was heard of it yet: the first proof is refused, and the second one has its time.
        scene.connect("alice", &[SEND]).await;
        assert_eq!((scene.google.proofs(), scene.google.exchanged()), (1, 1));
        let bot = scene.put("bot", "alice", &[SEND]).await;
        scene.idle().await;
        assert_eq!(state(&bot), AgentState::Active);
        // The daemon starts anew, and knows nothing of it again.
        let scene = scene.restart().await;
        scene.next_renewal().await;
        assert_eq!(state(&scene.handle("bot")), AgentState::Active);
        assert_eq!(scene.account("alice").state(), AgentState::Active);
        // That provider's clock is put right.
        scene.google.habits().date = Some(SignedDuration::ZERO);
        scene.next_renewal().await;
        assert_eq!(scene.account("alice").state(), AgentState::Active);
    }
}

#[tokio::test]
async fn the_nodes_time_is_tried_where_what_is_said_of_the_providers_is_wrong_twice() {
    let scene = bound().await;
    scene.google.habits().judges_by = Some(SignedDuration::ZERO);
    // What a proxy says is believed, and the next one says something else.
    for hours in [3, 6] {
        scene.google.habits().date = Some(SignedDuration::from_hours(hours));
        scene.next_renewal().await;
        assert_eq!(scene.account("alice").state(), AgentState::Active, "{hours}");
    }
}

#[tokio::test]
async fn a_proof_that_was_used_up_on_the_way_is_made_once_more() {
    let scene = bound().await;
    let before = scene.google.requests();
    scene
        .google
        .fail_once(ALICE, Fault::new(Remedy::Operator, "invalid_dpop_proof"));
    scene.next_renewal().await;
    assert_eq!(scene.google.requests(), before + 2);
    assert_eq!(scene.account("alice").state(), AgentState::Active);
}

#[tokio::test]
async fn a_proof_that_is_not_accepted_costs_no_grant() {
    for (kind, code, seen) in [
        (Remedy::Operator, "invalid_dpop_proof", AgentState::Misconfigured),
        (Remedy::Retry, "use_dpop_nonce", AgentState::ProviderUnavailable),
    ] {
        let scene = bound().await;
        scene.google.fail(ALICE, Fault::new(kind, code));
        scene.next_renewal().await;
        assert_eq!(scene.account("alice").state(), seen, "{code}");
        assert!(scene.account("alice").message().contains("DPoP"), "{code}");
        scene.pass_in_steps(2 * HOUR, MINUTE).await;
        assert_ne!(state(&scene.handle("bot")), AgentState::ReconnectRequired);
        scene.google.heal_all();
        scene.pass_in_steps(HOUR, MINUTE).await;
        assert_eq!(state(&scene.handle("bot")), AgentState::Active, "{code}");
    }
}

#[tokio::test]
async fn a_grant_whose_key_cannot_be_opened_is_not_used_and_says_so() {
    let scene = bound().await;
    let id = scene.account("alice").record.id;
    let stored = scene.store.integration(&id).await.unwrap().unwrap();
    let version = stored.version;
    let setting = scene.stop().await;
    // Sealed by who has the master key, so the row is this broker's own; and no key.
    for (secret, words) in [
        (
            vault().seal(&Binding::ProofKey(&id), b"no key"),
            "it is not a P-256 key",
        ),
        (
            vault().seal(&Binding::RefreshToken(&id), b"no key"),
            "does not open",
        ),
    ] {
        let mut broken = stored.clone();
        broken.proof_key = Some(secret);
        let scene = Scene::with(token_setting(&setting)).await;
        let present = scene.store.integration(&id).await.unwrap().unwrap().version;
        scene
            .store
            .put_integration(broken, Some(present), Vec::new())
            .await
            .unwrap();
        assert!(present >= version);
        let scene = scene.restart().await;
        let asked = scene.google.requests();
        scene.pass_in_steps(2 * HOUR, MINUTE).await;
        let account = scene.account("alice");
        assert_eq!(account.state(), AgentState::Misconfigured, "{words}");
        assert!(
            account.message().contains("bound to a key") && account.message().contains(words),
            "{}",
            account.message()
        );
        assert_eq!(scene.google.requests(), asked, "nothing was sent without a proof");
        scene.connect("alice", &[SEND]).await;
        scene.idle().await;
        assert_eq!(state(&scene.handle("bot")), AgentState::Active);
        scene.stop().await;
    }
}

/// The same disk and the same provider, for one more daemon.
fn token_setting(setting: &Setting) -> Setting {
    Setting {
        clock: setting.clock.clone(),
        google: setting.google.clone(),
        dir: setting.dir.clone(),
        ..Setting::default()
    }
}
