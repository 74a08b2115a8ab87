//! Agents come over the API, change and go.

use token_broker::{
    broker::{AgentError, AgentState, OwnersCaller},
    manifest::Manifest,
    store::Store,
};

use crate::support::*;

pub(crate) fn names(scene: &Scene) -> Vec<String> {
    scene
        .broker
        .agent_list
        .handles()
        .iter()
        .map(|handle| handle.name().to_string())
        .collect()
}

#[tokio::test]
async fn whoever_puts_an_agent_is_answered_when_its_directory_holds_what_it_declares() {
    let scene = Scene::with(Setting {
        agent_secrets: true,
        ..Setting::default()
    })
    .await;
    scene.connect("alice", &[SEND]).await;
    for (declared, why) in [(&[SEND][..], "new"), (&[SEND, READ], "changed")] {
        scene.disk.jam("bot");
        let put = scene
            .broker
            .agents
            .put_agent(manifest("bot", "alice", declared), admin());
        tokio::pin!(put);
        tokio::select! {
            _ = &mut put => panic!("{why}: answered before its directory was written"),
            () = scene.idle() => {}
        }
        scene.disk.unjam(&scene.broker, "bot");
        put.await.map_err(|error| error.to_string()).unwrap();
        let bot = scene.handle("bot");
        assert!(scene.disk.has_directory("bot") && bot.secret().is_some(), "{why}");
    }
}

#[tokio::test]
async fn another_owner_means_another_account() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND]).await;
    scene.connect("carol", &[SEND]).await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    let of_alice = token(&bot).unwrap();
    scene.google.hold(&email("carol"));
    let before = bot;
    let bot = scene.put("bot", "carol", &[SEND]).await;
    assert_eq!(token(&bot), None, "it keeps another's token");
    assert!(before.is_removed() && token(&before).is_none());
    assert_eq!(bot.snapshot().main().account.as_deref(), Some(&*email("carol")));
    scene.idle().await;
    assert_eq!(scene.disk.token("bot"), None);
    scene.google.let_go(&email("carol"));
    scene.idle().await;
    assert_ne!(token(&bot).unwrap(), of_alice);
    assert_eq!(
        scene.broker.renewals_waiting(),
        1,
        "the old token is not renewed for nobody"
    );
    let bot = scene.put("bot", "nobody", &[SEND]).await;
    assert_eq!((state(&bot), token(&bot)), (AgentState::NotConnected, None));
    assert_eq!(scene.broker.renewals_waiting(), 0);
}

#[tokio::test]
async fn a_change_of_uid_is_delivered_and_costs_no_request() {
    let (scene, bot) = Scene::of_alice().await;
    let before = token(&bot);
    let changed = Manifest {
        uid: Some(1000),
        ..manifest("bot", "alice", &[SEND])
    };
    scene
        .broker
        .agents
        .put_agent(changed, admin())
        .await
        .map_err(|error| error.to_string())
        .unwrap();
    scene.idle().await;
    let bot = scene.handle("bot");
    assert_eq!(bot.snapshot().manifest.uid, Some(1000));
    assert_eq!(scene.disk.token("bot"), before);
    assert_eq!((token(&bot), scene.google.requests()), (before, 1));
}

#[tokio::test]
async fn changing_an_agent_does_not_get_round_the_back_off() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND]).await;
    scene.google.fail(ALICE, Fault::unavailable().retry_after(HOUR));
    scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    for uid in 0..10 {
        let changed = Manifest {
            uid: Some(uid),
            ..manifest("bot", "alice", &[SEND])
        };
        scene
            .broker
            .agents
            .put_agent(changed, admin())
            .await
            .map_err(|error| error.to_string())
            .unwrap();
        scene.idle().await;
    }
    assert_eq!(scene.google.requests(), 1);
}

