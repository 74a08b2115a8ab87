//! Two providers beside each other: what one of them does is no news of the other.

use std::sync::Arc;

use jiff::SignedDuration;
use token_broker::{
    broker::{
        AgentHandle, AgentState, AwaitedConsent, ConnectError, ConnectStarted, ConnectTarget, ImportError,
    },
    capability::{Catalog, ScopeSet},
    config::CapabilityEntry,
    id::{CapabilityKey, ProviderId},
    provider::{EnvNames, Profile, google},
};

use crate::support::*;

/// A capability at the second provider.
const ACME_READ: &str = "acme.read";
const ACME_SCOPE: &str = "https://acme.example/read";

struct Two {
    scene: Scene,
    acme: Arc<Google>,
}

fn catalog(acme: &ProviderId) -> Catalog {
    let entry = CapabilityEntry {
        key: ACME_READ.into(),
        title: "Read".into(),
        usage: String::new(),
        group: "Acme".into(),
        scopes: vec![ACME_SCOPE.into()],
        integration: acme.to_string(),
        verification: None,
        satisfied_by: Vec::new(),
        satisfies: Vec::new(),
        origin: String::new(),
    };
    let catalog = Catalog::builtin().knowing(acme.clone()).with(&[entry]);
    catalog.unwrap_or_else(|error| panic!("{error}"))
}

/// The second provider, as it tells of itself.
fn acme() -> Profile {
    Profile {
        id: "acme".parse().unwrap(),
        name: "Acme".into(),
        env: EnvNames::oauth("ACME"),
        serves_google_libraries: false,
        ..google::account()
    }
}

fn acme_scopes() -> ScopeSet {
    ScopeSet::parse(&format!("openid email {ACME_SCOPE}")).unwrap()
}

impl Two {
    async fn new() -> Self {
        Self::with(Setting::default()).await
    }

    async fn with(setting: Setting) -> Self {
        Self::at(setting, "https://acme.example/token#client").await
    }

    /// Acme's server and client are these.
    async fn at(mut setting: Setting, issuer_binding: &str) -> Self {
        let profile = acme();
        setting.catalog = Arc::new(catalog(&profile.id));
        let acme = Arc::new(Google::with_issuer_binding(setting.clock.clone(), issuer_binding));
        setting.other = Some((acme.clone(), profile));
        Self {
            scene: Scene::with(setting).await,
            acme,
        }
    }

    /// `of` connects an account at Acme.
    async fn connect(&self, of: &str) {
        let started = self.scene.begin(of, &[ACME_READ]);
        self.finish(of, &started).await;
    }

    /// `of` says yes at Acme.
    async fn finish(&self, of: &str, started: &ConnectStarted) {
        let code = self.acme.decide(acme_scopes(), Person::named(&email(of)));
        let redirect = format!("{}&code={code}", started.authorization_url.query().unwrap());
        let connected = self.scene.complete(&redirect).await;
        connected.unwrap_or_else(|error| panic!("{error}"));
    }

    /// `of` has an account at Acme, and an agent that uses it.
    async fn agent(&self, of: &str) -> Arc<AgentHandle> {
        self.connect(of).await;
        let bot = self.scene.put(&format!("{of}-bot"), of, &[ACME_READ]).await;
        self.scene.idle().await;
        assert_eq!(state(&bot), AgentState::Active);
        bot
    }
}

#[tokio::test]
async fn a_success_elsewhere_does_not_hasten_what_waits_for_a_provider_that_is_down() {
    let two = Two::new().await;
    let scene = &two.scene;
    let bob = two.agent("bob").await;
    two.acme
        .fail(&email("bob"), Fault::unavailable().retry_after(300));
    scene.pass(61 * MINUTE).await;
    assert_ne!(state(&bob), AgentState::Active);

    // Google works, again and again.
    let before = two.acme.requests();
    for owner in ["carol", "dave", "erin"] {
        scene.connect(owner, &[SEND]).await;
        scene.pass(2).await;
    }
    assert_eq!(two.acme.requests(), before);

    // A success at Acme is news of Acme.
    two.acme.heal(&email("bob"));
    two.agent("alice").await;
    scene.pass(2).await;
    assert_eq!(state(&bob), AgentState::Active);
}

#[tokio::test]
async fn the_clock_of_one_provider_is_not_believed_of_another() {
    let two = Two::new().await;
    let scene = &two.scene;
    two.acme.habits().date = Some(SignedDuration::from_hours(-3));
    two.agent("bob").await;
    // Google was not heard yet: an assertion for it says the node's time.
    scene.robot_of("alice").await;
    let asserted = scene.google.asserted();
    assert!(!asserted.is_empty());
    for assertion in asserted {
        assert_eq!(assertion.now, scene.now());
    }
    assert_eq!(
        scene.broker.clock_skew(),
        SignedDuration::ZERO,
        "one of two agrees with the node's"
    );
}

