//! Files as they are written, kept, and taken away when a disk is full.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf, sync::Arc};

use super::*;
use crate::{
    agent_files::{entry::Owner, runtime::Runtime},
    broker::{AgentSnapshot, AgentState},
    testing::{Mounted, at, in_memory, name, small_tmpfs, snapshot, token},
};

const NOW: &str = "2024-01-15T09:31:00Z";

struct Scene {
    runtime: Runtime,
    files: Files,
    keys: RandomState,
    credentials: Option<CredentialFiles>,
    temp: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let temp = in_memory();
        Self::at(temp)
    }

    fn at(temp: tempfile::TempDir) -> Self {
        Self {
            runtime: Runtime::open(temp.path()).unwrap(),
            files: Files::default(),
            keys: RandomState::new(),
            credentials: None,
            temp,
        }
    }

    fn write(&mut self, snapshot: &AgentSnapshot, now: &str) -> Vec<FileError> {
        let dir = self.runtime.agent(&name("a"), Owner::default()).unwrap();
        self.files.write(
            &dir,
            &View::new(snapshot, at(now)),
            self.credentials.as_ref(),
            at(now).uptime,
            &self.keys,
        )
    }

    fn with_credentials() -> Self {
        let mut scene = Self::new();
        scene.credentials = Some(CredentialFiles {
            adc: b"{}".to_vec().into(),
            external: b"[]".to_vec().into(),
        });
        scene
    }

    fn path(&self, file: &str) -> PathBuf {
        self.temp.path().join("agents/a").join(file)
    }

    fn inode(&self, file: &str) -> u64 {
        fs::symlink_metadata(self.path(file)).unwrap().ino()
    }

    /// Makes every write fail, until the file system is mounted for writing again.
    fn full() -> Option<(Self, Mounted)> {
        let temp = in_memory();
        let mounted = small_tmpfs(temp.path(), "64k")?;
        Some((Self::at(temp), mounted))
    }

    fn fill(&self) {
        fs::write(self.temp.path().join("filler"), vec![0; 1 << 20]).unwrap_err();
    }
}

#[test]
fn nothing_is_written_when_nothing_changed() {
    let mut scene = Scene::new();
    let first = snapshot("a").with_token(token("first"));
    assert_eq!(scene.write(&first, NOW), []);
    let before = ["env", "access_token", "status.json"].map(|file| scene.inode(file));
    // Another object, the same content.
    let same = snapshot("a").with_token(token("first"));
    assert_eq!(scene.write(&same, NOW), []);
    assert_eq!(
        before,
        ["env", "access_token", "status.json"].map(|file| scene.inode(file))
    );
}

#[test]
fn a_renewal_writes_the_token_and_leaves_the_status() {
    let mut scene = Scene::new();
    scene.write(&snapshot("a").with_token(token("first")), NOW);
    let (env, status) = (scene.inode("env"), scene.inode("status.json"));
    assert_eq!(scene.write(&snapshot("a").with_token(token("second")), NOW), []);
    assert_ne!(env, scene.inode("env"));
    assert_eq!(status, scene.inode("status.json"));
    assert_eq!(fs::read_to_string(scene.path("access_token")).unwrap(), "second");
}

#[test]
fn a_lost_token_leaves_no_file() {
    let mut scene = Scene::new();
    scene.write(&snapshot("a").with_token(token("sesame")), NOW);
    let revoked = snapshot("a").in_state(AgentState::Revoked);
    assert_eq!(scene.write(&revoked, NOW), []);
    assert!(!scene.path("access_token").exists());
    assert!(!fs::read_to_string(scene.path("env")).unwrap().contains("sesame"));
}

#[test]
fn what_an_earlier_process_left_half_made_goes() {
    let mut scene = Scene::new();
    scene.write(&snapshot("a").with_token(token("sesame")), NOW);
    scene.files = Files::default();
    fs::write(scene.path(".access_token.new"), "sesame").unwrap();
    scene.write(&snapshot("a").in_state(AgentState::Revoked), NOW);
    assert!(!scene.path(".access_token.new").exists());
    assert!(!scene.path("access_token").exists());
}

#[test]
fn a_credential_file_stays_until_it_is_wanted_no_more() {
    let mut scene = Scene::with_credentials();
    scene.write(&snapshot("a").with_token(token("sesame")), NOW);
    let before = scene.inode("adc.json");
    assert_eq!(fs::read(scene.path("adc.json")).unwrap(), b"{}");
    assert_eq!(fs::read(scene.path("adc-external.json")).unwrap(), b"[]");
    // It outlives the token: the agent may get another one.
    scene.write(&snapshot("a").in_state(AgentState::ReconnectRequired), NOW);
    assert_eq!(scene.inode("adc.json"), before);
    // As after a restart with another configuration.
    scene.files = Files::default();
    scene.credentials = None;
    assert_eq!(scene.write(&snapshot("a"), NOW), []);
    assert!(!scene.path("adc.json").exists());
    assert!(!scene.path("adc-external.json").exists());
}

