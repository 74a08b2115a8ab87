//! What a node was told, kept for the next process of the same boot.
//!
//! It lies in a folder that is in memory, sealed under a key that lies there as well and is bound to this start of the
//! machine: neither survives it. Where the folder is on disk nothing is kept.

use std::{
    borrow::Cow,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::agents::Told;
use crate::{
    agent_files::entry::Owner,
    agent_view::{document::Document, render::json},
    clock::{BootId, Moment, Uptime},
    entropy::SharedEntropy,
    file,
    id::AgentName,
    relay::state::State,
    text::ShowPath,
    vault::cipher::{self, NONCE_LEN, TAG_LEN},
};

/// Far more than ten thousand agents' views.
const MOST: usize = 64 * 1024 * 1024;
const KEY_BYTES: usize = 32;

/// The file, and the key that it is sealed under.
pub(super) struct Cache {
    path: PathBuf,
    key: Zeroizing<[u8; KEY_BYTES]>,
    boot: BootId,
    entropy: SharedEntropy,
}

/// One agent as it is kept. No `Debug`: it holds tokens.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    agent: AgentName,
    uid: Option<u32>,
    gid: Option<u32>,
    revision: Cow<'a, [u8]>,
    /// When it was told, by both clocks.
    wall: Timestamp,
    uptime_micros: i64,
    view: Document<'a>,
}

impl Cache {
    /// In the runtime directory; `None` where nothing can be kept, which the log says.
    pub(super) fn open(runtime_dir: &Path, boot: Option<BootId>, entropy: SharedEntropy) -> Option<Self> {
        let because = |reason: &str| {
            tracing::warn!(
                "what the broker tells is not kept for a restart, because {reason}: agents have no token then until the broker \
                 answers"
            );
        };
        let Some(boot) = boot else {
            because("starts of this machine cannot be told apart");
            return None;
        };
        if !file::is_in_memory(runtime_dir) {
            let shown = runtime_dir.shown();
            because(&format!("runtime_dir {shown} is not in memory (a tmpfs)"));
            return None;
        }
        let folder = runtime_dir.join("node");
        match open_key(&folder, &entropy) {
            Ok(key) => Some(Self {
                path: folder.join("views"),
                key,
                boot,
                entropy,
            }),
            Err(error) => {
                because(&format!("{} cannot be used: {error}", folder.shown()));
                None
            }
        }
    }

    /// What an earlier process of this boot was told; nothing where there is none, or it does not open.
    pub(super) fn load(&self) -> Vec<Told> {
        let Ok(sealed) = file::read_whole(&self.path, MOST) else {
            return Vec::new();
        };
        let Some((nonce, text)) = sealed.split_first_chunk::<NONCE_LEN>() else {
            return Vec::new();
        };
        let Some(text) = cipher::decrypt(&self.key, nonce, self.boot.as_bytes(), text) else {
            tracing::warn!(
                "what {} holds was not kept in this boot, and is not used",
                self.path.shown()
            );
            return Vec::new();
        };
        let kept: Vec<Kept<'static>> = serde_json::from_slice(&text).unwrap_or_default();
        kept.into_iter().filter_map(Kept::told).collect()
    }

    /// Keeps this. What goes wrong is a line of the log.
    pub(super) fn store<'a>(&self, told: impl Iterator<Item = &'a Told>) {
        let kept: Vec<Kept<'_>> = told.filter_map(Kept::of).collect();
        let text = json(&kept);
        let nonce = self.entropy.bytes::<NONCE_LEN>();
        let mut sealed = Zeroizing::new(Vec::with_capacity(text.len() + TAG_LEN));
        sealed.extend_from_slice(&text);
        sealed.resize(text.len() + TAG_LEN, 0);
        cipher::encrypt(&self.key, &nonce, self.boot.as_bytes(), &mut sealed);
        let new = self.path.with_extension("new");
        let written = create(&new).and_then(|mut file| {
            file.write_all(&nonce)?;
            file.write_all(&sealed)?;
            fs::rename(&new, &self.path)
        });
        if let Err(error) = written {
            tracing::warn!("{} cannot be written: {error}", self.path.shown());
        }
    }
}

