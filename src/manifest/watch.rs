//! Applies changes in the folder of manifests as they happen.
//!
//! The kernel's notices (inotify, through `notify`) only say that it is worth looking, and which files are
//! not to be trusted by their times; what is in force always comes from a [`Folder::scan`]. So a notice that
//! is lost, doubled or out of order does no harm. There are none of what lies behind a symbolic link, nor on many
//! network file systems: so the folder is also looked at slowly, whatever the kernel says.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt,
    panic,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use notify::{
    Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::{Notify, mpsc},
    task::{self, JoinError},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::folder::{Folder, Scan};
use crate::text::ShowPath;

/// How long it has to be quiet before the folder is read.
const QUIET: Duration = Duration::from_millis(100);
/// After this long it is read even if it is not quiet.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked at while the kernel gives no notice.
const POLL: Duration = Duration::from_secs(5);
/// How often it is looked at although the kernel gives notice.
const SLOW: Duration = Duration::from_secs(30);
/// With more changed files than this, their names no longer matter: all are read again.
const MAX_NAMES: usize = 4096;

/// Reads the folder whenever it changes and sends what is then in force, if it differs from what the folder
/// gave before; the first outcome is sent too, unless the folder has been scanned already.
///
/// `rescan` makes it read every file again. Ends with `shutdown`, or when nobody receives any more.
pub async fn watch(
    folder: Folder,
    scans: mpsc::Sender<Scan>,
    rescan: Arc<Notify>,
    shutdown: CancellationToken,
) {
    run(Session::new(folder, inotify), scans, rescan, shutdown).await;
}

async fn run(
    mut session: Session,
    scans: mpsc::Sender<Scan>,
    rescan: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let mailbox = Arc::clone(&session.mailbox);
    // Not everything: what the folder has read already stands.
    let mut news = News {
        folder: true,
        ..News::default()
    };
    let mut slow = Instant::now() + session.slow;
    loop {
        if news.later {
            slow = Instant::now() + session.slow;
        }
        let Some((looked, scan)) = look(session, news).await else {
            return;
        };
        session = looked;
        if let Some(scan) = scan {
            tokio::select! {
                () = shutdown.cancelled() => return,
                sent = scans.send(scan) => if sent.is_err() { return },
            }
        }
        news = tokio::select! {
            () = shutdown.cancelled() => return,
            () = rescan.notified() => News::everything(),
            () = mailbox.settled() => mailbox.take(),
            () = sleep(session.poll), if !session.is_watching() => mailbox.take().later(),
            // Even while notices come without end: they may be of other files.
            () = sleep_until(slow) => mailbox.take().later(),
        };
    }
}

/// Looks at the folder where blocking is allowed. `None` when the runtime is shutting down.
async fn look(mut session: Session, news: News) -> Option<(Session, Option<Scan>)> {
    let looked = task::spawn_blocking(move || {
        let scan = session.look(&news);
        (session, scan)
    });
    match looked.await.map_err(JoinError::try_into_panic) {
        Ok(result) => Some(result),
        Err(Ok(panic)) => panic::resume_unwind(panic),
        Err(Err(_cancelled)) => None,
    }
}

/// What the kernel's notices amount to.
#[derive(Debug, Default)]
struct News {
    /// Time has passed, and no notice need have come of a change.
    later: bool,
    /// Something may be different that no name was given for.
    everything: bool,
    /// The folder itself was created, removed, moved or replaced.
    folder: bool,
    /// Files in it that were touched.
    names: HashSet<OsString>,
}

impl News {
    fn everything() -> Self {
        Self {
            everything: true,
            folder: true,
            ..Self::default()
        }
    }

    fn later(self) -> Self {
        Self { later: true, ..self }
    }

    /// Adds a notice. False when it says nothing new about the folder.
    fn add(&mut self, folder: &Path, event: notify::Result<Event>) -> bool {
        let Ok(event) = event else {
            *self = Self::everything();
            return true;
        };
        // The queue of notices overflowed.
        if event.need_rescan() {
            *self = Self::everything();
            return true;
        }
        // Reading the files causes such notices as well.
        let written = AccessKind::Close(AccessMode::Write);
        if matches!(event.kind, EventKind::Access(kind) if kind != written) {
            return false;
        }
        for path in &event.paths {
            match path.strip_prefix(folder).ok().map(Path::file_name) {
                Some(Some(name)) if self.names.len() < MAX_NAMES => {
                    self.names.insert(name.to_owned());
                }
                Some(Some(_)) => self.everything = true,
                Some(None) => self.folder = true,
                // Beside the folder. It may be a symbolic link through what changed there, which shows in
                // its identity.
                None => {}
            }
        }
        true
    }
}

/// Where the kernel's notices are gathered, however fast they come.
#[derive(Default)]
struct Mailbox {
    news: Mutex<News>,
    bell: Notify,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, folder: &Path, event: notify::Result<Event>) {
        if self.lock().add(folder, event) {
            self.bell.notify_one();
        }
    }

    fn take(&self) -> News {
        std::mem::take(&mut *self.lock())
    }

    /// Waits for a notice, and then until it is quiet or patience ends.
    async fn settled(&self) {
        self.bell.notified().await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let quiet = (Instant::now() + QUIET).min(deadline);
            if timeout_at(quiet, self.bell.notified()).await.is_err() {
                return;
            }
        }
    }
}

