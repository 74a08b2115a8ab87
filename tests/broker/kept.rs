//! Agents of before the start whose declaration cannot be read.

use std::path::Path;

use token_broker::{
    broker::{AgentError, AgentState},
    id::AgentName,
    manifest::{ManifestFile, Scan},
    store::Store,
};

use crate::{agents::names, support::*};

fn name(agent: &str) -> AgentName {
    agent.parse().unwrap()
}

/// What the folder holds: bob's agents `files`, and something that cannot be read where `is_partial`.
fn scan(files: &[&str], is_partial: bool) -> Scan {
    let mut scan = Scan::default();
    for agent in files {
        let file = ManifestFile {
            manifest: manifest(agent, "bob", &[SEND]).into(),
            path: Path::new("/agents.d/a.yaml").into(),
        };
        scan.manifests.insert(name(agent), file.into());
    }
    scan.unread = is_partial.then(|| Path::new("/agents.d").into());
    scan
}

/// What is kept of an agent: its name, its holder, and the sealed secret.
type Kept = (AgentName, Option<String>, Option<Vec<u8>>);

async fn rows(scene: &Scene) -> Vec<Kept> {
    scene.broker.holders.settle_holders().await.unwrap();
    let rows = scene.store.load().await.unwrap().holders.into_iter();
    rows.map(|row| {
        let secret = row.secret.map(|secret| secret.as_bytes().to_vec());
        (row.agent, row.holder, secret)
    })
    .collect()
}

async fn started() -> Scene {
    let setting = Setting {
        agent_secrets: true,
        ..Setting::default()
    };
    Scene::with(setting).await
}

#[tokio::test]
async fn an_agent_of_a_file_is_kept_as_long_as_a_file_may_declare_it() {
    let scene = started().await;
    scene.connect("bob", &[SEND]).await;
    scene.broker.agents.apply_scan(&scan(&["a", "b"], false));
    scene.idle().await;
    let before = rows(&scene).await;
    let scene = scene.restart().await;
    let told = scene.broker.agents.apply_scan(&scan(&["a"], true));
    assert!(told[0].starts_with("b: known from before the start"), "{told:?}");
    scene.idle().await;
    let b = scene.handle("b");
    assert_eq!((state(&b), token(&b)), (AgentState::Misconfigured, None));
    assert_eq!(b.snapshot().manifest.owner.as_str(), "bob");
    assert_eq!(rows(&scene).await, before);
    let refused = scene.broker.agents.delete_agent(&name("b"), admin()).await;
    assert!(matches!(refused, Err(AgentError::FromFile { .. })));
    // Another start on the same, and a change elsewhere.
    let scene = scene.restart().await;
    scene.broker.agents.apply_scan(&scan(&["a"], true));
    scene.broker.agents.apply_scan(&scan(&[], true));
    assert_eq!(names(&scene), ["b"]);
    assert!(scene.broker.agents.apply_scan(&scan(&["b"], true)).is_empty());
    scene.idle().await;
    let b = scene.handle("b");
    assert_eq!(state(&b), AgentState::Active);
    let row = |rows: &[Kept]| rows.iter().find(|row| row.0 == name("b")).cloned();
    assert_eq!(row(&rows(&scene).await), row(&before));
    // It was read once: when its file goes, it goes.
    scene.broker.agents.apply_scan(&scan(&[], true));
    assert!(names(&scene).is_empty());
}

#[tokio::test]
async fn when_everything_is_read_who_is_not_declared_goes() {
    let scene = started().await;
    scene.broker.agents.apply_scan(&scan(&["a", "b"], false));
    rows(&scene).await;
    let scene = scene.restart().await;
    scene.broker.agents.apply_scan(&scan(&["a"], true));
    rows(&scene).await;
    let b = scene.handle("b");
    scene.broker.agents.apply_scan(&scan(&["a"], false));
    scene.idle().await;
    assert!(b.is_removed() && names(&scene) == ["a"]);
    assert_eq!(rows(&scene).await.len(), 1);
    let trail = scene.audited("agent.removed").await;
    assert_eq!(trail.len(), 1, "{trail:?}");
}

