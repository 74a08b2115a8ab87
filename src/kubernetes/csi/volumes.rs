//! Which volumes are published, and whose turn it is to change one.
//!
//! Each is a small file in the runtime folder: it outlives a restart of the daemon, as the mounts do, and is gone after
//! a restart of the node, as they are. What is really mounted is for the kernel to say; the file adds what the kernel
//! does not know, namely for which pod it is.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder},
    hash::Hash,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use tokio::{sync::OwnedMutexGuard, task::spawn_blocking};

use super::mount;
use crate::{file, id::AgentName, manifest::PodIdentity};

/// The file in which the kubelet keeps what it knows of a volume, beside the place where it is mounted. It is there
/// before the volume is published, and goes after it was withdrawn.
const KUBELET_FILE: &str = "vol_data.json";
/// How names of places end where volumes are mounted on their way.
const STAGE: &str = "stage";
/// No note of a volume is longer, in bytes.
const MOST_NOTED: usize = 64 * 1024;

/// A volume that was published, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Volume {
    /// Its id.
    pub(super) id: String,
    /// Where it is mounted.
    pub(super) target: PathBuf,
    /// Whose directory it is.
    pub(super) agent: AgentName,
    /// Whom its pod runs as.
    pub(super) pod: PodIdentity,
    /// Whether the kubelet keeps a file beside it.
    pub(super) kubelet_file: bool,
    /// What is mounted is an empty directory that belongs to nobody any more.
    #[serde(default)]
    pub(super) cut_off: bool,
}

impl Volume {
    /// A volume that is to be published.
    pub(super) fn new(id: &str, target: &Path, agent: &AgentName, pod: &PodIdentity) -> Self {
        Self {
            id: id.to_owned(),
            target: target.to_owned(),
            agent: agent.clone(),
            pod: pod.clone(),
            kubelet_file: kubelet_file(target),
            cut_off: false,
        }
    }
}

fn kubelet_file(target: &Path) -> bool {
    target.with_file_name(KUBELET_FILE).exists()
}

type Turn = Arc<tokio::sync::Mutex<()>>;

/// The volumes of this node.
pub struct Volumes {
    folder: PathBuf,
    known: Mutex<HashMap<String, Volume>>,
    turns: Mutex<HashMap<String, Turn>>,
    places: Mutex<HashMap<PathBuf, Turn>>,
}

/// What is held while a volume is published or withdrawn.
pub(super) struct Turns {
    _volume: OwnedMutexGuard<()>,
    _place: OwnedMutexGuard<()>,
}

async fn take<K: Eq + Hash>(turns: &Mutex<HashMap<K, Turn>>, key: K) -> OwnedMutexGuard<()> {
    let turn = {
        let mut turns = lock(turns);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(key).or_default())
    };
    turn.lock_owned().await
}

