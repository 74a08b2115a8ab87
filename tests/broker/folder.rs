//! Agents that come from files, and how they get along with those of the API.

use std::{path::PathBuf, sync::Arc};

use token_broker::{
    broker::{AgentError, AgentSource, AgentState},
    manifest::{Manifest, ManifestFile, ManifestProblem, Scan},
    store::Store,
};

use crate::{agents::names, support::*};

fn folder(manifests: &[Manifest]) -> Scan {
    let mut scan = Scan::default();
    for manifest in manifests {
        let file = ManifestFile {
            manifest: Arc::new(manifest.clone()),
            path: PathBuf::from(format!("/etc/token-broker/agents.d/{}.yaml", manifest.agent)).into(),
        };
        scan.manifests.insert(manifest.agent.clone(), Arc::new(file));
    }
    scan
}

#[tokio::test]
async fn the_folder_is_followed() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND, CALENDAR]).await;
    assert!(
        scene
            .broker
            .agents
            .apply_scan(&folder(&[
                manifest("a", "alice", &[SEND]),
                manifest("b", "alice", &[SEND])
            ]))
            .is_empty()
    );
    scene.idle().await;
    assert_eq!(names(&scene), ["a", "b"]);
    let (a, b) = (scene.handle("a"), scene.handle("b"));
    assert_eq!((state(&a), state(&b)), (AgentState::Active, AgentState::Active));
    assert_eq!(scene.google.requests(), 1);

    // One changes what it needs, one goes, one comes.
    scene.broker.agents.apply_scan(&folder(&[
        manifest("a", "alice", &[CALENDAR]),
        manifest("c", "alice", &[SEND]),
    ]));
    assert!(b.is_removed() && token(&b).is_none());
    assert_eq!(token(&a), None, "it has what it no longer declares");
    scene.idle().await;
    assert_eq!(names(&scene), ["a", "c"]);
    assert!(!scene.disk.has_directory("b"));
    assert_eq!(
        a.snapshot().main().token.as_ref().unwrap().scopes,
        scopes(&[CALENDAR])
    );
    assert!(Arc::ptr_eq(&a, &scene.handle("a")), "a change is not a new agent");
    assert_eq!(scene.google.requests(), 2, "what lives is used again");

    let trail: Vec<_> = scene
        .audit()
        .await
        .into_iter()
        .filter(|line| line.action.starts_with("agent."))
        .collect();
    let trail: Vec<_> = trail
        .iter()
        .map(|line| format!("{} {} {}", line.actor, line.action, line.detail))
        .collect();
    assert_eq!(
        trail,
        [
            "daemon agent.put agent a",
            "daemon agent.put agent b",
            "daemon agent.removed agent b",
            "daemon agent.put agent a",
            "daemon agent.put agent c",
        ]
    );
}

#[tokio::test]
async fn an_unchanged_folder_changes_nothing() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND]).await;
    let scan = folder(&[manifest("a", "alice", &[SEND])]);
    scene.broker.agents.apply_scan(&scan);
    scene.idle().await;
    let (handle, lines) = (scene.handle("a"), scene.audit().await.len());
    let revision = handle.revision();
    for _ in 0..100 {
        scene.broker.agents.apply_scan(&scan);
    }
    scene.idle().await;
    assert_eq!((handle.revision(), scene.audit().await.len()), (revision, lines));
    assert_eq!(scene.google.requests(), 1);
}

#[tokio::test]
async fn a_file_that_was_renamed_is_the_same_agent() {
    let scene = Scene::new().await;
    let mut scan = folder(&[manifest("a", "alice", &[SEND])]);
    scene.broker.agents.apply_scan(&scan);
    let file = ManifestFile {
        manifest: Arc::new(manifest("a", "alice", &[SEND])),
        path: PathBuf::from("/elsewhere.yaml").into(),
    };
    scan.manifests.insert("a".parse().unwrap(), Arc::new(file));
    scene.broker.agents.apply_scan(&scan);
    let view = scene.broker.agent_list.agent(&"a".parse().unwrap()).unwrap();
    assert_eq!(
        view.source,
        AgentSource::File(PathBuf::from("/elsewhere.yaml").into())
    );
}

#[tokio::test]
async fn files_and_api_do_not_take_each_others_agents() {
    let scene = Scene::new().await;
    scene
        .broker
        .agents
        .apply_scan(&folder(&[manifest("of-file", "alice", &[SEND])]));
    scene.put("of-api", "alice", &[SEND]).await;

    let taken = scene
        .broker
        .agents
        .put_agent(manifest("of-file", "mallory", &[SEND]), admin())
        .await
        .err()
        .unwrap();
    assert!(matches!(&taken, AgentError::FromFile { .. }), "{taken}");
    assert!(
        taken
            .to_string()
            .contains("/etc/token-broker/agents.d/of-file.yaml"),
        "{taken}"
    );
    assert!(
        scene
            .broker
            .agents
            .delete_agent(&"of-file".parse().unwrap(), admin())
            .await
            .is_err()
    );
    assert_eq!(scene.handle("of-file").snapshot().manifest.owner, owner("alice"));

    let both = folder(&[
        manifest("of-file", "alice", &[SEND]),
        manifest("of-api", "mallory", &[SEND]),
    ]);
    let problems = scene.broker.agents.apply_scan(&both);
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].contains("of-api.yaml") && problems[0].contains("over the API"),
        "{problems:?}"
    );
    assert_eq!(scene.broker.agents.manifest_problems(), problems);
    assert_eq!(scene.handle("of-api").snapshot().manifest.owner, owner("alice"));

    // Once the API's is gone, the file's may come.
    scene
        .broker
        .agents
        .delete_agent(&"of-api".parse().unwrap(), admin())
        .await
        .unwrap();
    assert!(
        scene.broker.agents.manifest_problems().is_empty(),
        "nobody has to touch the file"
    );
    assert_eq!(scene.handle("of-api").snapshot().manifest.owner, owner("mallory"));
    assert!(scene.broker.agents.apply_scan(&both).is_empty());
    assert_eq!(scene.handle("of-api").snapshot().manifest.owner, owner("mallory"));
    assert!(scene.broker.agents.manifest_problems().is_empty());
}

#[tokio::test]
async fn a_file_that_came_while_the_api_was_storing_wins() {
    let scene = Scene::new().await;
    scene.store.hold_agents(true);
    let broker = scene.broker.clone();
    let putting = tokio::spawn(async move {
        broker
            .agents
            .put_agent(manifest("bot", "mallory", &[SEND]), admin())
            .await
            .is_ok()
    });
    scene.idle().await;
    scene
        .broker
        .agents
        .apply_scan(&folder(&[manifest("bot", "alice", &[SEND])]));
    scene.store.hold_agents(false);
    assert!(!putting.await.unwrap());
    assert_eq!(scene.handle("bot").snapshot().manifest.owner, owner("alice"));
    assert!(scene.store.load().await.unwrap().agents.is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_is_told_with_its_file() {
    let scene = Scene::new().await;
    let mut scan = folder(&[]);
    scan.problems.push(ManifestProblem {
        path: "bad.yaml".into(),
        message: "bad.yaml:3: no such field".into(),
    });
    let problems = scene.broker.agents.apply_scan(&scan);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("bad.yaml"), "{problems:?}");
}
