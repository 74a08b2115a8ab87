use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::Command,
    time::Duration,
};

use super::{Scene, until};
use crate::{
    broker::AgentState,
    testing::{at, in_memory, is_root, name, small_tmpfs, snapshot, token},
};

#[tokio::test]
async fn a_new_agent_gets_its_directory() {
    let scene = Scene::new();
    let agent = scene.add(snapshot("a").with_token(token("sesame"))).await;
    assert_eq!(agent.delivery_problem(), None);
    assert!(
        scene
            .read("a", "env")
            .starts_with("GOOGLE_OAUTH_ACCESS_TOKEN=sesame\n")
    );
    assert_eq!(scene.read("a", "access_token"), "sesame");
    assert!(scene.read("a", "status.json").contains("\"state\": \"active\""));
    let entries = fs::read_dir(scene.path("a", "")).unwrap();
    let mut entries: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    entries.sort();
    assert_eq!(entries, ["access_token", "broker.sock", "env", "status.json"]);
}

#[tokio::test]
async fn env_means_the_same_to_a_shell() {
    let scene = Scene::new();
    scene
        .add(snapshot("a").with_token(token("ya29.a0-b_c~d+e/f==")))
        .await;
    let script = "set -a; . \"$0\"; exec env";
    let output = Command::new("sh")
        .env_clear()
        .args(["-c", script])
        .arg(scene.path("a", "env"))
        .output()
        .unwrap();
    let seen = String::from_utf8(output.stdout).unwrap();
    for line in scene.read("a", "env").lines() {
        assert!(seen.lines().any(|other| other == line), "{line} not in {seen}");
    }
}

#[tokio::test]
async fn a_renewal_and_a_loss_reach_the_files() {
    let scene = Scene::new();
    let agent = scene.add(snapshot("a").with_token(token("first"))).await;
    scene
        .publish(&agent, snapshot("a").with_token(token("second")))
        .await;
    assert_eq!(scene.read("a", "access_token"), "second");
    scene
        .publish(&agent, snapshot("a").in_state(AgentState::ReconnectRequired))
        .await;
    assert!(!scene.path("a", "access_token").exists());
    assert_eq!(
        scene.read("a", "env"),
        "TOKEN_BROKER_STATE=reconnect_required\nTOKEN_BROKER_ACTION_URL=http://127.0.0.1:8420/fix/a\n"
    );
}

#[tokio::test]
async fn a_clock_that_was_set_is_what_the_file_goes_by() {
    let scene = Scene::new();
    let bot = scene
        .add(snapshot("invoice-bot").with_token(token("ya29.a")))
        .await;
    assert!(
        scene
            .read("invoice-bot", "env")
            .contains("TOKEN_EXPIRES_AT=2024-01-15T10:30:00Z")
    );
    let (answer, _) = scene.get("invoice-bot", "/v1/token").await;
    assert_eq!(answer.status(), 200);
    // The node's clock was a day slow.
    scene.clock.set(at("2024-01-16T09:31:00Z").wall);
    scene.changes.changed(&bot);
    until(|| {
        scene
            .read("invoice-bot", "env")
            .contains("TOKEN_EXPIRES_AT=2024-01-16T10:30:00Z")
    })
    .await;
    for path in ["/v1/token", "/v1/env"] {
        let (_, body) = scene.get("invoice-bot", path).await;
        assert!(body.contains("2024-01-16T10:30:00Z"), "{path}: {body}");
    }
    // No time has passed by that.
    scene.clock.advance(Duration::from_secs(59 * 60 - 1));
    let (_, body) = scene.get("invoice-bot", "/v1/env").await;
    assert!(body.contains("ya29.a"), "{body}");
    scene.clock.advance(Duration::from_secs(1));
    let (_, body) = scene.get("invoice-bot", "/v1/env").await;
    assert!(!body.contains("ya29.a"), "{body}");
}

