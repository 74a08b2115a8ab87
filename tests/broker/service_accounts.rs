//! Service accounts: keys, assertions, and agents that use one beside a person's account.

use std::sync::Arc;

use jiff::SignedDuration;
use token_broker::{
    broker::{
        AccountRef, AccountView, AgentHandle, AgentState, NewServiceAccount, ProblemCode, Revocation,
        ServiceAccountAdded, ServiceAccountError, TokenRequest,
    },
    capability::Catalog,
    provider::Remedy,
    store::Store,
};

use crate::support::*;

/// The provider of service accounts.
const KEYED: &str = "google-sa";
const OTHER: &str = "second@project.iam.gserviceaccount.com";

impl Scene {
    async fn add_key(
        &self,
        of: &str,
        file: &str,
        subject: Option<&str>,
    ) -> Result<ServiceAccountAdded, ServiceAccountError> {
        let new = NewServiceAccount {
            owner: owner(of),
            file: file.into(),
            subject: subject.map(str::to_owned),
        };
        self.broker
            .service_accounts
            .add_service_account(new, admin())
            .await
    }

    /// Alice's service account, and one agent of hers that uses it, with its token.
    async fn with_robot() -> (Self, Arc<AgentHandle>) {
        let scene = Self::new().await;
        scene.robot_of("alice").await;
        let bot = scene.put("bot", "alice", &[SA]).await;
        scene.idle().await;
        assert_eq!(state(&bot), AgentState::Active);
        (scene, bot)
    }

    pub(crate) async fn robot_of(&self, of: &str) -> AccountView {
        let file = self.google.new_key(ROBOT, "key-1");
        let added = self.add_key(of, &file, None).await;
        added.unwrap_or_else(|error| panic!("{error}")).account
    }

    fn robot(&self) -> AccountView {
        self.alices(ROBOT)
    }

    fn alices(&self, address: &str) -> AccountView {
        let which = AccountRef::Owner {
            owner: owner("alice"),
            account: Some(address.to_owned()),
        };
        self.broker.accounts.account(&which).unwrap()
    }

    /// The daemon starts again, configured for another provider.
    async fn restart_at(self, google: Google) -> Self {
        let setting = Setting {
            google: Arc::new(google),
            ..self.stop().await
        };
        Self::with(setting).await
    }
}

fn of_robot() -> TokenRequest {
    TokenRequest {
        integration: Some(KEYED.parse().unwrap()),
        ..TokenRequest::default()
    }
}

fn of_person() -> TokenRequest {
    TokenRequest {
        integration: Some("google".parse().unwrap()),
        ..TokenRequest::default()
    }
}

#[tokio::test]
async fn a_key_that_works_is_kept_sealed_and_gives_tokens() {
    let (scene, bot) = Scene::with_robot().await;
    let view = scene.robot();
    assert_eq!(
        (view.record.provider.as_str(), &*view.record.account),
        (KEYED, ROBOT)
    );
    assert_eq!(view.capabilities, ["google.sa".parse().unwrap()]);
    assert_eq!(view.agents, ["bot".parse().unwrap()]);
    assert_eq!(scene.ask(&bot).await.ok(), token(&bot));
    assert_eq!(scene.ask_for(&bot, &of_robot()).await.ok(), token(&bot));
    // Tried once when it was added, asked once for the agent.
    let asserted = scene.google.asserted();
    assert_eq!(asserted.len(), 2);
    assert!(
        asserted
            .iter()
            .all(|a| a.scopes == scopes(&[SA]) && a.subject.is_none())
    );
    assert_eq!(
        scene.audited("integration.connected").await,
        [
            "admin:uid=0 allowed: the service account robot@project.iam.gserviceaccount.com of alice was added: key-1"
        ]
    );
    scene.broker.flush_audit().await;
    let lines = PRIVATE_KEY.lines().filter(|line| !line.starts_with("-----"));
    for line in lines {
        assert!(
            !scene.files_contain(&line[100..140]),
            "the key is in the database as it is"
        );
    }
}

#[tokio::test]
async fn it_is_renewed_ahead_of_time_and_after_a_restart_without_a_request() {
    let (scene, bot) = Scene::with_robot().await;
    let first = token(&bot);
    scene.next_renewal().await;
    assert_ne!(token(&bot), first);
    assert!(life_left(&scene, &bot) > secs(50 * MINUTE));
    let (second, asked) = (token(&bot), scene.google.asserted().len());
    let scene = scene.restart().await;
    let bot = scene.handle("bot");
    assert_eq!(token(&bot), second);
    assert_eq!(scene.google.asserted().len(), asked);
    scene.next_renewal().await;
    assert_ne!(token(&bot), second);
}

