//! A disk that is full: what goes on in the reserve, and what does not. These mount a small file system, which only root may.

use std::{io::Write, path::PathBuf, process::Command};

use crate::{
    sqlite_store::tests::*,
    store::AgentRecord,
    telemetry::audit::{Actor, AuditEvent, Decision},
};

/// A store on a file system of eight megabytes.
struct Scene {
    store: Option<SqliteStore>,
    state: PathBuf,
    _folder: TempDir,
}

impl Scene {
    /// With two accounts and an agent; `None` where nothing can be mounted.
    async fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        fs::create_dir(&state).unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs"])
            .arg(&state);
        if !mount.output().is_ok_and(|output| output.status.success()) {
            return None;
        }
        let mut scene = Self {
            store: None,
            state,
            _folder: folder,
        };
        scene.open().unwrap();
        for number in [1, 2] {
            scene
                .store()
                .put_integration(account(number), None, Vec::new())
                .await
                .unwrap();
        }
        scene.put_agent("early").await.unwrap();
        Some(scene)
    }

    fn open(&mut self) -> Result<(), StoreError> {
        self.store = Some(SqliteStore::open(&self.state, &vault(1))?);
        Ok(())
    }

    fn store(&self) -> &SqliteStore {
        self.store.as_ref().unwrap()
    }

    /// Takes all the room that is left, in a file of this name.
    fn fill(&self, name: &str) {
        let mut file = fs::File::create(self.state.join(name)).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
    }

    fn free(&self, name: &str) {
        fs::remove_file(self.state.join(name)).unwrap();
    }

    fn reserve(&self) -> Option<u64> {
        fs::metadata(self.state.join("broker.reserve"))
            .ok()
            .map(|file| file.len())
    }

    async fn put_agent(&self, name: &str) -> Result<(), StoreError> {
        let agent = AgentRecord {
            name: name.parse().unwrap(),
            manifest: "{}".to_owned(),
        };
        self.store().put_agent(agent, vec![line("agent.put")]).await
    }

    /// A renewal that replaces the first account's grant by `text`.
    async fn renew(&self, text: &str) -> Result<(), StoreError> {
        let before = self.store().begin_renewal(&id(1), at(1)).await?.unwrap();
        let outcome = RenewalOutcome {
            rotated: Some(refresh_token(&id(1), text)),
            ..renewed(token(1, "a", 1))
        };
        self.store()
            .finish_renewal(&id(1), before.version, outcome)
            .await
            .map(drop)
    }

    /// Renews until that takes something from the reserve.
    async fn renew_into_the_reserve(&self) {
        for round in 0..2000 {
            self.renew(&format!("grant {round}")).await.unwrap();
            if self.reserve().is_none() {
                return;
            }
        }
        panic!("2000 renewals found room on a full disk");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        drop(self.store.take());
        let _ = Command::new("umount").arg("-l").arg(&self.state).status();
    }
}

fn line(action: &'static str) -> AuditEvent {
    AuditEvent::new(at(1), Actor::Admin(0), action, Decision::Allowed)
}

const KEPT: &str = "the disk is full: what is left of it is kept for renewals and deletions";

#[tokio::test]
async fn renewals_and_deletions_go_on_in_the_reserve_and_nothing_else_does() {
    let Some(scene) = Scene::new().await else { return };
    scene.fill("filler");
    scene.renew_into_the_reserve().await;
    for round in 0..1000 {
        scene.renew(&format!("later {round}")).await.unwrap();
    }
    assert_eq!(grant(scene.store(), 1).await, "later 999");
    let store = scene.store();
    // What somebody is told is done has its line.
    let deleted = store.delete_integration(&id(2), vec![line("integration.disconnected")]);
    assert!(deleted.await.unwrap());
    let lines = store.audit(0, 10, false).await.unwrap();
    assert_eq!(lines.last().unwrap().action, "integration.disconnected");
    for refused in [
        store
            .put_integration(account(3), None, Vec::new())
            .await
            .map(drop),
        scene.put_agent("late").await,
        store.append_audit(vec![line("token.used")]).await,
        store.prove_writable().await,
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains(KEPT), "{error}");
    }
    // Not even after a restart is any of it there.
    let crashed = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(&scene.state).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "filler" {
            fs::copy(entry.path(), crashed.path().join(entry.file_name())).unwrap();
        }
    }
    let revived = open(&crashed);
    assert_eq!(grant(&revived, 1).await, "later 999");
    let contents = revived.load().await.unwrap();
    assert_eq!((contents.integrations.len(), contents.agents.len()), (1, 1));
    let report = revived.verify_audit(None).await.unwrap();
    assert_eq!((report.lines, report.problem), (2, None));
}