/// Makes a watcher that calls back.
type MakeWatcher = fn(Arc<Mailbox>, PathBuf) -> notify::Result<RecommendedWatcher>;

fn inotify(mailbox: Arc<Mailbox>, folder: PathBuf) -> notify::Result<RecommendedWatcher> {
    RecommendedWatcher::new(move |event| mailbox.put(&folder, event), Config::default())
}

/// A folder and the watch on it.
struct Session {
    folder: Folder,
    /// The folder's path, absolute, as the notices spell it.
    path: PathBuf,
    mailbox: Arc<Mailbox>,
    make: MakeWatcher,
    watcher: Option<RecommendedWatcher>,
    /// Device and inode that the watch is on; `None` when the folder is not watched.
    watched: Option<(u64, u64)>,
    warned: bool,
    poll: Duration,
    slow: Duration,
}

impl Session {
    fn new(folder: Folder, make: MakeWatcher) -> Self {
        let path = std::path::absolute(folder.path()).unwrap_or_else(|_| folder.path().to_owned());
        Self {
            folder,
            path,
            mailbox: Arc::default(),
            make,
            watcher: None,
            watched: None,
            warned: false,
            poll: POLL,
            slow: SLOW,
        }
    }

    fn is_watching(&self) -> bool {
        self.watched.is_some()
    }

    /// Reads the folder if there may be something new.
    fn look(&mut self, news: &News) -> Option<Scan> {
        let moved = news.folder || self.watched != identity(&self.path);
        // Watched first and read then, so that nothing falls in between.
        if moved || self.watcher.is_none() {
            self.establish();
        } else if !news.everything && !news.later && news.names.is_empty() && self.is_watching() {
            return None;
        }
        if news.later {
            self.folder.age();
        }
        if news.everything {
            self.folder.distrust_all();
        }
        for name in &news.names {
            self.folder.distrust(name);
        }
        self.folder.scan_if_changed()
    }

    /// Watches the folder, and what holds it for the day it is created, replaced or moved back.
    fn establish(&mut self) {
        // Before the watch: a folder that is replaced meanwhile then differs, and is looked at again.
        let identity = identity(&self.path);
        self.watched = None;
        let watcher = (self.make)(Arc::clone(&self.mailbox), self.path.clone()).and_then(|mut watcher| {
            if let Some(parent) = self.path.parent()
                && let Err(error) = watcher.watch(parent, RecursiveMode::NonRecursive)
            {
                tracing::debug!(path = %parent.shown(), %error, "the folder's parent cannot be watched");
            }
            if identity.is_some() {
                watcher.watch(&self.path, RecursiveMode::NonRecursive)?;
                self.watched = identity;
            }
            Ok(watcher)
        });
        match watcher {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                self.warned = false;
            }
            Err(error) => {
                self.watcher = None;
                if !self.warned {
                    tracing::warn!(
                        path = %self.path.shown(),
                        %error,
                        every_seconds = self.poll.as_secs(),
                        "the kernel does not watch the folder of manifests (see fs.inotify in sysctl); \
                         looking at it regularly instead"
                    );
                }
                self.warned = true;
            }
        }
    }
}

/// Device and inode of what the path leads to.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests;
