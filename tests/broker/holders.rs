//! An agent that is given to another holder is another agent: a removal first, then somebody new.

use token_broker::{
    broker::{AgentHandle, AgentState, EventKind},
    id::AgentName,
    manifest::{Manifest, PodIdentity},
    secret::AgentSecret,
    store::{AgentRecord, HolderRecord, Store},
    vault::Binding,
};

use crate::support::*;

const BOB: &str = "bob@example.com";

fn name() -> AgentName {
    "bot".parse().unwrap()
}

/// Alice and bob with their accounts, and a bot of alice's with a secret.
async fn scene() -> (Scene, std::sync::Arc<AgentHandle>) {
    let setting = Setting {
        agent_secrets: true,
        ..Setting::default()
    };
    let scene = Scene::with(setting).await;
    scene.connect("alice", &[SEND]).await;
    let person = Person::named(BOB);
    scene
        .consent("bob", &[SEND], person)
        .await
        .map_err(|error| error.to_string())
        .unwrap();
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
    (scene, bot)
}

fn secret(agent: &AgentHandle) -> String {
    agent.secret().expect("it has a secret").expose().to_owned()
}

fn opens(scene: &Scene, secret: &str) -> bool {
    scene
        .broker
        .authenticator
        .authenticate("bot", &AgentSecret::from(secret), None)
        .is_some()
}

async fn row(scene: &Scene) -> HolderRecord {
    let rows = scene.store.load().await.unwrap().holders;
    rows.into_iter().find(|row| row.agent == name()).unwrap()
}

/// Puts a manifest into the database as another daemon would have.
async fn put_behind_its_back(scene: &Scene, manifest: &Manifest) {
    let record = AgentRecord {
        name: manifest.agent.clone(),
        manifest: manifest.to_json(),
    };
    scene.store.put_agent(record, Vec::new()).await.unwrap();
}

async fn put(scene: &Scene, manifest: Manifest) {
    let put = scene.broker.agents.put_agent(manifest, admin()).await;
    put.map_err(|error| error.to_string()).unwrap();
}

#[tokio::test]
async fn each_part_of_the_holder_makes_another_agent_and_what_it_needs_does_not() {
    let (scene, mut bot) = scene().await;
    scene.connect_another("alice", "work@example.com", &[SEND]).await;
    let of = |change: fn(&mut Manifest)| {
        let mut manifest = manifest("bot", "alice", &[SEND]);
        change(&mut manifest);
        manifest
    };
    let pod = || {
        Some(Box::new(PodIdentity {
            namespace: "billing".into(),
            service_account: "bot".into(),
        }))
    };
    let changes: [(&str, Manifest); 7] = [
        ("account", of(|m| m.account = Some(ALICE.into()))),
        ("account", of(|m| m.account = Some("work@example.com".into()))),
        (
            "account, service_account",
            of(|m| m.service_account = Some(ROBOT.into())),
        ),
        ("service_account, uid", of(|m| m.uid = Some(7))),
        ("uid, gid", of(|m| m.gid = Some(7))),
        (
            "gid, kubernetes",
            Manifest {
                kubernetes: pod(),
                ..of(|_| {})
            },
        ),
        ("owner, kubernetes", manifest("bot", "bob", &[SEND])),
    ];
    for (fields, manifest) in changes {
        let before = secret(&bot);
        put(&scene, manifest).await;
        scene.idle().await;
        assert!(
            bot.is_removed() && bot.is_succeeded() && token(&bot).is_none(),
            "{fields}"
        );
        bot = scene.handle("bot");
        assert_ne!(secret(&bot), before, "{fields}");
        assert!(
            !opens(&scene, &before) && opens(&scene, &secret(&bot)),
            "{fields}"
        );
        let removed = scene.audited("agent.removed").await;
        let why = format!("agent bot: it is given to another holder ({fields})");
        assert!(removed.last().unwrap().ends_with(&why), "{removed:?}");
        // What it needs is another matter.
        let mut more = Manifest::clone(&bot.snapshot().manifest);
        more.integrations
            .extend(self::manifest("x", "x", &[CALENDAR]).integrations);
        put(&scene, more).await;
        assert!(!bot.is_removed() && std::sync::Arc::ptr_eq(&bot, &scene.handle("bot")));
    }
}