#[tokio::test]
async fn a_reader_never_sees_anything_but_whole_files() {
    let scene = Scene::new();
    let long = |number: u32| format!("{number:04}").repeat(1200);
    let agent = scene.add(snapshot("a").with_token(token(&long(0)))).await;
    let path = scene.path("a", "env");
    let stop = tokio_util::sync::CancellationToken::new();
    let stopped = stop.clone();
    let reader = std::thread::spawn(move || {
        let mut reads = 0_u32;
        while !stopped.is_cancelled() || reads == 0 {
            let text = fs::read_to_string(&path).unwrap();
            let token = text.strip_prefix("GOOGLE_OAUTH_ACCESS_TOKEN=").unwrap();
            let token = token.lines().next().unwrap();
            assert_eq!(token, token[..4].repeat(1200));
            assert!(text.ends_with("\nTOKEN_BROKER_STATE=active\n"), "{text}");
            reads += 1;
        }
    });
    for number in 1..200 {
        scene
            .publish(&agent, snapshot("a").with_token(token(&long(number))))
            .await;
    }
    stop.cancel();
    reader.join().unwrap();
}

#[tokio::test]
async fn a_removed_agent_leaves_nothing_whatever_it_planted() {
    let scene = Scene::new();
    let agent = scene.add(snapshot("a").with_token(token("sesame"))).await;
    fs::create_dir_all(scene.path("a", "junk/more")).unwrap();
    symlink("/etc", scene.path("a", "junk/etc")).unwrap();
    scene.remove(&agent).await;
    assert_eq!(agent.delivery_problem(), None);
    assert!(!scene.path("a", "").exists());
    let agents = scene.temp.path().join("agents");
    until(|| fs::read_dir(&agents).unwrap().count() == 0).await;
    assert!(Path::new("/etc").is_dir());
}

#[tokio::test]
async fn a_name_can_be_taken_again_at_once() {
    let scene = Scene::new();
    let first = scene.add(snapshot("a").with_token(token("first"))).await;
    first.mark_removed(crate::testing::snapshot("invoice-bot"), false);
    scene.changes.changed(&first);
    let second = scene.add(snapshot("a").with_token(token("second"))).await;
    super::in_time(first.delivered(first.revision())).await;
    assert_eq!(scene.read("a", "access_token"), "second");
    let (_, body) = scene.get("a", "/v1/token").await;
    assert!(body.contains("\"second\""), "{body}");
    assert_eq!(second.delivery_problem(), None);
}

#[tokio::test]
async fn directories_of_agents_that_no_longer_exist_go() {
    let scene = Scene::new();
    scene.add(snapshot("kept")).await;
    let stranger = scene.path("stranger", "");
    fs::create_dir_all(stranger.join("junk")).unwrap();
    fs::write(stranger.join("env"), "GOOGLE_OAUTH_ACCESS_TOKEN=old\n").unwrap();
    fs::create_dir_all(scene.path("added-meanwhile", "")).unwrap();
    scene.add(snapshot("added-meanwhile")).await;
    super::in_time(scene.delivery.remove_strangers(&[name("kept")])).await;
    assert!(!stranger.exists());
    assert!(scene.path("kept", "env").exists());
    assert!(scene.path("added-meanwhile", "env").exists());
}