#[tokio::test]
async fn the_reserve_is_kept_again_when_there_is_room() {
    let Some(scene) = Scene::new().await else { return };
    let reserve = scene.reserve();
    assert!(reserve.is_some_and(|bytes| bytes > 0));
    for round in ["first", "second"] {
        scene.fill("filler");
        scene.renew_into_the_reserve().await;
        scene.put_agent("refused").await.unwrap_err();
        scene.free("filler");
        scene.put_agent(round).await.unwrap();
        assert_eq!(scene.reserve(), reserve, "{round}");
        scene
            .store()
            .append_audit(vec![line("token.used")])
            .await
            .unwrap();
        scene.store().prove_writable().await.unwrap();
    }
    assert_eq!(scene.store().load().await.unwrap().agents.len(), 3);
}

#[tokio::test]
async fn a_reserve_that_somebody_else_used_up_is_no_room() {
    let Some(scene) = Scene::new().await else { return };
    scene.fill("filler");
    scene.renew_into_the_reserve().await;
    scene.fill("more");
    let mut failed = None;
    for round in 0..2000 {
        if let Err(error) = scene.renew(&format!("grant {round}")).await {
            failed = Some(error.to_string());
            break;
        }
    }
    let before = grant(scene.store(), 1).await;
    if let Some(error) = failed {
        assert!(error.contains("the disk is full"), "{error}");
    }
    assert!(before.starts_with("grant "), "{before}");
    scene.free("more");
    scene.renew("again").await.unwrap();
    assert_eq!(grant(scene.store(), 1).await, "again");
}

#[tokio::test]
async fn a_start_on_a_full_disk_takes_the_reserve() {
    let Some(mut scene) = Scene::new().await else {
        return;
    };
    let reserve = scene.reserve();
    drop(scene.store.take());
    scene.fill("filler");
    scene.open().unwrap();
    for round in 0..300 {
        scene.renew(&format!("grant {round}")).await.unwrap();
    }
    let error = scene.put_agent("late").await.unwrap_err().to_string();
    assert!(error.contains(KEPT), "{error}");
    // Once more, with what was given away.
    drop(scene.store.take());
    scene.open().unwrap();
    scene.renew("again").await.unwrap();
    scene.put_agent("late").await.unwrap_err();
    scene.free("filler");
    scene.put_agent("late").await.unwrap();
    assert_eq!(scene.reserve(), reserve);
    assert_eq!(grant(scene.store(), 1).await, "again");
}

#[tokio::test]
async fn what_makes_room_is_let_through() {
    let Some(scene) = Scene::new().await else { return };
    let store = scene.store();
    let many = (0..2000).map(|number| AuditEvent {
        time: at(number),
        ..line("token.used")
    });
    store.append_audit(many.collect()).await.unwrap();
    scene.fill("filler");
    scene.renew_into_the_reserve().await;
    assert_eq!(store.prune_audit(at(1500)).await.unwrap(), 1501);
    assert!(
        store
            .delete_agent(&"early".parse().unwrap(), Vec::new())
            .await
            .unwrap()
    );
    let gone = store.change_holders(Vec::new(), vec!["early".parse().unwrap()]);
    gone.await.unwrap();
    assert_eq!(store.verify_audit(None).await.unwrap().problem, None);
}