#[tokio::test]
async fn sixty_four_askers_cost_one_assertion() {
    let (scene, bot) = Scene::with_robot().await;
    let before = scene.google.asserted().len();
    scene.google.hold(ROBOT);
    scene.clock.advance(secs(HOUR));
    let askers: Vec<_> = (0..64)
        .map(|_| {
            let (broker, bot) = (scene.broker.clone(), bot.clone());
            tokio::spawn(async move { broker.issuer.token(&bot, &TokenRequest::default()).await.is_ok() })
        })
        .collect();
    scene.idle().await;
    scene.google.let_go(ROBOT);
    for asker in askers {
        assert!(asker.await.unwrap());
    }
    assert_eq!(scene.google.asserted().len(), before + 1);
}

#[tokio::test]
async fn what_is_no_working_key_is_not_stored() {
    let scene = Scene::new().await;
    let unknown = {
        let file = scene.google.new_key(ROBOT, "deleted");
        scene.google.delete_key(ROBOT, "deleted");
        file
    };
    let good = scene.google.new_key(ROBOT, "key-1");
    let elsewhere = good.replace("oauth2.example", "evil.example");
    for (file, subject, words) in [
        (&*unknown, None, "(HTTP 400, invalid_grant) Nothing was stored"),
        ("{}", None, "it has no `type`"),
        (
            &*elsewhere,
            None,
            "sends assertions to https://oauth2.example/token alone",
        ),
        (&*good, Some("alice"), "`alice` is not the address of a person"),
    ] {
        let error = scene
            .add_key("alice", file, subject)
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(words), "{error}");
    }
    scene.google.fail(ROBOT, Fault::unavailable());
    let adding = scene.add_key("alice", &good, None);
    let error = scene.while_waiting(adding).await.err().unwrap();
    assert!(matches!(error, ServiceAccountError::Provider(error) if error.kind == Remedy::Retry));
    assert!(scene.broker.accounts.accounts(None).is_empty());
    assert!(scene.store.load().await.unwrap().integrations.is_empty());
    // The files that are no keys were never presented anywhere.
    assert_eq!(scene.google.asserted().len(), 3);
    assert_eq!(scene.audited("integration.connected").await.len(), 5);
}

#[tokio::test]
async fn a_key_is_replaced_without_a_gap() {
    let (scene, bot) = Scene::with_robot().await;
    let (id, first) = (scene.robot().record.id, token(&bot));
    let file = scene.google.new_key(ROBOT, "key-2");
    scene.google.hold(ROBOT);
    let adding = {
        let (broker, file) = (scene.broker.clone(), file.clone());
        let new = NewServiceAccount {
            owner: owner("alice"),
            file: file.as_str().into(),
            subject: None,
        };
        tokio::spawn(async move { broker.service_accounts.add_service_account(new, admin()).await })
    };
    scene.idle().await;
    assert_eq!(token(&bot), first, "while the new key is tried");
    scene.google.let_go(ROBOT);
    let added = adding.await.unwrap().ok().unwrap();
    assert!(added.replaced);
    assert_eq!((added.account.record.id, &*added.key_id), (id, "key-2"));
    assert!(token(&bot).is_some(), "no moment without a token");
    scene.idle().await;
    scene.google.delete_key(ROBOT, "key-1");
    scene.next_renewal().await;
    assert_eq!(state(&bot), AgentState::Active);
    assert_eq!(scene.google.asserted().last().unwrap().key, "key-2");
    // A key that does not work replaces nothing.
    let file = scene.google.new_key(ROBOT, "key-3");
    scene.google.delete_key(ROBOT, "key-3");
    assert!(scene.add_key("alice", &file, None).await.is_err());
    scene.next_renewal().await;
    assert_eq!(scene.google.asserted().last().unwrap().key, "key-2");
}