impl Volumes {
    /// Reads what an earlier daemon published, from `<runtime_dir>/volumes`.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(runtime_dir: &Path) -> io::Result<Self> {
        let folder = runtime_dir.join("volumes");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut known = HashMap::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == STAGE) {
                // Cut off while it was mounted.
                mount::withdraw(&path)?;
                continue;
            }
            let whole = path.extension().is_some_and(|extension| extension == "json");
            let note = file::read_whole(&path, MOST_NOTED)?;
            let volume = serde_json::from_slice::<Volume>(&note);
            match volume.ok().filter(|_| whole) {
                Some(volume) => {
                    known.insert(volume.id.clone(), volume);
                }
                // Cut off while it was written: nothing had been mounted then.
                None => fs::remove_file(&path)?,
            }
        }
        Ok(Self {
            folder,
            known: Mutex::new(known),
            turns: Mutex::default(),
            places: Mutex::default(),
        })
    }

    /// Waits until nobody else is at this volume.
    async fn turn(&self, id: &str) -> OwnedMutexGuard<()> {
        take(&self.turns, id.to_owned()).await
    }

    /// Waits until nobody else is at this volume, nor at this place.
    pub(super) async fn turns(&self, id: &str, target: &Path) -> Turns {
        let volume = self.turn(id).await;
        // Always in this order, so that no two wait for each other.
        let place = take(&self.places, target.to_owned()).await;
        Turns {
            _volume: volume,
            _place: place,
        }
    }

    /// Another volume that was published at this place.
    pub(super) fn other_at(&self, id: &str, target: &Path) -> Option<Volume> {
        let known = lock(&self.known);
        let mut others = known.values().filter(|known| known.id != id);
        others.find(|other| other.target == target).cloned()
    }

    /// What is known of a volume.
    pub(super) fn get(&self, id: &str) -> Option<Volume> {
        lock(&self.known).get(id).cloned()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        lock(&self.known).len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps a volume. To be called before it is mounted, so that nothing is mounted that is not known.
    pub(super) fn keep(&self, volume: &Volume) -> io::Result<()> {
        self.write(volume)?;
        lock(&self.known).insert(volume.id.clone(), volume.clone());
        Ok(())
    }

    /// Forgets a volume that is no longer mounted.
    pub(super) fn forget(&self, id: &str) -> io::Result<()> {
        let mut known = lock(&self.known);
        known.remove(id);
        match fs::remove_file(self.file(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// True when some pod has the agent's directory that may not have it now.
    pub(crate) fn has_stranger(&self, agent: &AgentName, allowed: Option<&PodIdentity>) -> bool {
        lock(&self.known)
            .values()
            .any(|volume| volume.agent == *agent && !volume.cut_off && Some(&volume.pod) != allowed)
    }

    /// True when some pod has the agent's directory.
    pub(crate) fn has_any(&self, agent: &AgentName) -> bool {
        lock(&self.known)
            .values()
            .any(|volume| volume.agent == *agent && !volume.cut_off)
    }

    /// The agent's directory was removed: what pods have of it is an empty one.
    pub(crate) fn cut_off(&self, agent: &AgentName) {
        let mut known = lock(&self.known);
        for volume in known.values_mut().filter(|volume| volume.agent == *agent) {
            volume.cut_off = true;
            if let Err(error) = self.write(volume) {
                // At worst the directory is exchanged once more after a restart.
                tracing::warn!(volume = volume.id, %error, "that a volume was cut off could not be noted");
            }
        }
    }

    /// Writes again what is noted of volumes and is not there any more.
    ///
    /// # Errors
    /// When the folder, or a file in it, cannot be written.
    pub(super) async fn note_again(self: &Arc<Self>) -> io::Result<()> {
        let volumes = Arc::clone(self);
        let noted = spawn_blocking(move || {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&volumes.folder)?;
            // Held meanwhile, so that none is written that is being forgotten.
            let known = lock(&volumes.known);
            let is_gone = |volume: &&Volume| !volumes.file(&volume.id).exists();
            known
                .values()
                .filter(is_gone)
                .try_for_each(|volume| volumes.write(volume))
        });
        // Nothing panics in it but what has said so.
        noted.await.unwrap_or(Ok(()))
    }

    /// Withdraws what is left of pods that have vanished: the kubelet forgot them without a word to us, or their place
    /// is gone.
    pub(super) async fn tidy(self: &Arc<Self>) {
        let known: Vec<Volume> = lock(&self.known).values().cloned().collect();
        for Volume { id, target, .. } in known {
            let turns = self.turns(&id, &target).await;
            let volumes = Arc::clone(self);
            let tidied = spawn_blocking(move || {
                let _turns = turns;
                volumes.tidy_one(&id).inspect_err(
                    |error| tracing::warn!(volume = id, %error, "a volume could not be looked after"),
                )
            });
            // It has said what went wrong.
            let _ = tidied.await;
        }
    }

    fn tidy_one(&self, id: &str) -> io::Result<()> {
        let Some(volume) = self.get(id) else {
            return Ok(());
        };
        let mounted = mount::is_mounted(&volume.target)?;
        let forgotten = volume.kubelet_file && !kubelet_file(&volume.target);
        if mounted && !forgotten {
            return Ok(());
        }
        if mounted {
            mount::withdraw(&volume.target)?;
        }
        tracing::info!(volume = id, agent = %volume.agent, "a pod has vanished, and its volume with it");
        self.forget(id)
    }

    fn write(&self, volume: &Volume) -> io::Result<()> {
        let file = self.file(&volume.id);
        let fresh = file.with_extension("new");
        let written = fs::write(&fresh, serde_json::to_vec(volume)?).and_then(|()| fs::rename(&fresh, file));
        // Half a file is no use, and nobody would look for it before the next start.
        written.inspect_err(|_| drop(fs::remove_file(fresh)))
    }

    /// Where a volume is mounted on its way to its place.
    pub(super) fn stage(&self, id: &str) -> PathBuf {
        self.file(id).with_extension(STAGE)
    }

    /// Ids are anything; names of files are not.
    fn file(&self, id: &str) -> PathBuf {
        use std::fmt::Write;
        let mut name = String::new();
        for byte in digest(&SHA256, id.as_bytes()).as_ref() {
            let _ = write!(name, "{byte:02x}");
        }
        self.folder.join(name + ".json")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
