//! A provider that is busy for a moment, or a connection that broke: neither loses a consent or an asking agent.

use token_broker::{
    broker::{AgentState, ConnectError, ConnectTarget, NewServiceAccount},
    provider::Remedy,
};

use crate::support::*;

fn reset() -> Fault {
    Fault::new(Remedy::Retry, "network")
}

#[tokio::test]
async fn one_answer_that_it_is_busy_ends_no_consent() {
    for fault in [
        Fault::unavailable(),
        Fault::unavailable().retry_after(1),
        Fault::new(Remedy::Retry, "http_429"),
    ] {
        let scene = Scene::new().await;
        scene.google.fail_exchange_once(fault.clone());
        scene.google.fail_identity_once(fault);
        scene.connect("alice", &[SEND]).await;
        assert_eq!(scene.google.exchanged(), 2);
    }
    // Also where the access token says whose it is.
    let scene = Scene::new().await;
    scene.google.fail_identity_once(Fault::unavailable());
    let mut unnamed = Person::named(ALICE).ticking(with_openid(&[SEND]));
    unnamed.named = false;
    scene.consent("alice", &[SEND], unnamed).await.ok().unwrap();
}

#[tokio::test]
async fn a_code_is_not_sent_again_where_the_first_may_have_spent_it_or_the_pause_is_long() {
    for fault in [
        reset(),
        Fault::new(Remedy::Retry, "http_502"),
        Fault::unavailable().retry_after(30),
    ] {
        let scene = Scene::new().await;
        scene.google.fail_exchange_once(fault.clone());
        let ending = scene.consent("alice", &[SEND], Person::named(ALICE)).await;
        let Err(ConnectError::Provider(error, _)) = ending else {
            panic!("{} went well", fault.code);
        };
        let happened = happened(fault.code);
        assert_eq!((error.cause, scene.google.exchanged()), (happened.cause, 1));
    }
}

#[tokio::test]
async fn a_code_that_was_spent_all_the_same_ends_with_the_usual_sentence() {
    let scene = Scene::new().await;
    let started = scene.begin("alice", &[SEND]);
    let redirect = scene.decided(&started, &[SEND], Person::named(ALICE));
    scene.google.fail_exchange_once(Fault::unavailable());
    scene.google.forget_codes();
    let Err(ConnectError::Provider(error, _)) = scene.complete(&redirect).await else {
        panic!("it went well");
    };
    assert_eq!(
        (error.oauth_error(), scene.google.exchanged()),
        (Some("invalid_grant"), 2)
    );
}

#[tokio::test]
async fn an_agent_that_asks_gets_the_token_of_the_second_try() {
    for fault in [Fault::unavailable(), Fault::unavailable().retry_after(2), reset()] {
        let scene = Scene::new().await;
        scene.connect("alice", &[SEND, CALENDAR]).await;
        let bot = scene.put("bot", "alice", &[SEND, CALENDAR]).await;
        scene.idle().await;
        // A token that it has not had yet, then one in place of a refused one.
        scene.google.fail_once(ALICE, fault.clone());
        scene.ask_for(&bot, &query(&[SEND], 0)).await.unwrap();
        assert_eq!(scene.google.requests(), 3);
        let before = token(&bot);
        scene.google.fail_once(ALICE, fault);
        let after = scene.ask_for(&bot, &refused()).await.unwrap();
        assert_ne!(Some(after), before);
        assert_eq!(scene.google.requests(), 5);
    }
}

#[tokio::test]
async fn who_is_refused_twice_or_for_long_hears_so() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND, CALENDAR]).await;
    let bot = scene.put("bot", "alice", &[SEND, CALENDAR]).await;
    scene.idle().await;
    scene
        .google
        .fail_once(ALICE, Fault::unavailable().retry_after(30));
    let problem = scene.ask_for(&bot, &query(&[SEND], 0)).await.unwrap_err();
    assert!(problem.retry_after.is_some_and(|wait| wait >= secs(30)));
    assert_eq!(scene.google.requests(), 2);
    scene.google.fail(ALICE, Fault::unavailable());
    let problem = scene.ask_for(&bot, &query(&[CALENDAR], 0)).await.unwrap_err();
    assert_eq!(problem.code.as_str(), "provider_unavailable");
    assert_eq!(scene.google.requests(), 4, "twice and no more");
    assert_eq!(state(&bot), AgentState::Active);
}

#[tokio::test]
async fn who_has_a_token_that_will_do_waits_for_nothing() {
    let (scene, bot) = Scene::of_alice().await;
    let old = token(&bot).unwrap();
    scene.google.fail(ALICE, Fault::unavailable().retry_after(50));
    scene.pass(56 * MINUTE).await;
    scene.google.fail(ALICE, Fault::unavailable());
    let (now, asked) = (scene.uptime(), scene.ask(&bot).await.unwrap());
    assert_eq!((asked, scene.uptime()), (old, now));
}

#[tokio::test]
async fn a_key_and_a_grant_that_were_given_are_tried_once_more() {
    let scene = Scene::new().await;
    let file = scene.google.new_key(ROBOT, "key-1");
    scene.google.fail_once(ROBOT, Fault::unavailable());
    let new = NewServiceAccount {
        owner: owner("alice"),
        file: file.as_str().into(),
        subject: None,
    };
    let adding = scene.broker.service_accounts.add_service_account(new, admin());
    scene.while_waiting(adding).await.ok().unwrap();

    let grant = scene.google.held_elsewhere(ALICE, with_openid(&[SEND]));
    scene.google.fail_once(ALICE, Fault::unavailable());
    let target = ConnectTarget::Owner(owner("alice"));
    let import = scene
        .broker
        .import
        .import(&target, "", grant.as_str().into(), admin());
    scene.while_waiting(import).await.ok().unwrap();
    assert_eq!(scene.google.requests(), 2);
}
