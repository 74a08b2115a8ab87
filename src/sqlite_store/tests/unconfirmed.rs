//! Commits that the disk does not confirm. Each scene runs in a process of its own, under a library between the
//! database and the disk (`disk.c`), and is killed at its end.

use std::{env, future::Future, path::PathBuf, process::Command};

use crate::{sqlite_store::tests::*, store::AgentRecord, telemetry::audit::AuditEvent};

/// Where the scene's process finds its state folder.
const STATE: &str = "TOKEN_BROKER_TEST_STATE";
/// Where the library looks for a file that says what fails.
const FAULTS: &str = "TOKEN_BROKER_TEST_FAULTS";
/// The next sync of the write-ahead log fails.
const ONCE: &str = "once";
/// All of them do, while the file is there.
const ALWAYS: &str = "always";

/// The process of a scene.
struct Scene {
    store: SqliteStore,
    faults: PathBuf,
    told: Vec<String>,
}

impl Scene {
    async fn begin(state: PathBuf) -> Self {
        let scene = Self {
            store: SqliteStore::open(&state, &vault(1)).unwrap(),
            faults: env::var_os(FAULTS).unwrap().into(),
            told: Vec::new(),
        };
        scene.put("early").await.unwrap();
        scene
    }

    async fn put(&self, name: &str) -> Result<(), StoreError> {
        let agent = AgentRecord {
            name: name.parse().unwrap(),
            manifest: "{}".to_owned(),
        };
        self.store.put_agent(agent, Vec::<AuditEvent>::new()).await
    }

    async fn delete(&self, name: &str) -> Result<bool, StoreError> {
        self.store.delete_agent(&name.parse().unwrap(), Vec::new()).await
    }

    fn fail(&self, how: &str) {
        fs::write(self.faults.join(how), "").unwrap();
    }

    fn heal(&self) {
        fs::remove_file(self.faults.join(ALWAYS)).unwrap();
    }

    fn is_over(&self, how: &str) -> bool {
        !self.faults.join(how).exists()
    }

    fn note<T>(&mut self, told: Result<T, StoreError>) {
        self.told
            .push(told.map_or_else(|error| error.to_string(), |_| "done".to_owned()));
    }

    fn killed(self) {
        fs::write(self.faults.join("told"), self.told.join("\n")).unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    }
}

/// Plays `scene` in a process of its own that begins this very test, and returns what was told in it and which agents are
/// there afterwards. That process does not come back.
fn play<F: Future<Output = ()>>(test: &str, scene: impl FnOnce(Scene) -> F) -> (Vec<String>, Vec<String>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(state) = env::var_os(STATE) {
        runtime.block_on(async { scene(Scene::begin(state.into()).await).await });
        panic!("the scene goes on after its end");
    }
    let folder = tempfile::tempdir().unwrap();
    let (state, faults) = (folder.path().join("state"), folder.path().join("faults"));
    fs::create_dir(&faults).unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", &format!("sqlite_store::tests::unconfirmed::{test}")])
        .env("LD_PRELOAD", library(folder.path()))
        .env(STATE, &state)
        .env(FAULTS, &faults)
        .output()
        .unwrap();
    let told = fs::read_to_string(faults.join("told")).unwrap_or_else(|_| panic!("{output:?}"));
    let agents = runtime.block_on(async {
        let store = SqliteStore::open(&state, &vault(1)).unwrap();
        store.load().await.unwrap().agents
    });
    (
        told.lines().map(str::to_owned).collect(),
        agents.iter().map(|agent| agent.name.to_string()).collect(),
    )
}

/// The library, made by the compiler of this machine.
fn library(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sqlite_store/tests/disk.c");
    let library = folder.join("disk.so");
    let mut compile = Command::new("cc");
    compile
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(source);
    assert!(compile.status().unwrap().success());
    library
}

#[test]
fn what_failed_is_not_found_done() {
    let (told, agents) = play("what_failed_is_not_found_done", |mut scene| async move {
        scene.fail(ONCE);
        let told = scene.put("failed").await;
        assert!(scene.is_over(ONCE));
        scene.note(told);
        scene.fail(ONCE);
        let told = scene.delete("early").await;
        scene.note(told);
        scene.killed();
    });
    assert_eq!(agents, ["early"]);
    for told in &told {
        assert!(
            told.contains("so it was taken back: what was asked was not done"),
            "{told}"
        );
    }
    assert_eq!(told.len(), 2);
}

#[test]
fn until_it_cannot_be_found_done_it_is_not_known_and_nothing_else_is_written() {
    let test = "until_it_cannot_be_found_done_it_is_not_known_and_nothing_else_is_written";
    let (told, agents) = play(test, |mut scene| async move {
        scene.fail(ALWAYS);
        let told = scene.delete("early").await;
        scene.note(told);
        let told = scene.put("late").await;
        scene.note(told);
        let told = scene.store.prove_writable().await;
        scene.note(told);
        scene.heal();
        let told = scene.store.prove_writable().await;
        scene.note(told);
        scene.killed();
    });
    assert_eq!(agents, ["early"]);
    assert!(
        told[0].contains("it is not known whether what was asked is done"),
        "{}",
        told[0]
    );
    for told in &told[1..3] {
        assert!(
            told.contains("this change was not written, and none will be until it does"),
            "{told}"
        );
    }
    assert_eq!(told[3..], ["done"]);
}

#[test]
fn what_shares_a_commit_that_was_not_confirmed_is_tried_again() {
    let test = "what_shares_a_commit_that_was_not_confirmed_is_tried_again";
    let (told, agents) = play(test, |mut scene| async move {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let hold = scene
            .store
            .write(Rank::Addition, move |_| Ok(held.recv().is_err()));
        let (_, put, deleted) = tokio::join!(biased; hold, scene.put("late"), async {
            let mut deleting = std::pin::pin!(scene.delete("early"));
            assert!(futures_util::poll!(deleting.as_mut()).is_pending());
            scene.fail(ONCE);
            drop(release);
            deleting.await
        });
        assert!(scene.is_over(ONCE));
        scene.note(put);
        scene.note(deleted);
        scene.killed();
    });
    assert_eq!(told, ["done", "done"]);
    assert_eq!(agents, ["late"]);
}
