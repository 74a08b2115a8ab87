//! Two providers beside each other: what one of them does is no news of the other.

use std::sync::Arc;

use jiff::SignedDuration;
use token_broker::{
    broker::{AgentHandle, AgentState, AwaitedConsent},
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

impl Two {
    async fn new() -> Self {
        Self::with(Setting::default()).await
    }

    async fn with(mut setting: Setting) -> Self {
        let profile = Profile {
            id: "acme".parse().unwrap(),
            name: "Acme".into(),
            env: EnvNames::oauth("ACME"),
            serves_google_libraries: false,
            ..google::account()
        };
        setting.catalog = Arc::new(catalog(&profile.id));
        let clock = setting.clock.clone();
        let acme = Arc::new(Google::with_issuer_binding(
            clock,
            "https://acme.example/token#client",
        ));
        setting.other = Some((acme.clone(), profile));
        Self {
            scene: Scene::with(setting).await,
            acme,
        }
    }

    /// `of` connects an account at Acme.
    async fn connect(&self, of: &str) {
        let started = self.scene.begin(of, &[ACME_READ]);
        let asked = ScopeSet::parse(&format!("openid email {ACME_SCOPE}")).unwrap();
        let code = self.acme.decide(asked, Person::named(&email(of)));
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