#[tokio::test]
async fn a_deleted_key_is_the_operators_to_mend() {
    let (scene, bot) = Scene::with_robot().await;
    scene.google.delete_key(ROBOT, "key-1");
    scene.next_renewal().await;
    assert_eq!(state(&bot), AgentState::Active, "the token at hand works");
    scene.pass_in_steps(HOUR, 5 * MINUTE).await;
    let snapshot = bot.snapshot();
    assert_eq!(
        (snapshot.state, &snapshot.action_url),
        (AgentState::Misconfigured, &None)
    );
    assert_eq!(scene.robot().state(), AgentState::Misconfigured);
    assert!(scene.ask(&bot).await.is_err());
    let file = scene.google.new_key(ROBOT, "key-2");
    assert!(scene.add_key("alice", &file, None).await.is_ok());
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_by_the_refusal() {
    let scene = Scene::new().await;
    scene.google.habits().date = Some(SignedDuration::from_hours(2));
    let file = scene.google.new_key(ROBOT, "key-1");
    assert!(scene.add_key("alice", &file, None).await.is_ok());
    let asserted = scene.google.asserted();
    assert_eq!(asserted.len(), 2, "once by our clock, once by the provider's");
    assert_eq!(asserted[1].now, scene.now() + SignedDuration::from_hours(2));
}

#[tokio::test]
async fn delegation_is_kept_with_the_account_and_holds_what_was_delegated() {
    let scene = Scene::new().await;
    let file = scene.google.new_key(ROBOT, "key-1");
    let error = scene
        .add_key("alice", &file, Some("alice@corp.example"))
        .await
        .err()
        .unwrap();
    let told = error.to_string();
    assert!(
        told.contains("Client id: 104. Scopes: https://www.googleapis.com/auth/documents"),
        "{told}"
    );
    assert!(scene.broker.accounts.accounts(None).is_empty());

    scene.google.delegate(ROBOT, scopes(&[SA]));
    scene
        .add_key("alice", &file, Some("alice@corp.example"))
        .await
        .ok()
        .unwrap();
    let bot = scene.put("bot", "alice", &[SA]).await;
    scene.idle().await;
    let subjects = |scene: &Scene| scene.google.asserted().last().unwrap().subject.clone();
    assert_eq!(subjects(&scene).as_deref(), Some("alice@corp.example"));
    // A new key acts for the same person, unless another one is named; whose tokens go at once then.
    let first = token(&bot);
    let file = scene.google.new_key(ROBOT, "key-2");
    scene.add_key("alice", &file, None).await.ok().unwrap();
    assert_eq!(subjects(&scene).as_deref(), Some("alice@corp.example"));
    scene.idle().await;
    let second = token(&bot);
    assert!(second.is_some() && second != first);
    scene.google.hold(ROBOT);
    let adding = {
        let (broker, file) = (scene.broker.clone(), file.clone());
        let new = NewServiceAccount {
            owner: owner("alice"),
            file: file.as_str().into(),
            subject: Some("bob@corp.example".to_owned()),
        };
        tokio::spawn(async move { broker.service_accounts.add_service_account(new, admin()).await })
    };
    scene.idle().await;
    assert_eq!(token(&bot), second);
    scene.google.let_go(ROBOT);
    let added = adding.await.unwrap().ok().unwrap();
    assert_eq!(added.account.record.subject, "bob@corp.example");
    assert_ne!(token(&bot), second, "it spoke for somebody else");
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
    let scene = scene.restart().await;
    scene.next_renewal().await;
    assert_eq!(subjects(&scene).as_deref(), Some("bob@corp.example"));
}

#[tokio::test]
async fn of_several_capabilities_those_that_were_delegated_work() {
    let entry = toml::from_str(
        "key = \"corp.mail\"\ntitle = \"Read mail\"\nintegration = \"google-sa\"\n\
         scopes = [\"https://www.googleapis.com/auth/gmail.readonly\"]\n",
    );
    let catalog = Catalog::builtin().with(&[entry.unwrap()]).unwrap();
    let setting = Setting {
        catalog: Arc::new(catalog),
        ..Setting::default()
    };
    let scene = Scene::with(setting).await;
    scene.google.delegate(ROBOT, scopes(&[READ]));
    let file = scene.google.new_key(ROBOT, "key-1");
    let added = scene
        .add_key("alice", &file, Some("alice@corp.example"))
        .await
        .ok()
        .unwrap();
    assert_eq!(added.account.capabilities, ["corp.mail".parse().unwrap()]);
    let mail = scene.put("mail", "alice", &["corp.mail"]).await;
    let files = scene.put("files", "alice", &[SA]).await;
    scene.idle().await;
    assert_eq!(
        (state(&mail), state(&files)),
        (AgentState::Active, AgentState::PermissionMissing)
    );
    let snapshot = files.snapshot();
    assert!(
        snapshot
            .message
            .contains("the domain's administrator has to delegate"),
        "{}",
        snapshot.message
    );
    assert_eq!(snapshot.action_url, None);
}

#[tokio::test]
async fn a_person_and_a_service_account_are_used_side_by_side() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND]).await;
    scene.robot_of("alice").await;
    let bot = scene.put("bot", "alice", &[SEND, SA]).await;
    let robot_alone = scene.put("robot-alone", "alice", &[SA]).await;
    scene.idle().await;
    let snapshot = bot.snapshot();
    assert_eq!(snapshot.state, AgentState::Active);
    assert_eq!(snapshot.account_at(&"google".parse().unwrap()), Some(ALICE));
    assert_eq!(snapshot.account_at(&KEYED.parse().unwrap()), Some(ROBOT));
    let granted: Vec<_> = snapshot.granted().map(ToString::to_string).collect();
    assert_eq!(granted, [SEND, SA]);
    let (person, robot) = (token(&bot), service_token(&bot));
    assert!(person.is_some() && robot.is_some() && person != robot);
    assert_eq!(token(&robot_alone), robot, "one token for both agents");

    assert_eq!(scene.ask(&bot).await.ok(), person);
    assert_eq!(scene.ask_for(&bot, &of_person()).await.ok(), person);
    assert_eq!(scene.ask_for(&bot, &of_robot()).await.ok(), robot);
    // A capability says by itself whose it is.
    assert_eq!(scene.ask_for(&bot, &query(&[SA], 0)).await.ok(), robot);
    assert_eq!(scene.ask_for(&bot, &query(&[SEND], 0)).await.ok(), person);
    let mixed = scene.ask_for(&bot, &query(&[SEND, SA], 0)).await.unwrap_err();
    assert_eq!(mixed.code, ProblemCode::InvalidRequest);
    let none = scene.ask_for(&robot_alone, &of_person()).await.unwrap_err();
    assert_eq!(none.code, ProblemCode::NotDeclared);

    // Both are renewed, each in its own time.
    scene.pass_in_steps(HOUR, MINUTE).await;
    assert_eq!(state(&bot), AgentState::Active);
    assert!(token(&bot) != person && service_token(&bot) != robot);
}