#[tokio::test]
async fn nothing_is_told_before_the_directory_is_cleared_and_the_database_knows() {
    let (scene, alices) = scene().await;
    let (before, of_alice) = (secret(&alices), scene.disk.token("bot").unwrap());
    let mut events = scene.broker.events();
    scene.disk.jam("bot");
    let broker = scene.broker.clone();
    let putting = tokio::spawn(async move {
        let put = broker
            .agents
            .put_agent(manifest("bot", "bob", &[SEND]), admin())
            .await;
        put.map_err(|error| error.to_string()).unwrap();
    });
    scene.idle().await;
    assert!(alices.is_removed() && token(&alices).is_none());
    let waiting = || {
        let bobs = scene.handle("bot");
        assert!(
            scene.broker.agent_list.handle(&name()).is_none(),
            "somebody finds it"
        );
        assert_eq!((state(&bobs), token(&bobs)), (AgentState::Misconfigured, None));
        assert!(bobs.secret().is_none() && !opens(&scene, &before));
        assert!(scene.broker.issuer.current(&bobs).is_none());
    };
    waiting();
    assert_eq!(scene.disk.token("bot"), Some(of_alice), "what the test is about");
    assert!(row(&scene).await.holder.unwrap().contains("alice"));
    let asked = scene.ask(&scene.handle("bot")).await;
    assert!(asked.err().unwrap().message.contains("another holder"));

    // The directory is cleared, and the database is not written.
    scene.store.fail(Part::Secrets);
    scene.disk.unjam(&scene.broker, "bot");
    scene.idle().await;
    waiting();
    assert!(!scene.disk.has_directory("bot"));

    scene.store.heal();
    scene.pass(5).await;
    putting.await.unwrap();
    let bobs = scene.broker.agent_list.handle(&name()).unwrap();
    assert_eq!(state(&bobs), AgentState::Active);
    assert_eq!(bobs.snapshot().main().account.as_deref(), Some(BOB));
    assert_eq!(scene.disk.token("bot"), token(&bobs));
    assert_ne!(secret(&bobs), before);
    assert!(row(&scene).await.holder.unwrap().contains("bob"));
    let mut kinds = Vec::new();
    while let Ok(event) = events.try_recv() {
        kinds.extend(event.agent.map(|_| event.kind));
    }
    let place = |kind| kinds.iter().position(|other| *other == kind).unwrap();
    assert!(
        place(EventKind::AgentRemoved) < place(EventKind::AgentPut),
        "{kinds:?}"
    );
    assert!(place(EventKind::AgentPut) > 0 && place(EventKind::AgentState) < place(EventKind::AgentPut));
}

#[tokio::test]
async fn an_agent_that_is_removed_and_added_at_once_waits_for_the_directory_as_well() {
    let (scene, alices) = scene().await;
    scene.disk.jam("bot");
    let (deleting, putting) = (scene.broker.clone(), scene.broker.clone());
    let deleted = tokio::spawn(async move { deleting.agents.delete_agent(&name(), admin()).await.is_ok() });
    scene.idle().await;
    let put = tokio::spawn(async move {
        let manifest = manifest("bot", "bob", &[SEND]);
        putting.agents.put_agent(manifest, admin()).await.is_ok()
    });
    scene.idle().await;
    assert!(alices.is_removed() && scene.broker.agent_list.handle(&name()).is_none());
    scene.disk.unjam(&scene.broker, "bot");
    scene.idle().await;
    assert!(deleted.await.unwrap() && put.await.unwrap());
    assert_eq!(scene.disk.token("bot"), token(&scene.handle("bot")));
    assert_eq!(state(&scene.handle("bot")), AgentState::Active);
}