#[test]
fn what_is_withdrawn_is_everything_secret() {
    let mut scene = Scene::with_credentials();
    scene.write(&snapshot("a").with_token(token("sesame")), NOW);
    let dir = scene.runtime.agent(&name("a"), Owner::default()).unwrap();
    assert_eq!(scene.files.withdraw(&dir), Ok(()));
    for file in ["env", "access_token", "adc.json", "adc-external.json"] {
        assert!(!scene.path(file).exists(), "{file}");
    }
    scene.write(&snapshot("a").with_token(token("sesame")), NOW);
    assert!(scene.path("adc.json").exists());
}

#[test]
fn on_a_full_disk_a_token_that_must_go_goes() {
    let Some((mut scene, _mounted)) = Scene::full() else {
        return;
    };
    scene.write(&snapshot("a").with_token(token("sesame")), NOW);
    scene.fill();
    let errors = scene.write(&snapshot("a").in_state(AgentState::Revoked), NOW);
    // Taking the old file away made room for the new one, if for nothing else.
    assert!(
        errors
            .iter()
            .all(|error| error.to_string().contains("No space left"))
    );
    assert!(!scene.path("access_token").exists());
    let env = fs::read_to_string(scene.path("env")).unwrap_or_default();
    assert!(!env.contains("sesame"), "{env}");
}

#[test]
fn on_a_full_disk_a_token_that_awaits_its_successor_stays_until_it_expires() {
    let Some((mut scene, _mounted)) = Scene::full() else {
        return;
    };
    scene.write(&snapshot("a").with_token(token("first")), NOW);
    scene.fill();
    let second = Arc::new(crate::broker::IssuedToken {
        access_token: "second".into(),
        expires_at: at("2024-01-15T11:30:00Z").uptime,
        integration: token("").integration.clone(),
        scopes: token("").scopes.clone(),
        issued_at: at(NOW).uptime,
    });
    let second = snapshot("a").with_token(second);
    assert!(!scene.write(&second, NOW).is_empty());
    assert!(
        fs::read_to_string(scene.path("env"))
            .unwrap()
            .contains("=first\n")
    );
    assert_eq!(scene.files.expires_at(), Some(at("2024-01-15T10:30:00Z").uptime));
    scene.write(&second, "2024-01-15T10:30:00Z");
    let env = fs::read_to_string(scene.path("env")).unwrap_or_default();
    assert!(!env.contains("=first\n"), "{env}");
    fs::remove_file(scene.temp.path().join("filler")).unwrap();
    assert_eq!(scene.write(&second, "2024-01-15T10:30:00Z"), []);
    assert_eq!(fs::read_to_string(scene.path("access_token")).unwrap(), "second");
}

#[test]
fn a_token_with_other_rights_does_not_stay() {
    let Some((mut scene, _mounted)) = Scene::full() else {
        return;
    };
    scene.write(&snapshot("a").with_token(token("wide")), NOW);
    scene.fill();
    let mut narrow = snapshot("a").with_token(token("narrow"));
    narrow.credentials[0].granted = Arc::new(["google.gmail.send".parse().unwrap()]);
    scene.write(&narrow, NOW);
    let env = fs::read_to_string(scene.path("env")).unwrap_or_default();
    assert!(!env.contains("=wide\n"), "{env}");
}

#[test]
fn a_read_only_file_system_is_a_sentence() {
    let Some((mut scene, mounted)) = Scene::full() else {
        return;
    };
    scene.write(&snapshot("a").with_token(token("first")), NOW);
    mounted.remount("ro");
    let errors = scene.write(&snapshot("a").with_token(token("second")), NOW);
    let text = errors[0].to_string();
    assert!(
        text.starts_with("/env could not be written: Read-only file system"),
        "{text}"
    );
    mounted.remount("rw");
    assert_eq!(scene.write(&snapshot("a").with_token(token("second")), NOW), []);
}

#[test]
fn a_directory_that_was_taken_away_is_filled_again() {
    let mut scene = Scene::new();
    let active = snapshot("a").with_token(token("first"));
    scene.write(&active, NOW);
    fs::remove_dir_all(scene.path("")).unwrap();
    assert_eq!(scene.write(&active, NOW), []);
    assert!(scene.path("status.json").exists());
}