#[tokio::test]
async fn what_is_required_decides_and_what_is_optional_takes_nothing_away() {
    use AgentState::{Active, NotConnected};

    let scene = Scene::new().await;
    let both = scene.put("both", "alice", &[SEND, SA]).await;
    let person_first = scene.put("person-first", "alice", &[SEND, "google.sa?"]).await;
    let robot_first = scene
        .put("robot-first", "alice", &["google.gmail.send?", SA])
        .await;
    let easy = scene
        .put("easy", "alice", &["google.gmail.send?", "google.sa?"])
        .await;
    let states = || [&both, &person_first, &robot_first, &easy].map(|agent| state(agent));
    assert_eq!(states(), [NotConnected; 4]);

    scene.connect("alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(states(), [NotConnected, Active, NotConnected, Active]);
    assert_eq!(token(&both), None, "a required one is missing: no token at all");
    assert_eq!(
        both.snapshot().action_url,
        None,
        "no person can add a service account"
    );
    assert!(
        both.snapshot()
            .message
            .contains("`token-broker service-account add`")
    );
    let refused = scene.ask_for(&both, &of_person()).await.unwrap_err();
    assert_eq!(refused.code, ProblemCode::State(NotConnected));
    assert!(token(&person_first).is_some() && service_token(&person_first).is_none());
    assert_eq!(token(&robot_first), None);

    let robot = scene.robot_of("alice").await;
    scene.idle().await;
    assert_eq!(states(), [Active; 4]);
    for agent in [&both, &person_first, &robot_first, &easy] {
        assert!(
            token(agent).is_some() && service_token(agent).is_some(),
            "{}",
            agent.name()
        );
    }

    // The person withdraws: where the grant is required, nothing is left.
    scene.google.forget(ALICE);
    scene.next_renewal().await;
    scene.idle().await;
    let check = AccountRef::Id(scene.alices(ALICE).record.id);
    scene
        .broker
        .account_checks
        .check_account(&check)
        .await
        .ok()
        .unwrap();
    assert_eq!(
        states(),
        [
            AgentState::ReconnectRequired,
            AgentState::ReconnectRequired,
            Active,
            Active
        ]
    );
    assert!(both.snapshot().action_url.is_some());
    assert_eq!((token(&both), service_token(&both)), (None, None));
    assert_eq!(
        (token(&robot_first), service_token(&robot_first).is_some()),
        (None, true)
    );
    assert_eq!(robot_first.snapshot().granted().count(), 1);

    scene
        .broker
        .disconnect
        .disconnect(&AccountRef::Id(robot.record.id), Revocation::WhenLast, admin())
        .await
        .ok()
        .unwrap();
    assert_eq!(states()[2], NotConnected);
    assert_eq!(service_token(&robot_first), None);
}

#[tokio::test]
async fn several_service_accounts_have_to_be_told_apart() {
    let (scene, bot) = Scene::with_robot().await;
    let file = scene.google.new_key(OTHER, "key-1");
    scene.add_key("alice", &file, None).await.ok().unwrap();
    assert_eq!(state(&bot), AgentState::Misconfigured);
    assert!(bot.snapshot().message.contains("add `service_account:`"));
    let mut named = manifest("bot", "alice", &[SA]);
    named.service_account = Some(OTHER.into());
    scene.broker.agents.put_agent(named, admin()).await.ok().unwrap();
    scene.idle().await;
    let bot = scene.handle("bot");
    assert_eq!(state(&bot), AgentState::Active);
    assert_eq!(bot.snapshot().account_at(&KEYED.parse().unwrap()), Some(OTHER));
    // Beside a person's account nothing is ambiguous, neither for agents nor for a consent.
    scene.connect("alice", &[SEND]).await;
    let person = scene.put("person", "alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(state(&person), AgentState::Active);
}

#[tokio::test]
async fn disconnecting_forgets_the_key_and_asks_google_for_nothing() {
    let (scene, bot) = Scene::with_robot().await;
    let id = scene.robot().record.id;
    let which = AccountRef::Id(id.clone());
    let plan = scene
        .broker
        .disconnect
        .preview_disconnect(&which, Revocation::Always)
        .ok()
        .unwrap();
    assert!(!plan.revoked);
    assert_eq!(plan.agents, ["bot".parse().unwrap()]);
    let done = scene
        .broker
        .disconnect
        .disconnect(&which, Revocation::WhenLast, admin())
        .await
        .ok()
        .unwrap();
    assert_eq!((done.revoked, done.problems), (false, vec![]));
    assert_eq!((state(&bot), token(&bot)), (AgentState::NotConnected, None));
    assert!(scene.store_has_nothing_of(&id).await);
    assert!(scene.google.revoked().is_empty());
    let told = scene.audited("integration.disconnected").await;
    assert!(
        told[0].ends_with("its key was forgotten here and lives on at the provider"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_key_is_never_sent_to_another_endpoint() {
    let (scene, _bot) = Scene::with_robot().await;
    let elsewhere =
        Google::with_issuer_binding(scene.clock.clone(), "https://elsewhere.example/token#client");
    let scene = scene.restart_at(elsewhere).await;
    scene.pass_in_steps(2 * HOUR, 10 * MINUTE).await;
    assert_eq!(state(&scene.handle("bot")), AgentState::Misconfigured);
    assert!(scene.google.asserted().is_empty());
    assert!(scene.robot().message().contains("The key of robot@"));
}

#[tokio::test]
async fn another_oauth_client_leaves_service_accounts_alone() {
    let (scene, _bot) = Scene::with_robot().await;
    let other_client =
        Google::with_issuer_binding(scene.clock.clone(), "https://oauth2.example/token#another");
    other_client.new_key(ROBOT, "key-1");
    let scene = scene.restart_at(other_client).await;
    scene.next_renewal().await;
    assert_eq!(state(&scene.handle("bot")), AgentState::Active);
}

#[tokio::test]
async fn nobody_consents_for_a_service_account() {
    let (scene, _bot) = Scene::with_robot().await;
    let target = token_broker::broker::ConnectTarget::Integration(scene.robot().record.id);
    let error = scene.begin_at(&target, &[SEND]).err().unwrap().to_string();
    assert!(error.contains("is a service account"), "{error}");
    // Its presence does not make the owner's first account a second one.
    let started = scene.begin("alice", &[SEND]);
    assert!(started.agents_in_doubt.is_empty());
}
