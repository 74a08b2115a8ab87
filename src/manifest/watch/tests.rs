//! The watched folder on a real file system. Every wait is for a condition; the limit is a safety net.

use std::os::unix::fs::symlink;

use tokio::{task::JoinHandle, time::timeout};

use super::*;
use crate::capability::Catalog;

const SAFETY_NET: Duration = Duration::from_secs(60);

struct Scene {
    dir: tempfile::TempDir,
    scans: mpsc::Receiver<Scan>,
    received: usize,
    rescan: Arc<Notify>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Scene {
    fn start() -> Self {
        Self::start_with(true, |session| session)
    }

    fn start_with(create: bool, adjust: impl FnOnce(Session) -> Session) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agents.d");
        if create {
            fs::create_dir(&path).unwrap();
        }
        let session = Session::new(Folder::new(path, Arc::new(Catalog::builtin())), inotify);
        let (sender, scans) = mpsc::channel(1);
        let (rescan, shutdown) = (Arc::new(Notify::new()), CancellationToken::new());
        let task = tokio::spawn(run(
            adjust(session),
            sender,
            Arc::clone(&rescan),
            shutdown.clone(),
        ));
        Self {
            dir,
            scans,
            received: 0,
            rescan,
            shutdown,
            task,
        }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("agents.d")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    async fn next(&mut self) -> Scan {
        self.received += 1;
        timeout(SAFETY_NET, self.scans.recv())
            .await
            .expect("a scan in time")
            .expect("a watcher")
    }

    /// Receives until exactly these `agent=owner` are in force.
    async fn until(&mut self, expected: &[&str]) -> Scan {
        loop {
            let scan = self.next().await;
            if shown(&scan) == expected {
                return scan;
            }
        }
    }
}

fn yaml(agent: &str, owner: &str) -> String {
    format!("agent: {agent}\nowner: {owner}\n")
}

fn shown(scan: &Scan) -> Vec<String> {
    let pairs = scan.manifests.iter();
    pairs
        .map(|(agent, file)| format!("{agent}={}", file.manifest.owner))
        .collect()
}

#[tokio::test]
async fn what_is_added_changed_and_removed_is_applied() {
    let mut scene = Scene::start();
    scene.until(&[]).await;
    scene.write("a.yaml", &yaml("a", "alice"));
    scene.until(&["a=alice"]).await;
    scene.write("a.yaml", &yaml("a", "carol"));
    scene.until(&["a=carol"]).await;
    scene.write(".b.tmp", &yaml("a", "bobby"));
    fs::rename(scene.path(".b.tmp"), scene.path("a.yaml")).unwrap();
    scene.until(&["a=bobby"]).await;
    fs::rename(scene.path("a.yaml"), scene.path("z.yaml")).unwrap();
    while *scene.until(&["a=bobby"]).await.manifests[&"a".parse().unwrap()].path != scene.path("z.yaml") {}
    fs::remove_file(scene.path("z.yaml")).unwrap();
    scene.until(&[]).await;
}

#[tokio::test]
async fn a_half_written_file_takes_nothing_away() {
    let mut scene = Scene::start();
    scene.write("a.yaml", &yaml("a", "alice"));
    scene.until(&["a=alice"]).await;
    scene.write("a.yaml", "agent: a\n");
    let half = scene.next().await;
    assert_eq!(shown(&half), ["a=alice"]);
    assert_eq!(half.problems.len(), 1);
    scene.write("a.yaml", &yaml("a", "carol"));
    assert_eq!(scene.until(&["a=carol"]).await.problems, []);
}

#[tokio::test]
async fn two_files_for_one_agent_are_a_problem_until_one_goes() {
    let mut scene = Scene::start();
    scene.write("m.yaml", &yaml("x", "alice"));
    scene.until(&["x=alice"]).await;
    scene.write("a.yaml", &yaml("x", "mallory"));
    let scan = scene.next().await;
    assert_eq!(
        (shown(&scan), scan.problems.len()),
        (vec!["x=alice".to_owned()], 1)
    );
    fs::remove_file(scene.path("m.yaml")).unwrap();
    assert_eq!(scene.until(&["x=mallory"]).await.problems, []);
}

#[tokio::test]
async fn a_storm_ends_in_the_right_state_with_few_scans() {
    let mut scene = Scene::start();
    scene.until(&[]).await;
    let started = Instant::now();
    for round in 0..10 {
        for agent in 0..50 {
            scene.write(
                &format!("{agent:02}.yaml"),
                &yaml(&format!("a{agent:02}"), &format!("o{round}")),
            );
        }
    }
    fs::remove_file(scene.path("00.yaml")).unwrap();
    let expected: Vec<_> = (1..50).map(|agent| format!("a{agent:02}=o9")).collect();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    scene.until(&expected).await;
    // At most one for each time that it was quiet, however long the storm took.
    let bound = 2 + started.elapsed().as_millis() / QUIET.as_millis();
    assert!(scene.received as u128 <= bound, "{} scans", scene.received);
}

#[tokio::test]
async fn a_storm_without_pause_is_still_seen_within_patience() {
    let mut scene = Scene::start();
    scene.until(&[]).await;
    let stop = CancellationToken::new();
    let (path, stopped) = (scene.path("noise.txt"), stop.clone());
    let storm = task::spawn_blocking(move || {
        while !stopped.is_cancelled() {
            fs::write(&path, "x").unwrap();
        }
    });
    scene.write("a.yaml", &yaml("a", "alice"));
    scene.until(&["a=alice"]).await;
    assert!(!storm.is_finished());
    stop.cancel();
    storm.await.unwrap();
}

#[tokio::test]
async fn a_folder_that_comes_later_is_seen() {
    let mut scene = Scene::start_with(false, |session| Session {
        poll: SAFETY_NET * 2,
        ..session
    });
    scene.until(&[]).await;
    fs::create_dir(scene.folder()).unwrap();
    scene.write("a.yaml", &yaml("a", "alice"));
    scene.until(&["a=alice"]).await;
    scene.write("b.yaml", &yaml("b", "bob"));
    scene.until(&["a=alice", "b=bob"]).await;
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_watched_anew() {
    let mut scene = Scene::start_with(true, |session| Session {
        poll: SAFETY_NET * 2,
        ..session
    });
    scene.write("a.yaml", &yaml("a", "alice"));
    scene.until(&["a=alice"]).await;
    let next = scene.dir.path().join("next");
    fs::create_dir(&next).unwrap();
    fs::write(next.join("b.yaml"), yaml("b", "bob")).unwrap();
    fs::rename(scene.folder(), scene.dir.path().join("old")).unwrap();
    fs::rename(&next, scene.folder()).unwrap();
    scene.until(&["b=bob"]).await;
    scene.write("c.yaml", &yaml("c", "carol"));
    scene.until(&["b=bob", "c=carol"]).await;
}

#[tokio::test]
async fn a_folder_that_is_removed_and_made_again_is_watched_anew() {
    let mut scene = Scene::start_with(true, |session| Session {
        poll: SAFETY_NET * 2,
        ..session
    });
    scene.write("a.yaml", &yaml("a", "alice"));
    scene.until(&["a=alice"]).await;
    for round in 0..3 {
        fs::remove_dir_all(scene.folder()).unwrap();
        fs::create_dir(scene.folder()).unwrap();
        let owner = format!("o{round}");
        scene.write("b.yaml", &yaml("b", &owner));
        scene.until(&[&format!("b={owner}")]).await;
    }
}

#[tokio::test]
async fn a_config_map_inside_the_folder_is_swapped() {
    let mut scene = Scene::start();
    for (version, owner) in [("..1", "alice"), ("..2", "carol"), ("..3", "erin")] {
        fs::create_dir(scene.path(version)).unwrap();
        scene.write(&format!("{version}/a.yaml"), &yaml("a", owner));
    }
    symlink("..1", scene.path("..data")).unwrap();
    symlink("..data/a.yaml", scene.path("a.yaml")).unwrap();
    scene.until(&["a=alice"]).await;
    for (version, old, expected) in [("..2", "..1", "a=carol"), ("..3", "..2", "a=erin")] {
        symlink(version, scene.path("..data_tmp")).unwrap();
        fs::rename(scene.path("..data_tmp"), scene.path("..data")).unwrap();
        fs::remove_dir_all(scene.path(old)).unwrap();
        scene.until(&[expected]).await;
    }
}

#[tokio::test]
async fn a_folder_that_is_a_link_into_a_config_map_follows_the_swap() {
    let mut scene = Scene::start_with(false, |session| Session {
        poll: SAFETY_NET * 2,
        ..session
    });
    scene.until(&[]).await;
    let root = scene.dir.path().to_owned();
    for (version, owner) in [("..1", "alice"), ("..2", "carol")] {
        fs::create_dir_all(root.join(version).join("agents.d")).unwrap();
        fs::write(root.join(version).join("agents.d/a.yaml"), yaml("a", owner)).unwrap();
    }
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/agents.d", scene.folder()).unwrap();
    scene.until(&["a=alice"]).await;
    symlink("..2", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    scene.until(&["a=carol"]).await;
    fs::write(root.join("..2/agents.d/b.yaml"), yaml("b", "bob")).unwrap();
    scene.until(&["a=carol", "b=bob"]).await;
}

#[tokio::test]
async fn without_the_kernels_notices_it_is_looked_at_regularly() {
    let mut scene = Scene::start_with(true, |session| Session {
        make: |_, _| Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch)),
        poll: Duration::from_millis(20),
        ..session
    });
    scene.until(&[]).await;
    scene.write("a.yaml", &yaml("a", "alice"));
    scene.until(&["a=alice"]).await;
    fs::remove_file(scene.path("a.yaml")).unwrap();
    scene.until(&[]).await;
}

#[tokio::test]
async fn a_rescan_reads_what_no_notice_told_of() {
    let mut scene = Scene::start();
    // The link's target lies elsewhere, so its change in place gives no notice here.
    let target = scene.dir.path().join("target");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("a"), yaml("a", "alice")).unwrap();
    symlink(target.join("a"), scene.path("a.yaml")).unwrap();
    scene.until(&["a=alice"]).await;
    fs::write(target.join("a"), yaml("a", "carol")).unwrap();
    scene.rescan.notify_one();
    scene.until(&["a=carol"]).await;
}