#[tokio::test]
async fn an_agent_with_an_unknown_capability_is_refused_and_not_stored() {
    let scene = Scene::new().await;
    let error = scene
        .broker
        .agents
        .put_agent(manifest("bot", "alice", &["google.gmail.sned"]), admin())
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("google.gmail.send"), "{error}");
    assert!(names(&scene).is_empty());
    assert!(scene.store.load().await.unwrap().agents.is_empty());
}

#[tokio::test]
async fn what_the_database_did_not_take_is_not_there() {
    let scene = Scene::new().await;
    scene.store.fail(Part::Agents);
    let error = scene
        .broker
        .agents
        .put_agent(manifest("bot", "alice", &[SEND]), admin())
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("disk is full"), "{error}");
    assert!(names(&scene).is_empty());
    scene.store.heal();
    scene.put("bot", "alice", &[SEND]).await;

    // A removal that would not last is said, and not begun.
    let bot = scene.handle("bot");
    scene.idle().await;
    scene.store.fail(Part::Agents);
    assert!(
        scene
            .broker
            .agents
            .delete_agent(&"bot".parse().unwrap(), admin())
            .await
            .is_err()
    );
    assert_eq!(names(&scene), ["bot"]);
    assert!(!bot.is_removed());
    let trail = scene.audited("agent.removed").await;
    assert!(
        trail.len() == 1 && trail[0].starts_with("admin:uid=0 failed: agent bot: nothing was removed"),
        "{trail:?}"
    );
    scene.store.heal();
    scene
        .broker
        .agents
        .delete_agent(&"bot".parse().unwrap(), admin())
        .await
        .unwrap();
    assert!(
        scene
            .broker
            .agents
            .delete_agent(&"bot".parse().unwrap(), admin())
            .await
            .is_err()
    );
    assert!(names(&scene.restart().await).is_empty());
}

#[tokio::test]
async fn a_caller_who_leaves_leaves_memory_and_database_in_step() {
    let scene = Scene::new().await;
    scene.store.hold_agents(true);
    let broker = scene.broker.clone();
    let putting = tokio::spawn(async move {
        broker
            .agents
            .put_agent(manifest("bot", "alice", &[SEND]), admin())
            .await
            .is_ok()
    });
    scene.idle().await;
    putting.abort();
    scene.idle().await;
    scene.store.hold_agents(false);
    scene.idle().await;
    assert_eq!(
        names(&scene).len(),
        scene.store.load().await.unwrap().agents.len()
    );

    scene.store.hold_agents(true);
    let broker = scene.broker.clone();
    let deleting = tokio::spawn(async move {
        broker
            .agents
            .delete_agent(&"bot".parse().unwrap(), admin())
            .await
            .is_ok()
    });
    scene.idle().await;
    deleting.abort();
    scene.idle().await;
    scene.store.hold_agents(false);
    scene.idle().await;
    assert_eq!(
        (
            names(&scene).len(),
            scene.store.load().await.unwrap().agents.len()
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn putting_and_deleting_at_once_leave_memory_and_database_in_step() {
    let scene = Scene::new().await;
    for _ in 0..30 {
        let (put, delete) = (scene.broker.clone(), scene.broker.clone());
        let put = tokio::spawn(async move {
            put.agents
                .put_agent(manifest("bot", "alice", &[SEND]), admin())
                .await
                .is_ok()
        });
        let delete = tokio::spawn(async move {
            delete
                .agents
                .delete_agent(&"bot".parse().unwrap(), admin())
                .await
                .is_ok()
        });
        let _ = (put.await, delete.await);
        scene.idle().await;
        assert_eq!(
            names(&scene).len(),
            scene.store.load().await.unwrap().agents.len()
        );
    }
}

#[tokio::test]
async fn memory_of_what_came_and_went_is_given_back() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND, CALENDAR]).await;
    for number in 0..100 {
        let name = format!("bot-{number}");
        let wanted: &[&str] = if number % 2 == 0 {
            &[SEND]
        } else {
            &[SEND, CALENDAR]
        };
        scene.put(&name, "alice", wanted).await;
        scene.idle().await;
        scene
            .broker
            .agents
            .delete_agent(&name.parse().unwrap(), admin())
            .await
            .unwrap();
    }
    assert_eq!(scene.broker.renewals_waiting(), 0);
    assert_eq!(
        scene.google.requests(),
        2,
        "each token was used again by the next agent"
    );
    let states = scene.broker.agent_list.agents_by_state();
    assert!(states.iter().all(|(_, count)| *count == 0), "{states:?}");
}

