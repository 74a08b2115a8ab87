//! What the daemon made may vanish, or be changed by somebody else.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    time::Duration,
};

use super::Scene;
use crate::{
    delivery::rounds::ROUND,
    testing::{in_memory, is_root, small_tmpfs, snapshot, token},
};

const FILES: [&str; 3] = ["env", "access_token", "status.json"];

impl Scene {
    /// Lets a round pass, and waits until `condition` holds. An agent that was being worked on has its turn in the next.
    async fn within_a_round(&self, condition: impl Fn() -> bool) {
        for _ in 0..30 {
            self.clock.advance(ROUND);
            let holds = super::until(&condition);
            if tokio::time::timeout(Duration::from_secs(1), holds).await.is_ok() {
                return;
            }
        }
        panic!("it is not made again");
    }

    fn is_whole(&self, agent: &str) -> bool {
        let has_token =
            fs::read_to_string(self.path(agent, "access_token")).is_ok_and(|token| token == "sesame");
        has_token
            && FILES.iter().all(|file| self.path(agent, file).is_file())
            && std::os::unix::net::UnixStream::connect(self.socket(agent)).is_ok()
    }
}

#[tokio::test]
async fn each_entry_that_is_gone_or_changed_is_made_again() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    let good: Vec<_> = FILES.iter().map(|file| scene.read("a", file)).collect();
    let is_good = || {
        FILES
            .iter()
            .zip(&good)
            .all(|(file, good)| fs::read_to_string(scene.path("a", file)).is_ok_and(|text| text == *good))
    };
    for file in FILES {
        let path = scene.path("a", file);
        let before = fs::metadata(&path).unwrap();
        fs::remove_file(&path).unwrap();
        scene.within_a_round(is_good).await;
        // Emptied, written over with the same length and its time set back, replaced, and opened to everybody.
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, "").unwrap();
        scene.within_a_round(is_good).await;
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, text.replace(['e', 'a'], "x")).unwrap();
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(modified)
            .unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(before.mode())).unwrap();
        scene.within_a_round(is_good).await;
        fs::remove_file(&path).unwrap();
        symlink("/etc/hostname", &path).unwrap();
        scene.within_a_round(is_good).await;
        fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        let is_closed = || is_good() && fs::metadata(&path).unwrap().mode() & 0o7777 == 0o400;
        scene.within_a_round(is_closed).await;
    }
    fs::write(scene.path("a", "adc.json"), "planted where nothing is to be").unwrap();
    scene
        .within_a_round(|| !scene.path("a", "adc.json").exists())
        .await;
}

#[tokio::test]
async fn a_socket_that_is_gone_is_made_again_and_connections_stay() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    let io = hyper_util::rt::TokioIo::new(scene.connect("a").await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let ask = || {
        let request = http::Request::get("/v1/env").header("host", "broker");
        request
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap()
    };
    assert!(sender.send_request(ask()).await.unwrap().status().is_success());
    for other in [None, Some("planted")] {
        fs::remove_file(scene.socket("a")).unwrap();
        if let Some(text) = other {
            fs::write(scene.socket("a"), text).unwrap();
        }
        scene.within_a_round(|| scene.is_whole("a")).await;
    }
    sender.ready().await.unwrap();
    assert!(sender.send_request(ask()).await.unwrap().status().is_success());
}

#[tokio::test]
async fn a_directory_that_is_gone_closed_or_mounted_over_is_made_again() {
    let scene = Scene::new();
    let agent = scene.add(snapshot("a").with_token(token("sesame"))).await;
    scene.add(snapshot("b").with_token(token("sesame"))).await;
    fs::remove_dir_all(scene.path("a", "")).unwrap();
    scene.within_a_round(|| scene.is_whole("a")).await;
    fs::set_permissions(scene.path("a", ""), PermissionsExt::from_mode(0o700)).unwrap();
    let mode = || fs::metadata(scene.path("a", "")).unwrap().mode() & 0o7777;
    scene.within_a_round(|| mode() == 0o755).await;
    fs::remove_dir_all(scene.path("a", "")).unwrap();
    fs::write(scene.path("a", ""), "a file").unwrap_err();
    fs::write(scene.temp.path().join("agents/a"), "a file").unwrap();
    scene.within_a_round(|| scene.is_whole("a")).await;
    if is_root() {
        std::os::unix::fs::chown(scene.path("a", ""), Some(4711), Some(4711)).unwrap();
        let uid = || fs::metadata(scene.path("a", "")).unwrap().uid();
        scene.within_a_round(|| uid() == 0).await;
    }
    if let Some(_mounted) = small_tmpfs(&scene.path("a", ""), "64k") {
        assert!(!scene.is_whole("a"));
        scene.within_a_round(|| scene.is_whole("a")).await;
    }
    scene
        .within_a_round(|| scene.is_whole("a") && scene.is_whole("b"))
        .await;
    assert_eq!(agent.delivery_problem(), None);
}