#[tokio::test]
async fn a_folder_that_was_scanned_before_is_sent_only_when_it_differs() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.yaml"), yaml("a", "alice")).unwrap();
    let mut folder = Folder::new(dir.path(), Arc::new(Catalog::builtin()));
    assert_eq!(shown(&folder.scan()), ["a=alice"]);
    let (sender, mut scans) = mpsc::channel(1);
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(watch(folder, sender, Arc::default(), shutdown.clone()));
    fs::write(dir.path().join("b.yaml"), yaml("b", "bob")).unwrap();
    let first = timeout(SAFETY_NET, scans.recv()).await.unwrap().unwrap();
    assert_eq!(shown(&first), ["a=alice", "b=bob"]);
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn it_ends_when_it_is_told_or_nobody_listens() {
    let mut scene = Scene::start();
    scene.until(&[]).await;
    scene.shutdown.cancel();
    timeout(SAFETY_NET, &mut scene.task).await.unwrap().unwrap();
    let mut scene = Scene::start();
    scene.until(&[]).await;
    scene.scans.close();
    scene.write("a.yaml", &yaml("a", "alice"));
    timeout(SAFETY_NET, &mut scene.task).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn notices_are_gathered_until_it_is_quiet_or_patience_ends() {
    let mailbox = Arc::new(Mailbox::default());
    let notices = async |count: u32| {
        for _ in 0..count {
            mailbox.put(Path::new("/f"), Ok(Event::new(EventKind::Any)));
            sleep(QUIET / 2).await;
        }
        std::future::pending::<()>().await;
    };
    for (count, expected) in [(1, QUIET), (4, QUIET * 5 / 2), (1000, PATIENCE)] {
        let started = Instant::now();
        tokio::select! {
            () = notices(count) => {}
            () = mailbox.settled() => {}
        }
        let waited = started.elapsed();
        assert!(
            waited >= expected && waited <= expected + QUIET / 10,
            "{count}: {waited:?}"
        );
    }
}

#[test]
fn lost_notices_and_floods_of_names_mean_everything() {
    let folder = Path::new("/f");
    let mut news = News::default();
    let lost = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
    assert!(news.add(folder, Ok(lost)));
    assert!(news.everything && news.folder);
    let mut news = News::default();
    for number in 0..=MAX_NAMES {
        let event = Event::new(EventKind::Any).add_path(folder.join(number.to_string()));
        assert!(news.add(folder, Ok(event)));
    }
    assert!(news.everything && news.names.len() == MAX_NAMES);
    let mut news = News::default();
    let read = Event::new(EventKind::Access(AccessKind::Open(AccessMode::Any))).add_path(folder.join("a"));
    assert!(!news.add(folder, Ok(read)));
}

/// A look every moment beside the kernel's notices.
fn quick(session: Session) -> Session {
    Session {
        slow: Duration::from_millis(20),
        ..session
    }
}

#[tokio::test]
async fn what_changes_behind_a_link_is_seen_without_a_notice() {
    let mut scene = Scene::start_with(true, quick);
    let elsewhere = scene.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("a"), yaml("a", "alice")).unwrap();
    symlink(elsewhere.join("a"), scene.path("a.yaml")).unwrap();
    scene.until(&["a=alice"]).await;
    fs::write(elsewhere.join("a"), yaml("a", "caroline")).unwrap();
    scene.until(&["a=caroline"]).await;
    // The one behind it is replaced, and goes.
    fs::write(elsewhere.join("new"), yaml("a", "bob")).unwrap();
    fs::rename(elsewhere.join("new"), elsewhere.join("a")).unwrap();
    scene.until(&["a=bob"]).await;
}