#[tokio::test]
async fn the_row_of_an_older_version_is_left_until_everything_is_read() {
    let scene = started().await;
    scene.broker.agents.apply_scan(&scan(&["a"], false));
    rows(&scene).await;
    let mut of_before = scene.store.load().await.unwrap().holders;
    of_before[0].holder = None;
    scene.store.change_holders(of_before, vec![]).await.unwrap();
    let scene = scene.restart().await;
    scene.broker.agents.apply_scan(&scan(&[], true));
    assert!(names(&scene).is_empty());
    assert_eq!(scene.broker.agents.spared_agents(), [name("a")]);
    assert_eq!(rows(&scene).await[0].1, None);
    scene.broker.agents.apply_scan(&scan(&[], false));
    assert!(scene.broker.agents.spared_agents().is_empty());
    assert!(rows(&scene).await.is_empty());
}

#[tokio::test]
async fn an_agent_of_the_api_is_kept_when_its_record_cannot_be_used() {
    let scene = started().await;
    scene.connect("alice", &[SEND]).await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    let before = rows(&scene).await;
    let secret = bot.secret().unwrap().expose().to_owned();
    let setting = scene.stop().await;
    let database = rusqlite::Connection::open(setting.dir.path().join("state/broker.db")).unwrap();
    database
        .execute(
            "UPDATE agents SET manifest = replace(manifest, 'alice', 'mallory')",
            [],
        )
        .unwrap();
    drop(database);
    let scene = Scene::with(setting).await;
    scene.broker.agents.apply_scan(&scan(&[], false));
    let bot = scene.handle("bot");
    assert_eq!(state(&bot), AgentState::Misconfigured);
    assert_eq!(bot.snapshot().manifest.owner.as_str(), "alice");
    assert_eq!(rows(&scene).await, before);
    // Put again it is what it was.
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
    assert_eq!(bot.secret().unwrap().expose(), secret);
    assert!(scene.broker.unusable.unusable_records().is_empty());
}

#[tokio::test]
async fn an_agent_that_was_removed_over_the_api_is_nobodys_also_after_a_power_cut() {
    let scene = started().await;
    scene.put("bot", "alice", &[SEND]).await;
    rows(&scene).await;
    // The directory stays, so the row does.
    scene.disk.jam("bot");
    scene
        .broker
        .agents
        .delete_agent(&name("bot"), admin())
        .await
        .unwrap();
    let after = scene.after_power_cut().await;
    assert!(after.broker.agents.undeclared_agents().is_empty());
    after.broker.agents.apply_scan(&scan(&[], true));
    assert!(names(&after).is_empty());
}

#[tokio::test]
async fn an_agent_that_declares_nothing_is_no_longer_kept_once_it_is_read() {
    let scene = started().await;
    let mut nothing = scan(&[], false);
    let file = ManifestFile {
        manifest: manifest("a", "bob", &[]).into(),
        path: Path::new("/agents.d/a.yaml").into(),
    };
    nothing.manifests.insert(name("a"), file.into());
    scene.broker.agents.apply_scan(&nothing);
    let usual = scene.handle("a").snapshot().message.clone();
    rows(&scene).await;
    let scene = scene.restart().await;
    scene.broker.agents.apply_scan(&scan(&[], true));
    assert_ne!(scene.handle("a").snapshot().message, usual);
    assert!(scene.broker.agents.apply_scan(&nothing).is_empty());
    assert_eq!(scene.handle("a").snapshot().message, usual);
}

#[tokio::test]
async fn an_agent_that_was_removed_and_put_again_has_its_holder_in_its_row() {
    // Its rows are settled when the scene says so.
    let scene = Scene::standing_still(Setting::default()).await;
    for _ in 0..2 {
        scene.put("bot", "alice", &[SEND]).await;
        scene.idle().await;
        let rows = rows(&scene).await;
        assert!(rows[0].1.as_ref().unwrap().contains("alice"), "{rows:?}");
        scene
            .broker
            .agents
            .delete_agent(&name("bot"), admin())
            .await
            .unwrap();
    }
}
