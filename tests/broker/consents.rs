//! A consent under way: its state is good once, whoever waits hears its end, and two do not cross.

use futures_util::FutureExt;
use token_broker::{
    broker::{AgentState, ConnectError, ConnectTarget},
    budget::table::{CONSENTS, OWNER_REQUESTS},
    secret::BrowserToken,
    session::{BrowserId, Visit},
    store::Store,
};

use crate::{connect::refusal, support::*};

#[tokio::test]
async fn a_state_is_good_once() {
    let scene = Scene::new().await;
    let started = scene.begin("alice", &[SEND]);
    let redirect = scene.decided(&started, &[SEND], Person::named(ALICE));
    scene.complete(&redirect).await.unwrap();
    let again = scene.decided(&started, &[SEND], Person::named(ALICE));
    for redirect in [redirect, again] {
        assert!(matches!(
            refusal(scene.complete(&redirect).await),
            ConnectError::OtherBrowser
        ));
    }
    assert_eq!(
        scene.google.exchanged(),
        1,
        "a code was sent to Google for a spent state"
    );
}

fn browser(token: &str) -> Visit<'static> {
    Visit {
        session: None,
        browser: BrowserId::of(&BrowserToken::from(token)),
    }
}

#[tokio::test]
async fn the_browser_that_ended_it_hears_the_end_again_for_a_while() {
    let scene = Scene::new().await;
    let started = scene.begin("alice", &[SEND]);
    let redirect = scene.decided(&started, &[SEND], Person::named(ALICE));
    let come_back = async |token: &str| {
        let visit = browser(token);
        let ended = scene.broker.connect.complete_connect_in(&visit, &redirect).await;
        ended.map(|connected| connected.account)
    };
    let ended = come_back("hers").await.unwrap();
    for _ in 0..2 {
        assert_eq!(come_back("hers").await.unwrap(), ended);
        assert!(matches!(
            come_back("another").await.unwrap_err(),
            ConnectError::OtherBrowser
        ));
    }
    // The consent would have lasted ten minutes; its end is kept for ten more.
    scene.clock.advance(secs(20 * MINUTE));
    for token in ["hers", "another"] {
        assert!(matches!(
            come_back(token).await.unwrap_err(),
            ConnectError::UnknownState
        ));
    }
    assert_eq!(scene.google.exchanged(), 1);
}

#[tokio::test]
async fn who_loads_the_page_again_while_it_ends_waits_for_the_end() {
    let scene = Scene::new().await;
    let started = scene.begin("alice", &[SEND]);
    let redirect = scene.decided(&started, &[SEND], Person::named(ALICE));
    scene.store.hold_put(true);
    let come_back = |token: &'static str| {
        let (broker, redirect) = (scene.broker.clone(), redirect.clone());
        tokio::spawn(async move {
            let visit = browser(token);
            let ended = broker.connect.complete_connect_in(&visit, &redirect).await;
            ended.map(|connected| connected.owner)
        })
    };
    let first = come_back("hers");
    scene.idle().await;
    let again = come_back("hers");
    let other = come_back("another");
    scene.idle().await;
    assert!(!first.is_finished() && !again.is_finished());
    assert!(matches!(
        other.await.unwrap().unwrap_err(),
        ConnectError::OtherBrowser
    ));
    scene.store.hold_put(false);
    for ended in [first, again] {
        assert_eq!(ended.await.unwrap().unwrap(), owner("alice"));
    }
    assert_eq!(scene.google.exchanged(), 1);
}

#[tokio::test]
async fn of_two_redirects_with_one_state_one_counts() {
    let scene = Scene::new().await;
    let started = scene.begin("alice", &[SEND]);
    let redirect = scene.decided(&started, &[SEND], Person::named(ALICE));
    let (first, second) = tokio::join!(scene.complete(&redirect), scene.complete(&redirect));
    assert_eq!(usize::from(first.is_ok()) + usize::from(second.is_ok()), 1);
    assert_eq!(scene.google.exchanged(), 1);
}

#[tokio::test]
async fn a_state_that_expired_or_was_made_up_is_refused_before_google_is_asked() {
    let scene = Scene::new().await;
    let started = scene.begin("alice", &[SEND]);
    let redirect = scene.decided(&started, &[SEND], Person::named(ALICE));
    scene.clock.advance(secs(10 * MINUTE));
    assert!(matches!(
        refusal(scene.complete(&redirect).await),
        ConnectError::UnknownState
    ));
    let made_up = refusal(scene.complete("state=made-up&code=4/x").await);
    assert!(matches!(made_up, ConnectError::UnknownState));
    let neither = refusal(scene.complete("code=4/x").await);
    assert!(matches!(neither, ConnectError::BadRedirect(_)), "{neither}");
    assert_eq!(scene.google.exchanged(), 0);
}

#[tokio::test]
async fn who_waits_for_a_consent_hears_its_end() {
    let scene = Scene::new().await;
    let started = scene.begin("alice", &[SEND]);
    let wait = || {
        let (broker, id) = (scene.broker.clone(), started.connect_id.clone());
        tokio::spawn(async move {
            broker
                .connect
                .wait_connect(&id)
                .await
                .map(|connected| connected.owner)
        })
    };
    let waiting = wait();
    scene.idle().await;
    scene
        .complete(&scene.decided(&started, &[SEND], Person::named(ALICE)))
        .await
        .unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), owner("alice"));
    // Also who comes late.
    assert_eq!(wait().await.unwrap().unwrap(), owner("alice"));
    let unknown = refusal(scene.broker.connect.wait_connect("con_made_up").await).to_string();
    assert!(unknown.contains("con_made_up"), "{unknown}");
}

