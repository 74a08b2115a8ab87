//! What was written for one agent, and what may stay there when writing fails.

use std::hash::{BuildHasher, RandomState};

use jiff::Timestamp;

use super::{
    directory::{AgentDir, Entry},
    error::FileError,
    render::View,
};

/// What is known of one file. A hash, not the content: ten thousand agents' tokens are in memory once already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Seen {
    /// It was not written by this process.
    #[default]
    Unknown,
    /// It is not there.
    Absent,
    /// Content and owner have this hash.
    Written(u64),
}

/// Which tokens the files may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Held {
    /// Whatever an earlier process wrote.
    #[default]
    Unknown,
    /// None.
    Nothing,
    /// With these rights; the first of them ends then.
    Token { rights: u64, expires_at: Timestamp },
}

/// The files of one agent as this process left them.
#[derive(Default)]
pub(super) struct Files {
    env: Seen,
    access_token: Seen,
    credentials: Seen,
    status: Seen,
    held: Held,
}

impl Files {
    /// Writes what changed. Returns what went wrong; what could be written was.
    ///
    /// A token that may no longer be there is taken away even when nothing can be written in its place. One
    /// that merely awaits its successor stays, until it expires. The credential file is no token: what it is good
    /// for is decided when it is used.
    pub(super) fn write(
        &mut self,
        dir: &AgentDir,
        view: &View<'_>,
        credentials: Option<&[u8]>,
        now: Timestamp,
        keys: &RandomState,
    ) -> Vec<FileError> {
        if dir.was_made() {
            *self = Self {
                held: Held::Nothing,
                ..Self::default()
            };
        } else if self.env == Seen::Unknown {
            dir.sweep();
        }
        let wanted = view.expires_at().map_or(Held::Nothing, |expires_at| Held::Token {
            rights: view.rights(keys),
            expires_at,
        });
        let mut errors = self.attempt(dir, view, credentials, keys);
        if !errors.is_empty() && self.must_go(wanted, now) {
            match self.take_away(dir) {
                // That may have made the room that was lacking.
                Ok(()) => errors = self.attempt(dir, view, credentials, keys),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() || self.held == Held::Nothing {
            self.held = wanted;
        }
        errors
    }

    /// When what is on disk has to go, should nothing be written until then.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        match self.held {
            Held::Token { expires_at, .. } => Some(expires_at),
            Held::Unknown | Held::Nothing => None,
        }
    }

    /// Takes everything secret away: the directory cannot be put in order.
    pub(super) fn withdraw(&mut self, dir: &AgentDir) -> Result<(), FileError> {
        self.credentials = Seen::Unknown;
        let credentials = dir.remove(Entry::Credentials);
        self.take_away(dir).and(credentials)?;
        self.credentials = Seen::Absent;
        Ok(())
    }

    /// Takes the token away: the agent has none any more.
    fn take_away(&mut self, dir: &AgentDir) -> Result<(), FileError> {
        self.env = Seen::Unknown;
        self.access_token = Seen::Unknown;
        let env = dir.remove(Entry::Env);
        dir.remove(Entry::AccessToken).and(env)?;
        self.env = Seen::Absent;
        self.access_token = Seen::Absent;
        self.held = Held::Nothing;
        Ok(())
    }

    fn attempt(
        &mut self,
        dir: &AgentDir,
        view: &View<'_>,
        credentials: Option<&[u8]>,
        keys: &RandomState,
    ) -> Vec<FileError> {
        let env = view.env();
        let status = view.status_json();
        let access_token = view.token.map(|token| token.access_token.expose().as_bytes());
        [
            put(dir, Entry::Env, Some(env.as_bytes()), &mut self.env, keys),
            put(
                dir,
                Entry::AccessToken,
                access_token,
                &mut self.access_token,
                keys,
            ),
            put(dir, Entry::Credentials, credentials, &mut self.credentials, keys),
            put(
                dir,
                Entry::Status,
                Some(status.as_bytes()),
                &mut self.status,
                keys,
            ),
        ]
        .into_iter()
        .filter_map(Result::err)
        .collect()
    }

    fn must_go(&self, wanted: Held, now: Timestamp) -> bool {
        match (self.held, wanted) {
            (Held::Nothing, _) => false,
            (Held::Token { rights, expires_at }, Held::Token { rights: other, .. }) => {
                rights != other || expires_at <= now
            }
            (Held::Unknown, _) | (_, Held::Unknown | Held::Nothing) => true,
        }
    }
}

fn put(
    dir: &AgentDir,
    entry: Entry,
    content: Option<&[u8]>,
    seen: &mut Seen,
    keys: &RandomState,
) -> Result<(), FileError> {
    let wanted = content.map_or(Seen::Absent, |content| {
        Seen::Written(keys.hash_one((dir.owner(), content)))
    });
    if *seen == wanted {
        return Ok(());
    }
    *seen = Seen::Unknown;
    match content {
        Some(content) => dir.write(entry, content)?,
        None => dir.remove(entry)?,
    }
    *seen = wanted;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt, path::PathBuf, sync::Arc};

    use super::*;
    use crate::{
        broker::{AgentSnapshot, AgentState},
        delivery::{
            directory::{Owner, Runtime},
            testing::{Mounted, at, in_memory, name, small_tmpfs, snapshot, token},
        },
    };

    const NOW: &str = "2024-01-15T09:31:00Z";

    struct Scene {
        runtime: Runtime,
        files: Files,
        keys: RandomState,
        credentials: Option<&'static [u8]>,
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
                self.credentials,
                at(now),
                &self.keys,
            )
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
        let mut scene = Scene::new();
        scene.credentials = Some(b"{}");
        scene.write(&snapshot("a").with_token(token("sesame")), NOW);
        let before = scene.inode("adc.json");
        assert_eq!(fs::read(scene.path("adc.json")).unwrap(), b"{}");
        // It outlives the token: the agent may get another one.
        scene.write(&snapshot("a").in_state(AgentState::ReconnectRequired), NOW);
        assert_eq!(scene.inode("adc.json"), before);
        // As after a restart with another configuration.
        scene.files = Files::default();
        scene.credentials = None;
        assert_eq!(scene.write(&snapshot("a"), NOW), []);
        assert!(!scene.path("adc.json").exists());
    }

    #[test]
    fn what_is_withdrawn_is_everything_secret() {
        let mut scene = Scene::new();
        scene.credentials = Some(b"{}");
        scene.write(&snapshot("a").with_token(token("sesame")), NOW);
        let dir = scene.runtime.agent(&name("a"), Owner::default()).unwrap();
        assert_eq!(scene.files.withdraw(&dir), Ok(()));
        for file in ["env", "access_token", "adc.json"] {
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
            expires_at: at("2024-01-15T11:30:00Z"),
            integration: token("").integration.clone(),
            scopes: token("").scopes.clone(),
            issued_at: at(NOW),
        });
        let second = snapshot("a").with_token(second);
        assert!(!scene.write(&second, NOW).is_empty());
        assert!(
            fs::read_to_string(scene.path("env"))
                .unwrap()
                .contains("=first\n")
        );
        assert_eq!(scene.files.expires_at(), Some(at("2024-01-15T10:30:00Z")));
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
        narrow.main.granted = Arc::new(["google.gmail.send".parse().unwrap()]);
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
}