#[tokio::test]
async fn a_provider_that_hangs_holds_up_no_renewal_at_another() {
    let setting = Setting {
        concurrency: 1,
        ..Setting::default()
    };
    let two = Two::with(setting).await;
    let scene = &two.scene;
    two.acme.habits().lifetime = secs(10 * MINUTE);
    scene.google.habits().lifetime = secs(20 * MINUTE);
    // More than what may be under way at one provider.
    for number in 0..12 {
        two.agent(&format!("waiting-{number}")).await;
    }
    scene.connect("alice", &[SEND]).await;
    let alice = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    for number in 0..12 {
        two.acme.hold(&email(&format!("waiting-{number}")));
    }
    let first = token(&alice);
    // All of Acme's are due, and none of them comes back.
    scene.pass_in_steps(18 * MINUTE, 30).await;
    assert!(token(&alice).is_some());
    assert_ne!(token(&alice), first, "Google's was renewed");
    for number in 0..12 {
        two.acme.let_go(&email(&format!("waiting-{number}")));
    }
    scene.pass_in_steps(60, 1).await;
    for number in 0..12 {
        let bot = scene.handle(&format!("waiting-{number}-bot"));
        assert_eq!(state(&bot), AgentState::Active, "waiting-{number}");
    }
}

#[tokio::test]
async fn the_owner_is_waited_for_at_each_provider_whose_grant_ended_and_at_no_other() {
    let two = Two::new().await;
    let scene = &two.scene;
    scene.connect("bob", &[SEND]).await;
    two.connect("bob").await;
    let bot = scene.put("bot", "bob", &[SEND, ACME_READ]).await;
    scene.idle().await;
    let awaited = || {
        let snapshot = bot.snapshot();
        let consents = snapshot.awaited.iter();
        let said = |consent: &AwaitedConsent| {
            let keys: Vec<&str> = consent.capabilities.iter().map(CapabilityKey::as_str).collect();
            (consent.profile.id.to_string(), consent.again, keys.join(" "))
        };
        consents.map(said).collect::<Vec<_>>()
    };
    assert_eq!((state(&bot), awaited()), (AgentState::Active, vec![]));

    two.acme.fail(&email("bob"), Fault::invalid_grant());
    scene.pass(61 * MINUTE).await;
    let at_acme = ("acme".to_owned(), true, ACME_READ.to_owned());
    assert_eq!(
        (state(&bot), awaited()),
        (AgentState::ReconnectRequired, vec![at_acme.clone()])
    );

    let other = scene.put("other", "bob", &[SEND]).await;
    scene.idle().await;
    assert_eq!(state(&other), AgentState::Active);
    scene.google.fail(&email("bob"), Fault::invalid_grant());
    scene.pass(61 * MINUTE).await;
    let at_google = ("google".to_owned(), true, SEND.to_owned());
    assert_eq!(awaited(), [at_google, at_acme], "one after the other");
}

#[tokio::test]
async fn whoever_can_mend_one_of_two_is_led_there_also_where_the_first_waits_for_the_operator() {
    let two = Two::new().await;
    let scene = &two.scene;
    let bot = scene.put("bot", "bob", &[SA, ACME_READ]).await;
    scene.idle().await;
    // A service account's key is the operator's to add, and comes first.
    let snapshot = bot.snapshot();
    assert_eq!(snapshot.main().profile.id.as_str(), "google-sa");
    let waiting: Vec<&str> = snapshot
        .awaited
        .iter()
        .map(|consent| consent.profile.id.as_str())
        .collect();
    assert_eq!(waiting, ["acme"]);
    let page = Some("https://broker.example/agents/bot");
    assert_eq!(snapshot.action_url.as_deref(), page);

    two.connect("bob").await;
    scene.idle().await;
    let snapshot = bot.snapshot();
    assert_eq!(
        (snapshot.state, &snapshot.action_url),
        (AgentState::NotConnected, &None)
    );
    assert!(snapshot.awaited.is_empty());
}

#[tokio::test]
async fn an_account_stays_that_of_its_server_when_another_takes_the_providers_key() {
    let two = Two::new().await;
    two.connect("bob").await;
    let before = two.scene.account("bob").record;
    let elsewhere = "https://other.example/token#client";
    let two = Two::at(two.scene.stop().await, elsewhere).await;
    let scene = &two.scene;

    // Neither a consent nor a grant from elsewhere takes its place.
    let id = before.id.clone();
    for target in [
        ConnectTarget::Owner(owner("bob")),
        ConnectTarget::Address(owner("bob"), email("bob")),
        ConnectTarget::Integration(id.clone()),
    ] {
        let error = scene.begin_at(&target, &[ACME_READ]).err().unwrap().to_string();
        for part in [
            "https://acme.example/token",
            "https://other.example/token",
            id.as_str(),
        ] {
            assert!(error.contains(part), "{error}");
        }
        let grant = two.acme.held_elsewhere(&email("bob"), acme_scopes());
        let import = scene
            .broker
            .import
            .import(&target, "acme", grant.as_str().into(), admin());
        let error = import.await.err().unwrap().to_string();
        assert!(error.contains("Nothing was changed"), "{error}");
    }
    let kept = scene.account("bob").record;
    assert_eq!(
        (kept.version, &kept.issuer_binding),
        (before.version, &before.issuer_binding)
    );

    // Who says that it is another one has it beside the first, although both servers call it the same.
    let started = scene
        .begin_at(&ConnectTarget::Another(owner("bob")), &[ACME_READ])
        .unwrap_or_else(|error| panic!("{error}"));
    two.finish("bob", &started).await;
    let accounts = scene.broker.accounts.accounts(Some(&owner("bob")));
    let mut bindings: Vec<String> = accounts
        .iter()
        .map(|view| view.record.issuer_binding.to_string())
        .collect();
    bindings.sort();
    assert_eq!(bindings, ["https://acme.example/token#client", elsewhere]);
    let subjects: Vec<&str> = accounts.iter().map(|view| view.record.subject.as_str()).collect();
    assert_eq!(subjects[0], subjects[1]);
}

