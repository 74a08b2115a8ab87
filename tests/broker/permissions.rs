//! Permissions over time: what a consent asks for, and how each capability stands after it.

use token_broker::broker::{
    AgentState,
    CapabilityState::{self, Declined, Granted, Missing, Satisfied},
    CapabilityStatus, ConnectError, ConnectTarget, TokenRequest,
};

use crate::{connect::refusal, support::*};

/// How the capabilities of alice's account stand.
fn standings(scene: &Scene) -> Vec<(String, &'static str)> {
    let standings = scene.account("alice").standings;
    standings
        .iter()
        .map(|standing| (standing.key.to_string(), standing.state.as_str()))
        .collect()
}

fn standing(key: &str, state: CapabilityState) -> (String, &'static str) {
    (key.to_owned(), state.as_str())
}

/// How an agent's capabilities stand.
fn states(agent: &token_broker::broker::AgentHandle) -> Vec<CapabilityState> {
    agent
        .snapshot()
        .capabilities
        .iter()
        .map(CapabilityStatus::state)
        .collect()
}

#[tokio::test]
async fn only_what_is_new_is_asked_for() {
    let (scene, _bot) = Scene::of_alice().await;
    let asked = |capabilities: &[&str]| {
        scene.begin("alice", capabilities);
        scene.google.begun().scopes
    };
    assert_eq!(asked(&[SEND, CALENDAR, DRIVE]), scopes(&[CALENDAR, DRIVE]));
    assert_eq!(asked(&[CALENDAR]), scopes(&[CALENDAR]));
    // Who asks for nothing new wants the consent itself again.
    assert_eq!(asked(&[SEND]), scopes(&[SEND]));
    assert_eq!(scene.google.begun().login_hint.as_deref(), Some(ALICE));
}

#[tokio::test]
async fn with_a_new_grant_every_token_is_obtained_anew_and_nothing_depends_on_the_old_one() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND, CALENDAR, DRIVE]).await;
    let mut agents = Vec::new();
    for (name, capability) in [("mailer", SEND), ("planner", CALENDAR), ("archivist", DRIVE)] {
        agents.push(scene.put(name, "alice", &[capability]).await);
    }
    scene.idle().await;
    let before: Vec<_> = agents.iter().map(|agent| token(agent)).collect();
    scene.connect("alice", &[DOCS]).await;
    scene.idle().await;
    for (agent, old) in agents.iter().zip(before) {
        assert_eq!(state(agent), AgentState::Active);
        assert_ne!(token(agent), old, "{}", agent.name());
    }
    assert_eq!(scene.google.requests(), 6);
}

#[tokio::test]
async fn a_grant_that_died_is_asked_for_as_a_whole() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND, CALENDAR]).await;
    let mailer = scene.put("mailer", "alice", &[SEND]).await;
    let planner = scene.put("planner", "alice", &[CALENDAR]).await;
    scene.idle().await;
    scene.google.fail(ALICE, Fault::invalid_grant());
    scene.pass(51 * MINUTE).await;
    assert_eq!(state(&mailer), AgentState::ReconnectRequired);
    scene.google.heal(ALICE);

    // For the mailer alone, and nobody else's permission is lost over it.
    let started = scene.begin("alice", &[SEND]);
    assert_eq!(scene.google.begun().scopes, scopes(&[SEND, CALENDAR]));
    let redirect = scene.decided(&started, &[SEND, CALENDAR], Person::named(ALICE));
    scene.complete(&redirect).await.unwrap();
    scene.idle().await;
    assert_eq!(
        (state(&mailer), state(&planner)),
        (AgentState::Active, AgentState::Active)
    );
}