#[tokio::test]
async fn who_waits_in_vain_is_told_what_google_may_have_shown() {
    let scene = Scene::new().await;
    let started = scene.begin("alice", &[SEND]);
    let (broker, id) = (scene.broker.clone(), started.connect_id.clone());
    let waiting = tokio::spawn(async move { broker.connect.wait_connect(&id).await.map(|_| ()) });
    scene.pass(9 * MINUTE).await;
    assert!(!waiting.is_finished());
    scene.clock.advance(secs(MINUTE));
    // Others begin at that very moment, which clears away what has expired.
    scene.begin("carol", &[SEND]);
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut(_)));
    let error = error.to_string();
    for shown in [
        "admin_policy_enforced",
        "org_internal",
        "deleted_client",
        "disallowed_useragent",
        "redirect_uri_mismatch",
    ] {
        assert!(error.contains(shown), "{error}");
    }
}

#[tokio::test]
async fn who_waits_hears_a_late_redirects_end_not_a_timeout() {
    let scene = Scene::new().await;
    let started = scene.begin("alice", &[SEND]);
    let redirect = scene.decided(&started, &[SEND], Person::named(ALICE));
    let (broker, id) = (scene.broker.clone(), started.connect_id.clone());
    let waiting = tokio::spawn(async move { broker.connect.wait_connect(&id).await.map(|_| ()) });
    scene.store.hold_put(true);
    let broker = scene.broker.clone();
    let completing =
        tokio::spawn(async move { broker.connect.complete_connect(&redirect, None).await.map(|_| ()) });
    scene.idle().await;
    scene.pass(20 * MINUTE).await;
    assert!(!waiting.is_finished());
    scene.store.hold_put(false);
    completing.await.unwrap().unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_browser_that_closes_does_not_cut_the_consent_off() {
    let scene = Scene::new().await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    let started = scene.begin("alice", &[SEND]);
    let redirect = scene.decided(&started, &[SEND], Person::named(ALICE));
    scene.store.hold_put(true);
    let broker = scene.broker.clone();
    let completing =
        tokio::spawn(async move { broker.connect.complete_connect(&redirect, None).await.map(|_| ()) });
    scene.idle().await;
    completing.abort();
    scene.idle().await;
    scene.store.hold_put(false);
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
}

#[tokio::test]
async fn two_first_consents_of_one_owner_make_one_account() {
    let scene = Scene::new().await;
    let bot = scene.put("bot", "alice", &[SEND, CALENDAR]).await;
    let (a, b) = (scene.begin("alice", &[SEND]), scene.begin("alice", &[CALENDAR]));
    let a = scene.decided(&a, &[SEND], Person::named(ALICE));
    let b = scene.decided(&b, &[CALENDAR], Person::named(ALICE));
    let (a, b) = tokio::join!(scene.complete(&a), scene.complete(&b));
    assert_eq!(a.unwrap().account, b.unwrap().account);
    scene.idle().await;
    assert_eq!(scene.broker.accounts.account_count(), 1);
    assert_eq!(scene.store.load().await.unwrap().integrations.len(), 1);
    assert_eq!(state(&bot), AgentState::Active);
}

#[tokio::test]
async fn two_first_consents_with_two_google_accounts_are_settled_by_whoever_was_first() {
    let scene = Scene::new().await;
    let (a, b) = (scene.begin("alice", &[SEND]), scene.begin("alice", &[SEND]));
    let a = scene.decided(&a, &[SEND], Person::named(ALICE));
    let b = scene.decided(&b, &[SEND], Person::named("mallory@example.net"));
    let (a, b) = tokio::join!(scene.complete(&a), scene.complete(&b));
    assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1);
    assert_eq!(scene.broker.accounts.account_count(), 1);
    assert_eq!(scene.store.load().await.unwrap().integrations.len(), 1);
}

#[tokio::test]
async fn one_owners_slow_renewal_does_not_hold_anothers_consent() {
    let (scene, _bot) = Scene::of_alice().await;
    scene.google.hold(ALICE);
    scene.pass(51 * MINUTE).await;
    let started = scene.begin("alice", &[CALENDAR]);
    let redirect = scene.decided(&started, &[CALENDAR], Person::named(ALICE));
    let broker = scene.broker.clone();
    let completing =
        tokio::spawn(async move { broker.connect.complete_connect(&redirect, None).await.map(|_| ()) });
    scene.idle().await;
    assert!(!completing.is_finished(), "it waits for the renewal under way");

    scene.connect("carol", &[SEND]).await;
    scene.google.let_go(ALICE);
    completing.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_owner_who_begins_again_and_again_is_in_nobody_elses_way() {
    let scene = Scene::new().await;
    let begin = |owner: &str| {
        let target = ConnectTarget::Owner(owner.parse().unwrap());
        scene
            .broker
            .connect
            .begin_connect(&target, &[SEND.to_owned()], None)
            .now_or_never()
            .unwrap()
    };
    let begun = (0..20_000).filter(|_| begin("mallory").is_ok()).count();
    assert_eq!(begun, CONSENTS.each);
    assert!(matches!(begin("mallory"), Err(ConnectError::TooMany)));
    begin("alice").unwrap();
    // Not by finishing them, either: each asks the provider.
    scene.pass(11 * MINUTE).await;
    let mut finished = 0;
    for _ in 0..1000 {
        let Ok(started) = begin("mallory") else { continue };
        let redirect = scene.decided(&started, &[SEND], Person::named("mallory@example.com"));
        scene.complete(&redirect).await.unwrap();
        finished += 1;
    }
    assert_eq!(finished, OWNER_REQUESTS.at_once);
    begin("alice").unwrap();
    scene.pass(OWNER_REQUESTS.every.as_secs()).await;
    begin("mallory").unwrap();
}
