//! A platform hands over grants that it holds already.

use token_broker::{
    broker::{AgentState, ConnectTarget, ImportError, Imported},
    provider::Remedy,
    store::Store,
};

use crate::support::*;

const WORK: &str = "alice@work.example";

impl Scene {
    async fn import(&self, target: &ConnectTarget, grant: &str) -> Result<Imported, ImportError> {
        self.broker.import.import(target, "", grant.into(), admin()).await
    }

    async fn import_for(&self, of: &str, grant: &str) -> Result<Imported, ImportError> {
        self.import(&ConnectTarget::Owner(owner(of)), grant).await
    }
}

#[tokio::test]
async fn a_grant_that_works_is_taken_over_with_what_it_really_holds() {
    let scene = Scene::new().await;
    let bot = scene.put("bot", "alice", &[SEND, "google.calendar?"]).await;
    let grant = scene.google.held_elsewhere(ALICE, with_openid(&[SEND]));
    let imported = scene
        .import_for("alice", &format!("{grant}\n"))
        .await
        .ok()
        .unwrap();
    assert!(!imported.replaced);
    let record = &imported.account.record;
    assert_eq!(
        (&*record.account, &*record.subject),
        (ALICE, "sub-of-alice@example.com")
    );
    assert_eq!(imported.account.capabilities, [SEND.parse().unwrap()]);
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
    assert_eq!(
        scene.audited("integration.connected").await,
        ["admin:uid=0 allowed: imported the grant of alice@example.com for alice: a new account"]
    );
    scene.broker.flush_audit().await;
    assert!(!scene.files_contain(&grant));
    let scene = scene.restart().await;
    scene.next_renewal().await;
    assert_eq!(state(&scene.handle("bot")), AgentState::Active);
}

#[tokio::test]
async fn a_rotated_grant_is_what_is_kept() {
    let scene = Scene::new().await;
    scene.google.habits().rotates = true;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    let grant = scene.google.held_elsewhere(ALICE, with_openid(&[SEND]));
    scene.import_for("alice", &grant).await.ok().unwrap();
    scene.idle().await;
    scene.next_renewal().await;
    assert_eq!(state(&bot), AgentState::Active);
    assert_eq!(scene.google.spent_presented(), 0);
}

#[tokio::test]
async fn what_does_not_work_here_is_refused_and_nothing_is_stored() {
    let scene = Scene::new().await;
    let google = &scene.google;
    let dead = google.held_elsewhere("dead@example.com", with_openid(&[SEND]));
    google.forget("dead@example.com");
    let anonymous = google.held_elsewhere(ALICE, scopes(&[SEND]));
    let useless = google.held_elsewhere(ALICE, with_openid(&[]));
    let others = google.held_elsewhere("other@example.com", with_openid(&[SEND]));
    google.fail(
        "other@example.com",
        Fault::new(Remedy::Operator, "unauthorized_client"),
    );
    let before = google.requests();
    let file = |client: &str| {
        format!(r#"{{"type":"authorized_user","client_id":"{client}","refresh_token":"{others}"}}"#)
    };
    for (grant, words) in [
        (
            file("another"),
            "the OAuth client another, and this daemon is configured for client",
        ),
        ("two words".to_owned(), "white space"),
    ] {
        let error = scene.import_for("alice", &grant).await.err().unwrap().to_string();
        assert!(
            error.contains(words) && error.ends_with("Nothing was stored"),
            "{error}"
        );
    }
    assert_eq!(
        google.requests(),
        before,
        "what belongs elsewhere is not sent to Google"
    );
    for (grant, words) in [
        (dead, "invalid_grant"),
        (anonymous, "no_openid"),
        (useless, "covers no capability"),
        (file("client"), "unauthorized_client"),
        ("1//nobody-knows-this".to_owned(), "invalid_grant"),
    ] {
        let error = scene.import_for("alice", &grant).await.err().unwrap().to_string();
        assert!(
            error.contains(words) && error.ends_with("Nothing was stored"),
            "{error}"
        );
        assert!(!error.contains(CANARY), "{error}");
    }
    assert!(scene.store.load().await.unwrap().integrations.is_empty());
    assert_eq!(scene.audited("integration.connected").await.len(), 7);
}

#[tokio::test]
async fn on_a_connected_account_it_follows_the_rules_of_a_reconnect() {
    let scene = Scene::new().await;
    let id = scene.connect("alice", &[SEND, CALENDAR]).await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    let first = token(&bot);
    let google = &scene.google;

    let other = google.held_elsewhere(WORK, with_openid(&[SEND]));
    let error = scene.import_for("alice", &other).await.err().unwrap().to_string();
    assert!(
        error.contains("alice@example.com, but alice@work.example was chosen"),
        "{error}"
    );
    let narrower = google.held_elsewhere(ALICE, with_openid(&[SEND]));
    let error = scene
        .import_for("alice", &narrower)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("this one lacks google.calendar"), "{error}");
    assert_eq!(token(&bot), first);

    let as_much = google.held_elsewhere(ALICE, with_openid(&[SEND, CALENDAR]));
    let imported = scene.import_for("alice", &as_much).await.ok().unwrap();
    assert!(imported.replaced);
    assert_eq!(imported.account.record.id, id);
    assert!(token(&bot).is_some(), "no moment without a token");
    scene.idle().await;
    assert_eq!(google.asked_for(ALICE).last().unwrap().refresh_token, as_much);

    let another = ConnectTarget::Another(owner("alice"));
    let same = scene.import(&another, &as_much).await.err().unwrap().to_string();
    assert!(
        same.contains("is connected already") || same.contains("connected already"),
        "{same}"
    );
    let second = scene.import(&another, &other).await.ok().unwrap();
    assert_eq!(second.account.record.account, WORK);
    // A dead grant is replaced even by one with less.
    google.forget(ALICE);
    let which = token_broker::broker::AccountRef::Id(id.clone());
    scene
        .broker
        .account_checks
        .check_account(&which)
        .await
        .ok()
        .unwrap();
    let narrower = google.held_elsewhere(ALICE, with_openid(&[SEND]));
    let address = ConnectTarget::Address(owner("alice"), ALICE.to_owned());
    assert_eq!(
        scene
            .import(&address, &narrower)
            .await
            .ok()
            .unwrap()
            .account
            .record
            .id,
        id
    );
}