#[tokio::test]
async fn what_is_unticked_is_declined_until_it_is_given() {
    let scene = Scene::new().await;
    let planner = scene.put("planner", "alice", &[CALENDAR]).await;
    let mailer = scene.put("mailer", "alice", &[SEND, "google.drive?"]).await;
    let person = Person::named(ALICE).ticking(scopes(&[CALENDAR]));
    scene.consent("alice", &[SEND, CALENDAR], person).await.unwrap();
    scene.idle().await;
    let expected = [
        standing(SEND, Declined),
        standing(CALENDAR_READONLY, Satisfied),
        standing(CALENDAR, Granted),
        standing(DRIVE, Missing),
    ];
    assert_eq!(standings(&scene), expected);
    assert_eq!(states(&mailer), [Declined, Missing]);
    let snapshot = mailer.snapshot();
    assert!(
        snapshot
            .message
            .contains("Asked for before and not given: google.gmail.send"),
        "{}",
        snapshot.message
    );
    assert_eq!(
        snapshot.action_url.as_deref(),
        Some("https://broker.example/agents/mailer")
    );
    let before = token(&planner);
    assert_eq!(
        (state(&planner), state(&mailer)),
        (AgentState::Active, AgentState::PermissionMissing)
    );
    let trail = scene.audited("integration.connected").await;
    assert!(
        trail[0].contains("asked for and not given: google.gmail.send"),
        "{trail:?}"
    );

    // It is known after a restart.
    let scene = scene.restart().await;
    assert_eq!(standings(&scene), expected);
    let (planner, mailer) = (scene.handle("planner"), scene.handle("mailer"));
    assert_eq!(token(&planner), before);

    // The agent starts at the moment the permission is there, and nobody else is interrupted.
    scene.google.hold(ALICE);
    scene.connect("alice", &[SEND]).await;
    assert_eq!(token(&planner), before);
    scene.google.let_go(ALICE);
    scene.idle().await;
    assert_eq!(
        (state(&planner), state(&mailer)),
        (AgentState::Active, AgentState::Active)
    );
    assert_eq!(states(&mailer), [Granted, Missing]);
}

#[tokio::test]
async fn whoever_declines_or_walks_away_keeps_what_was_granted() {
    let (scene, bot) = Scene::of_alice().await;
    let planner = scene.put("planner", "alice", &[CALENDAR]).await;
    let drive = scene.put("drive", "alice", &[DRIVE]).await;
    let before = (token(&bot), scene.account("alice").record.version);

    let started = scene.begin("alice", &[SEND, CALENDAR]);
    let denied = format!(
        "{}&error=access_denied",
        started.authorization_url.query().unwrap()
    );
    assert!(matches!(
        refusal(scene.complete(&denied).await),
        ConnectError::Denied(..)
    ));
    // And one who never comes back.
    scene.begin("alice", &[DRIVE]);
    scene.pass(11 * MINUTE).await;
    assert_eq!((token(&bot), scene.account("alice").record.version), before);
    assert_eq!(states(&planner), [Declined]);
    assert_eq!(states(&drive), [Missing], "nobody said no to it");
    assert_eq!(states(&bot), [Granted]);
    assert!(
        planner.snapshot().message.contains("Asked for before"),
        "{}",
        planner.snapshot().message
    );

    // A renewal forgets none of it, and neither does a restart.
    scene.next_renewal().await;
    let scene = scene.restart().await;
    assert_eq!(states(&scene.handle("planner")), [Declined]);
    scene.connect("alice", &[CALENDAR]).await;
    assert_eq!(states(&scene.handle("planner")), [Granted]);
}

#[tokio::test]
async fn a_desktop_clients_narrower_answer_costs_nothing_that_works() {
    let (scene, bot) = Scene::of_alice().await;
    scene.google.habits().cumulative = false;
    let before = (token(&bot), scene.account("alice").record.version);
    let person = Person::named(ALICE).ticking(scopes(&[CALENDAR]));
    let error = refusal(scene.consent("alice", &[CALENDAR], person).await);
    assert!(matches!(&error, ConnectError::Narrower { .. }), "{error}");
    assert!(error.to_string().contains(SEND), "{error}");
    assert_eq!((token(&bot), scene.account("alice").record.version), before);

    // With both ticked it is taken; and when the grant is dead, whatever is given is more than nothing.
    let person = Person::named(ALICE).ticking(scopes(&[SEND, CALENDAR]));
    scene.consent("alice", &[CALENDAR], person).await.unwrap();
    scene.idle().await;
    assert_eq!(scene.account("alice").record.scopes, scopes(&[SEND, CALENDAR]));
    scene.google.fail(ALICE, Fault::invalid_grant());
    scene.next_renewal().await;
    assert_eq!(state(&bot), AgentState::ReconnectRequired);
    scene.google.heal(ALICE);
    let person = Person::named(ALICE).ticking(scopes(&[SEND]));
    let connected = scene.consent("alice", &[SEND], person).await.unwrap();
    let missing: Vec<_> = connected.missing.iter().map(ToString::to_string).collect();
    assert_eq!(missing, [CALENDAR], "it was asked for again, and not given");
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
}