#[tokio::test]
async fn the_whole_folder_comes_back_and_what_was_moved_away_keeps_no_token() {
    let temp = in_memory();
    fs::create_dir(temp.path().join("run")).unwrap();
    let scene = Scene::in_folder(temp, "run");
    for agent in ["a", "b"] {
        scene.add(snapshot(agent).with_token(token("sesame"))).await;
    }
    let both = || scene.is_whole("a") && scene.is_whole("b");
    let run = scene.temp.path().join("run");
    fs::remove_dir_all(&run).unwrap();
    scene.within_a_round(both).await;
    let aside = scene.temp.path().join("aside");
    fs::rename(&run, &aside).unwrap();
    scene.within_a_round(both).await;
    assert_eq!(fs::read_dir(aside.join("agents/a")).unwrap().count(), 0);
    if let Some(mounted) = small_tmpfs(&run, "1m") {
        scene.within_a_round(both).await;
        drop(mounted);
        scene.within_a_round(both).await;
    }
    fs::set_permissions(run.join("agents"), PermissionsExt::from_mode(0o777)).unwrap();
    scene
        .within_a_round(|| fs::metadata(run.join("agents")).unwrap().mode() & 0o7777 == 0o711)
        .await;
    assert!(scene.readiness.is_ready());
}

#[tokio::test]
async fn where_there_can_be_no_folder_the_daemon_is_not_ready_and_says_why() {
    let temp = in_memory();
    fs::create_dir(temp.path().join("run")).unwrap();
    let scene = Scene::in_folder(temp, "run");
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    let run = scene.temp.path().join("run");
    fs::remove_dir_all(&run).unwrap();
    fs::write(&run, "a file").unwrap();
    scene.within_a_round(|| !scene.readiness.is_ready()).await;
    let unmet = scene.readiness.unmet();
    assert_eq!(unmet[0].condition, "runtime_dir");
    assert!(unmet[0].sentence.contains(run.to_str().unwrap()), "{unmet:?}");
    fs::remove_file(&run).unwrap();
    scene
        .within_a_round(|| {
            // What an agent's own retry waits for.
            scene.clock.advance(Duration::from_secs(1));
            scene.readiness.is_ready() && scene.is_whole("a")
        })
        .await;
}

#[tokio::test]
async fn nothing_is_written_where_nothing_changed() {
    let scene = Scene::new();
    let agent = scene.add(snapshot("a").with_token(token("sesame"))).await;
    let nodes = || {
        ["env", "access_token", "status.json", "broker.sock"]
            .map(|file| fs::metadata(scene.path("a", file)).unwrap().ino())
    };
    let (before, revision) = (nodes(), agent.revision());
    // A later agent's round tells that the first one's is over.
    for round in 0..3 {
        let other = format!("other-{round}");
        scene.add(snapshot(&other).with_token(token("sesame"))).await;
        fs::remove_file(scene.path(&other, "env")).unwrap();
        scene.within_a_round(|| scene.is_whole(&other)).await;
    }
    assert_eq!((nodes(), agent.revision()), (before, revision));
}

#[tokio::test]
async fn where_no_file_can_be_written_the_daemon_is_not_ready_until_it_can() {
    let temp = in_memory();
    fs::create_dir(temp.path().join("run")).unwrap();
    let run = temp.path().join("run");
    let Some(mounted) = small_tmpfs(&run, "256k") else {
        return;
    };
    let scene = Scene::in_folder(temp, "run");
    let agent = scene.add(snapshot("a").with_token(token("sesame"))).await;
    let is_not_ready = |words: &str| {
        let unmet = scene.readiness.unmet();
        unmet.iter().any(|unmet| {
            let sentence = &unmet.sentence;
            unmet.condition == "runtime_dir"
                && sentence.starts_with(run.join("agents").to_str().unwrap())
                && sentence.contains(words)
        })
    };
    mounted.remount("ro");
    scene
        .within_a_round(|| is_not_ready("mount the runtime directory for writing"))
        .await;
    mounted.remount("rw");
    scene.within_a_round(|| scene.readiness.is_ready()).await;
    let filling = run.join("filling");
    let fill = || {
        let mut file = fs::File::create(&filling).unwrap();
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    };
    fill();
    // Whoever cannot be written for says so at once.
    scene
        .publish(&agent, snapshot("a").with_token(token("another")))
        .await;
    assert!(is_not_ready("make room"), "{:?}", scene.readiness.unmet());
    fs::remove_file(&filling).unwrap();
    scene.within_a_round(|| scene.readiness.is_ready()).await;
    fill();
    scene.within_a_round(|| is_not_ready("make room")).await;
    fs::remove_file(&filling).unwrap();
    scene.within_a_round(|| scene.readiness.is_ready()).await;
    drop(scene);
}

#[tokio::test]
async fn what_an_agent_makes_of_its_own_directory_is_no_condition() {
    let scene = Scene::new();
    let agent = scene.add(snapshot("a").with_token(token("sesame"))).await;
    let Some(mounted) = small_tmpfs(&scene.path("a", ""), "64k") else {
        return;
    };
    mounted.remount("ro");
    scene.within_a_round(|| agent.delivery_problem().is_some()).await;
    assert!(scene.readiness.is_ready(), "{:?}", scene.readiness.unmet());
    drop(mounted);
    scene
        .within_a_round(|| {
            scene.clock.advance(Duration::from_secs(1));
            agent.delivery_problem().is_none()
        })
        .await;
}