#[tokio::test]
async fn what_a_killed_process_was_removing_goes_at_the_start() {
    let temp = in_memory();
    let leftover = temp.path().join("agents/.removed-3-0");
    fs::create_dir_all(leftover.join("deep")).unwrap();
    let _scene = Scene::at(temp);
    until(|| !leftover.exists()).await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_that_agents_problem_alone() {
    let scene = Scene::new();
    let Some(mounted) = blocked(&scene, "bad") else {
        return;
    };
    let bad = scene.add(snapshot("bad").with_token(token("t"))).await;
    let good = scene.add(snapshot("good").with_token(token("t"))).await;
    let problem = bad.delivery_problem().unwrap();
    assert!(
        problem.contains("agents/bad/env could not be written: Read-only file system"),
        "{problem}"
    );
    assert_eq!(good.delivery_problem(), None);
    assert!(scene.path("good", "env").exists());
    mounted.remount("rw");
    // Its next try comes after a pause, without anybody asking for it.
    until(|| {
        scene.clock.advance(Duration::from_secs(1));
        bad.delivery_problem().is_none()
    })
    .await;
    assert!(scene.path("bad", "env").exists());
    assert!(scene.socket("bad").exists());
}

/// A read-only file system where an agent's directory is to be.
fn blocked(scene: &Scene, agent: &str) -> Option<crate::testing::Mounted> {
    fs::create_dir_all(scene.path(agent, "")).unwrap();
    let mounted = small_tmpfs(&scene.path(agent, ""), "64k")?;
    mounted.remount("ro");
    Some(mounted)
}

#[tokio::test]
async fn what_cannot_be_removed_is_out_of_the_way_and_holds_nothing_of_ours() {
    let scene = Scene::new();
    let agent = scene.add(snapshot("a")).await;
    fs::create_dir(scene.path("a", "mounted")).unwrap();
    let Some(mounted) = small_tmpfs(&scene.path("a", "mounted"), "64k") else {
        return;
    };
    scene.remove(&agent).await;
    assert_eq!(agent.delivery_problem(), None);
    assert!(!scene.path("a", "").exists());
    let agents = scene.temp.path().join("agents");
    let left = || {
        fs::read_dir(&agents)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .next()
    };
    until(|| {
        let inside = fs::read_dir(left().unwrap()).unwrap();
        let inside: Vec<_> = inside.map(|entry| entry.unwrap().file_name()).collect();
        inside == ["mounted"]
    })
    .await;
    // It goes as soon as it can.
    drop(mounted);
    until(|| {
        scene.clock.advance(Duration::from_secs(60));
        left().is_none()
    })
    .await;
}

#[tokio::test]
async fn another_owner_gets_everything_anew() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let agent = scene.add(snapshot("a").with_token(token("t"))).await;
    let owned = snapshot("a")
        .with_token(token("t"))
        .owned_by(Some(4711), Some(4712));
    scene.publish(&agent, owned).await;
    for (entry, mode) in [("env", 0o440), ("access_token", 0o440), ("broker.sock", 0o660)] {
        let found = fs::symlink_metadata(scene.path("a", entry)).unwrap();
        assert_eq!(
            (found.uid(), found.gid(), found.permissions().mode() & 0o7777),
            (4711, 4712, mode),
            "{entry}"
        );
    }
}

#[tokio::test]
async fn what_the_one_before_had_goes_before_the_next_has_anything() {
    let scene = Scene::new();
    let first = scene.add(snapshot("a").with_token(token("first"))).await;
    fs::create_dir_all(scene.path("a", "junk/more")).unwrap();
    fs::write(scene.path("a", ".env.new"), "first").unwrap();
    let inode = fs::metadata(scene.path("a", "")).unwrap().ino();
    first.mark_removed(snapshot("a"), true);
    scene.changes.changed(&first);
    super::in_time(first.delivered(first.revision())).await;
    assert_eq!(first.delivery_problem(), None);
    assert_eq!(fs::read_dir(scene.path("a", "")).unwrap().count(), 0);
    let second = scene.add(snapshot("a").with_token(token("second"))).await;
    assert_eq!(second.delivery_problem(), None);
    assert_eq!(scene.read("a", "access_token"), "second");
    assert_eq!(
        fs::metadata(scene.path("a", "")).unwrap().ino(),
        inode,
        "a container that has it mounted would have nothing any more"
    );
}

#[tokio::test]
async fn nobody_is_served_in_a_directory_that_could_not_be_cleared() {
    let scene = Scene::new();
    let first = scene.add(snapshot("a").with_token(token("first"))).await;
    fs::create_dir(scene.path("a", "mounted")).unwrap();
    let Some(mounted) = small_tmpfs(&scene.path("a", "mounted"), "64k") else {
        return;
    };
    first.mark_removed(snapshot("a"), true);
    scene.changes.changed(&first);
    let second = scene.add(snapshot("a").with_token(token("second"))).await;
    super::in_time(first.delivered(first.revision())).await;
    for agent in [&first, &second] {
        let problem = agent.delivery_problem().unwrap();
        assert!(problem.contains("unmount what is mounted inside it"), "{problem}");
    }
    assert!(!scene.path("a", "env").exists() && !scene.socket("a").exists());
    drop(mounted);
    until(|| {
        scene.clock.advance(Duration::from_secs(1));
        second.delivery_problem().is_none()
    })
    .await;
    until(|| first.delivery_problem().is_none()).await;
    assert_eq!(scene.read("a", "access_token"), "second");
}