#[tokio::test]
async fn a_web_clients_answer_is_the_truth_also_where_it_is_narrower_or_wider() {
    let (scene, bot) = Scene::of_alice().await;
    let planner = scene.put("planner", "alice", &[CALENDAR]).await;
    // The person took everything back in Google's settings, and then consented to this alone.
    let which = ConnectTarget::Owner(owner("alice"));
    scene.google.forget(ALICE);
    let person = Person::named(ALICE).ticking(scopes(&[CALENDAR, DRIVE]));
    let connected = scene.consent_at(&which, &[CALENDAR], person).await.unwrap();
    let words =
        |keys: &[token_broker::id::CapabilityKey]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(words(&connected.withdrawn), [SEND]);
    assert!(words(&connected.unasked).contains(&DRIVE.to_owned()));
    scene.idle().await;
    assert_eq!(
        (state(&bot), state(&planner)),
        (AgentState::PermissionMissing, AgentState::Active)
    );
    assert_eq!(token(&bot), None);
    let trail = scene.audited("integration.connected").await;
    let last = trail.last().unwrap();
    assert!(last.contains("not granted any more: google.gmail.send"), "{last}");
    assert!(
        last.contains("granted without being asked for") && last.contains(DRIVE),
        "{last}"
    );
}

#[tokio::test]
async fn a_token_that_carries_more_or_less_than_was_asked_for_is_told() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND, CALENDAR]).await;
    let bot = scene.put("bot", "alice", &[SEND, "google.calendar?"]).await;
    scene.idle().await;
    assert_eq!(bot.snapshot().message, "");

    scene.google.carry_only(scopes(&[SEND]));
    scene.next_renewal().await;
    let snapshot = bot.snapshot();
    assert_eq!(snapshot.state, AgentState::Active);
    assert!(
        snapshot
            .message
            .contains("does not carry https://www.googleapis.com/auth/calendar.")
    );
    assert_eq!(snapshot.main().granted.len(), 1);
    let lacking = || {
        let standings = scene.account("alice").standings.into_iter();
        let lacking = standings.filter(|standing| !standing.lacking.is_empty());
        lacking
            .map(|standing| {
                (
                    standing.state,
                    standing.key.to_string(),
                    standing.lacking[0].to_string(),
                )
            })
            .collect::<Vec<_>>()
    };
    // The account has it, and the agent has not.
    assert_eq!(
        lacking(),
        [(
            CapabilityState::Granted,
            "google.calendar".to_owned(),
            "bot".to_owned()
        )]
    );

    scene.google.carry_only(scopes(&[SEND, CALENDAR, DRIVE]));
    scene.next_renewal().await;
    let snapshot = bot.snapshot();
    assert!(
        snapshot
            .message
            .contains("also carries https://www.googleapis.com/auth/drive."),
        "{}",
        snapshot.message
    );
    assert_eq!(
        snapshot.main().token.as_ref().unwrap().scopes,
        scopes(&[SEND, CALENDAR, DRIVE])
    );
    assert_eq!(
        snapshot.main().granted.len(),
        2,
        "what was not declared is not among what it may"
    );
    assert_eq!(lacking(), []);
    let trail = scene.audited("token.renewed").await;
    assert!(trail[1].contains("less than was asked for"), "{trail:?}");
    assert!(trail[2].contains("more than was asked for"), "{trail:?}");
}

#[tokio::test]
async fn a_token_that_came_too_narrow_by_a_mistake_is_replaced_on_demand_and_soon_by_itself() {
    let (scene, bot) = Scene::of_alice().await;
    let narrow = scopes(&["google.calendar"]);
    let again = TokenRequest {
        refresh: true,
        ..TokenRequest::default()
    };
    scene.google.carry_only(narrow.clone());
    let refused = scene.ask_for(&bot, &again).await.unwrap_err();
    assert_eq!(refused.code.as_str(), "permission_missing");
    assert_eq!(state(&bot), AgentState::PermissionMissing);
    // As long as it stays so, asking changes nothing.
    assert!(scene.ask_for(&bot, &again).await.is_err());
    scene.google.carry_what_is_asked();
    let requests = scene.google.requests();
    assert!(
        scene.ask(&bot).await.is_err(),
        "without `refresh` nothing is asked"
    );
    assert_eq!(scene.google.requests(), requests);
    scene.ask_for(&bot, &again).await.unwrap();
    assert_eq!(state(&bot), AgentState::Active);

    scene.google.carry_only(narrow);
    scene.next_renewal().await;
    assert_eq!(state(&bot), AgentState::PermissionMissing);
    scene.google.carry_what_is_asked();
    scene.pass_in_steps(5 * MINUTE, MINUTE).await;
    assert_eq!(state(&bot), AgentState::Active);
}