#[tokio::test]
async fn a_manifest_that_no_file_could_hold_is_refused_over_the_api_too() {
    let scene = Scene::new().await;
    let mut strange = manifest("bot", "alice", &[SEND]);
    strange.account = Some("not an address".into());
    for (manifest, field) in [
        (manifest("bot", "alice", &[SEND, SEND]), "integrations[1].key"),
        (strange, "account"),
    ] {
        let error = scene
            .broker
            .agents
            .put_agent(manifest, admin())
            .await
            .err()
            .unwrap();
        assert!(error.to_string().starts_with(field), "{error}");
    }
    assert!(scene.broker.agent_list.handles().is_empty());
}

#[tokio::test]
async fn an_event_is_the_business_of_whom_it_was_about_however_late_it_is_read() {
    let scene = Scene::new().await;
    let mut events = scene.broker.events();
    scene.connect("alice", &[SEND]).await;
    scene.connect("bob", &[SEND]).await;
    scene.put("bot", "bob", &[SEND]).await;
    scene.idle().await;
    let name = "bot".parse().unwrap();
    scene.broker.agents.delete_agent(&name, admin()).await.unwrap();
    scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    let (mut of_alice, mut of_bob) = (Vec::new(), Vec::new());
    while let Ok(event) = events.try_recv() {
        let concerned: Vec<bool> = ["alice", "bob"]
            .map(|name| event.concerns(Some(&owner(name))))
            .into();
        assert_eq!(
            concerned.iter().filter(|concerned| **concerned).count(),
            1,
            "{event:?}"
        );
        assert!(event.concerns(None));
        if concerned[0] { &mut of_alice } else { &mut of_bob }.push(event.kind.as_str());
    }
    let count = |events: &[&str], kind| events.iter().filter(|one| **one == kind).count();
    for of in [&of_alice, &of_bob] {
        for kind in ["integration.connected", "agent.put", "token.renewed"] {
            assert_eq!(count(of, kind), 1, "{kind} in {of:?}");
        }
    }
    assert_eq!(count(&of_alice, "agent.removed"), 0);
    assert_eq!(count(&of_bob, "agent.removed"), 1);
}

#[tokio::test]
async fn who_acts_for_one_owner_adds_no_agent_beyond_a_number() {
    let scene = Scene::new().await;
    let put = |agent: &str, within: bool| {
        let caller = within.then(|| OwnersCaller {
            owner: owner("alice"),
            most_agents: 2,
        });
        scene
            .broker
            .agents
            .put_agent_within(caller, manifest(agent, "alice", &[SEND]), admin())
    };
    scene.put("of-another", "bob", &[SEND]).await;
    for agent in ["one", "two"] {
        assert!(put(agent, true).await.is_ok(), "{agent}");
    }
    let refused = put("three", true).await.err().unwrap();
    assert!(matches!(refused, AgentError::TooMany(_)), "{refused}");
    let said = refused.to_string();
    assert!(
        said.contains("alice has 2 agents") && said.contains("admin.agents_per_owner"),
        "{said}"
    );
    // What is there is changed, the operator adds what they like, and room is room again.
    assert!(put("two", true).await.is_ok());
    assert!(put("three", false).await.is_ok());
    assert!(put("four", true).await.is_err());
    for agent in ["two", "three"] {
        let name = agent.parse().unwrap();
        assert!(scene.broker.agents.delete_agent(&name, admin()).await.is_ok());
    }
    assert!(put("four", true).await.is_ok());
}