#[tokio::test]
async fn a_holder_that_changed_while_no_daemon_ran_is_noticed() {
    let (scene, alices) = scene().await;
    let before = secret(&alices);
    let setting = scene.stop().await;
    let between = Scene::standing_still(setting).await;
    put_behind_its_back(&between, &manifest("bot", "bob", &[SEND])).await;
    let scene = Scene::with(between.stop().await).await;
    scene.disk.jam("bot");
    scene.idle().await;
    assert!(scene.broker.agent_list.handle(&name()).is_none());
    assert_eq!(token(&scene.handle("bot")), None);
    scene.disk.unjam(&scene.broker, "bot");
    scene.idle().await;
    let bobs = scene.broker.agent_list.handle(&name()).unwrap();
    assert_eq!(state(&bobs), AgentState::Active);
    assert_ne!(secret(&bobs), before);
    assert!(!opens(&scene, &before));
    // Once is enough.
    let (after, scene) = (secret(&bobs), scene.restart().await);
    scene.idle().await;
    assert_eq!(secret(&scene.broker.agent_list.handle(&name()).unwrap()), after);
}

#[tokio::test]
async fn a_power_cut_in_the_middle_leaves_nothing_to_the_next_holder() {
    let (scene, alices) = scene().await;
    let before = secret(&alices);
    scene.disk.jam("bot");
    let broker = scene.broker.clone();
    let putting = tokio::spawn(async move {
        let manifest = manifest("bot", "bob", &[SEND]);
        broker.agents.put_agent(manifest, admin()).await.is_ok()
    });
    scene.idle().await;
    // The new manifest is in the database, and the old holder's directory is as it was.
    let cut = scene.after_power_cut().await;
    cut.disk.jam("bot");
    cut.idle().await;
    assert!(
        cut.broker.agent_list.handle(&name()).is_none(),
        "the directory is another's"
    );
    cut.disk.unjam(&cut.broker, "bot");
    cut.idle().await;
    assert_eq!(
        state(&cut.broker.agent_list.handle(&name()).unwrap()),
        AgentState::Active
    );
    assert!(!opens(&cut, &before));
    putting.abort();
}

#[tokio::test]
async fn another_name_of_the_same_account_is_no_other_holder() {
    let (scene, bot) = scene().await;
    let before = secret(&bot);
    for address in [ALICE, "Alice@Example.com"] {
        let named = Manifest {
            account: Some(address.into()),
            ..manifest("bot", "alice", &[SEND])
        };
        put(&scene, named).await;
        scene.idle().await;
        assert!(!bot.is_removed(), "{address}");
        assert_eq!(secret(&bot), before);
        assert!(row(&scene).await.holder.unwrap().contains(address));
    }
    // Its secret opens for the holder as it is named now.
    let scene = scene.restart().await;
    scene.idle().await;
    assert_eq!(secret(&scene.handle("bot")), before);
    // And a reconnect is none either.
    scene.connect("alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(secret(&scene.handle("bot")), before);
}

#[tokio::test]
async fn secrets_of_versions_that_remembered_no_holder_are_taken_over_once() {
    let (scene, bot) = scene().await;
    let before = secret(&bot);
    let binding = |holder| Binding::AgentSecret {
        agent: bot.name(),
        holder,
    };
    let seal = |holder| vault().seal(&binding(holder), before.as_bytes());
    let write = async |scene: &Scene, holder: Option<&str>, sealed| {
        let record = HolderRecord {
            agent: name(),
            holder: holder.map(str::to_owned),
            secret: Some(sealed),
        };
        scene.store.change_holders(vec![record], vec![]).await.unwrap();
    };
    write(&scene, None, seal(None)).await;
    let scene = scene.restart().await;
    scene.idle().await;
    assert_eq!(secret(&scene.handle("bot")), before);
    let alices = row(&scene).await.holder.unwrap();
    assert!(alices.contains("alice"));

    // Who can write the database and has not the key takes no secret along to another holder, by whatever name.
    let bobs = alices.replace("alice", "bob");
    let mut setting = scene.stop().await;
    for holder in [None, Some(bobs.as_str())] {
        let between = Scene::standing_still(setting).await;
        write(&between, holder, seal(Some(&alices))).await;
        put_behind_its_back(&between, &manifest("bot", "bob", &[SEND])).await;
        let scene = Scene::with(between.stop().await).await;
        scene.idle().await;
        assert_eq!(
            state(&scene.broker.agent_list.handle(&name()).unwrap()),
            AgentState::Active
        );
        assert!(!opens(&scene, &before), "{holder:?}");
        setting = scene.stop().await;
    }
}