#[tokio::test]
async fn another_client_at_the_same_server_has_the_same_accounts() {
    let two = Two::new().await;
    two.connect("bob").await;
    let before = two.scene.account("bob").record;
    let client = "https://acme.example/token/#another-client";
    let two = Two::at(two.scene.stop().await, client).await;
    two.connect("bob").await;
    let now = two.scene.account("bob").record;
    assert_eq!((&now.id, &*now.issuer_binding), (&before.id, client));
}

#[tokio::test]
async fn what_is_asked_for_at_once_is_of_one_provider_and_the_error_says_whose_is_what() {
    let two = Two::new().await;
    let target = ConnectTarget::Owner(owner("bob"));
    let error = two
        .scene
        .begin_at(&target, &[ACME_READ, SEND, READ])
        .err()
        .unwrap();
    assert!(matches!(error, ConnectError::SeveralProviders(_)), "{error}");
    let said = format!("(acme: {ACME_READ}; google: {SEND}, {READ})");
    assert!(error.to_string().contains(&said), "{error}");

    let import = |provider| {
        let grant = "1//0g-whatever".into();
        two.scene.broker.import.import(&target, provider, grant, admin())
    };
    let unsaid = import("").await.err().unwrap();
    assert!(
        matches!(unsaid, ImportError::Connect(ConnectError::ProviderUnsaid(_))),
        "{unsaid}"
    );
    assert!(unsaid.to_string().contains("name google or acme"), "{unsaid}");
    let unknown = import("amce").await.err().unwrap();
    assert!(
        matches!(
            unknown,
            ImportError::Connect(ConnectError::UnknownProvider { .. })
        ),
        "{unknown}"
    );
}

#[tokio::test]
async fn an_agent_is_short_of_a_token_whichever_providers_it_is() {
    let two = Two::new().await;
    let scene = &two.scene;
    let counted = || {
        let list = &scene.broker.agent_list;
        (list.agents_short_of_token(), list.agents_waiting_for_people())
    };
    two.acme.habits().lifetime = secs(10 * MINUTE);
    scene.connect("bob", &[SEND]).await;
    two.connect("bob").await;
    let bot = scene.put("bot", "bob", &[SEND, ACME_READ]).await;
    scene.idle().await;
    assert_eq!((state(&bot), counted()), (AgentState::Active, (0, 0)));

    // Acme's token is near its end, and then there is none, while Google's works.
    two.acme.fail(&email("bob"), Fault::unavailable());
    scene.pass_in_steps(9 * MINUTE + 30, 10).await;
    assert_eq!(
        (state(&bot), counted()),
        (AgentState::ProviderUnavailable, (0, 0)),
        "it lives to its end"
    );
    scene.pass_in_steps(MINUTE, 10).await;
    assert!(bot.snapshot().main().token.is_some());
    assert_eq!(
        (state(&bot), counted()),
        (AgentState::ProviderUnavailable, (1, 0))
    );

    // What the person has to do is theirs.
    two.acme.fail(&email("bob"), Fault::invalid_grant());
    scene.pass_in_steps(30 * MINUTE, 30).await;
    assert_eq!((state(&bot), counted()), (AgentState::ReconnectRequired, (0, 1)));
}

#[tokio::test]
async fn a_token_that_is_withheld_for_another_account_is_not_one_that_an_agent_is_short_of() {
    let two = Two::new().await;
    let scene = &two.scene;
    scene.connect("bob", &[SEND]).await;
    two.connect("bob").await;
    let another = ConnectTarget::Another(owner("bob"));
    let started = scene
        .begin_at(&another, &[ACME_READ])
        .unwrap_or_else(|error| panic!("{error}"));
    let code = two.acme.decide(acme_scopes(), Person::named("other@example.com"));
    let redirect = format!("{}&code={code}", started.authorization_url.query().unwrap());
    scene
        .complete(&redirect)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let bot = scene.put("bot", "bob", &[SEND, ACME_READ]).await;
    scene.idle().await;
    // Somebody has to say which of Bob's accounts at Acme it uses; Google's would be its main one.
    assert_eq!(state(&bot), AgentState::Misconfigured);
    assert!(bot.snapshot().main().account.is_some());
    let list = &scene.broker.agent_list;
    assert_eq!(
        (list.agents_short_of_token(), list.agents_waiting_for_people()),
        (0, 1)
    );
}