#[tokio::test]
async fn without_any_notice_all_that_changes_is_seen_all_the_same() {
    // As on a network file system: there is a watcher, and it never says anything.
    let mut scene = Scene::start_with(true, |session| Session {
        make: |_, _| RecommendedWatcher::new(|_| {}, Config::default()),
        ..quick(session)
    });
    scene.write("a.yaml", &yaml("a", "alice"));
    scene.until(&["a=alice"]).await;
    scene.write("a.yaml", &yaml("a", "caroline"));
    scene.until(&["a=caroline"]).await;
    fs::remove_file(scene.path("a.yaml")).unwrap();
    scene.until(&[]).await;
}

#[tokio::test]
async fn notices_without_end_do_not_put_the_slow_look_off() {
    let mut scene = Scene::start_with(true, quick);
    let elsewhere = scene.dir.path().join("elsewhere");
    fs::write(&elsewhere, yaml("a", "alice")).unwrap();
    symlink(&elsewhere, scene.path("a.yaml")).unwrap();
    scene.until(&["a=alice"]).await;
    let stop = CancellationToken::new();
    let (path, stopped) = (scene.path("noise.txt"), stop.clone());
    let storm = task::spawn_blocking(move || {
        while !stopped.is_cancelled() {
            fs::write(&path, "x").unwrap();
        }
    });
    fs::write(&elsewhere, yaml("a", "caroline")).unwrap();
    scene.until(&["a=caroline"]).await;
    stop.cancel();
    storm.await.unwrap();
}