impl<'a> Kept<'a> {
    fn of(told: &'a Told) -> Option<Self> {
        let (view, heard) = told.state.heard()?;
        Some(Self {
            agent: told.agent.clone(),
            uid: told.owner.uid,
            gid: told.owner.gid,
            revision: Cow::Borrowed(&told.revision),
            wall: heard.wall,
            uptime_micros: heard.uptime.as_micros(),
            view: view.clone(),
        })
    }
}

impl Kept<'static> {
    fn told(self) -> Option<Told> {
        self.view.check().ok()?;
        let heard = Moment {
            wall: self.wall,
            uptime: Uptime::from_micros(self.uptime_micros),
        };
        Some(Told {
            agent: self.agent,
            owner: Owner {
                uid: self.uid,
                gid: self.gid,
            },
            revision: self.revision.into_owned(),
            state: State::new(self.view, heard),
        })
    }
}

/// The key in the folder; a new one where there is none, or what is there is none.
fn open_key(folder: &Path, entropy: &SharedEntropy) -> io::Result<Zeroizing<[u8; KEY_BYTES]>> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let path = folder.join("key");
    if let Ok(found) = file::read_whole(&path, KEY_BYTES)
        && let Ok(key) = <[u8; KEY_BYTES]>::try_from(found.as_slice())
    {
        return Ok(Zeroizing::new(key));
    }
    let key = Zeroizing::new(entropy.bytes::<KEY_BYTES>());
    create(&path)?.write_all(&*key)?;
    Ok(key)
}

/// A file of its own, for this user alone, in the place of whatever is there.
fn create(path: &Path) -> io::Result<fs::File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        clock::{Clock, SystemClock},
        entropy::SystemEntropy,
        testing::{in_memory, name},
    };

    fn told() -> Told {
        let view = serde_json::json!({
            "status": { "agent": "bot", "owner": "alice", "state": "active" },
            "credentials": [{
                "provider": "google", "serves_google_libraries": true, "account": null,
                "env": { "access_token": "A", "expires_at": "B", "capabilities": { "in": "C" }, "account": null },
                "capabilities": [],
                "token": { "access_token": "ya29.canary", "expires_at": "2100-01-01T00:00:00Z", "expires_in": 60 },
            }],
        });
        Told {
            agent: name("bot"),
            owner: Owner {
                uid: Some(7),
                gid: None,
            },
            revision: b"one".to_vec(),
            state: State::new(
                Document::read(view.to_string().as_bytes()).unwrap(),
                SystemClock.moment(),
            ),
        }
    }

    fn open(folder: &Path, boot: [u8; 16]) -> Cache {
        Cache::open(folder, Some(BootId::from_bytes(boot)), Arc::new(SystemEntropy)).unwrap()
    }

    #[test]
    fn what_was_told_is_kept_sealed_and_for_this_boot_alone() {
        let folder = in_memory();
        let cache = open(folder.path(), [1; 16]);
        assert!(cache.load().is_empty());
        cache.store([told()].iter());
        let again = open(folder.path(), [1; 16]).load();
        assert_eq!(again.len(), 1);
        let (view, heard) = again[0].state.heard().unwrap();
        assert_eq!(view.access_token(), Some("ya29.canary"));
        assert!(heard.uptime <= SystemClock.uptime());
        assert_eq!((again[0].owner.uid, &*again[0].revision), (Some(7), &b"one"[..]));
        let sealed = fs::read(&cache.path).unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"canary"));
        assert!(open(folder.path(), [2; 16]).load().is_empty(), "of another boot");
        fs::remove_file(folder.path().join("node/key")).unwrap();
        assert!(
            open(folder.path(), [1; 16]).load().is_empty(),
            "under another key"
        );
        fs::write(&cache.path, b"short").unwrap();
        assert!(cache.load().is_empty());
    }

    #[test]
    fn on_disk_nothing_is_kept() {
        let boot = BootId::from_bytes([1; 16]);
        let cache = Cache::open(Path::new("/proc"), Some(boot), Arc::new(SystemEntropy));
        assert!(cache.is_none());
        let folder = in_memory();
        assert!(Cache::open(folder.path(), None, Arc::new(SystemEntropy)).is_none());
    }
}
