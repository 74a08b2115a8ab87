//! One agent's place on disk: its directory, its files, its socket, and whose turn it is to change them.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc;
use url::Url;

use crate::{
    agent_api::{endpoint::Server, socket::Socket},
    agent_files::{
        directory::AgentDir,
        entry::{Entry, Owner},
        error::FileError,
        files::Files,
        mark::Mark,
        runtime::Runtime,
    },
    agent_view::{adc::CredentialFiles, view::View},
    broker::{AgentHandle, AgentSnapshot},
    budget::Refusals,
    clock::{SharedClock, Uptime},
    health::Readiness,
    id::AgentName,
    kubernetes::csi::Volumes,
    manifest::Manifest,
    text::ShowPath,
};

/// The first pause after a failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The pause between two steps of removing what agents left.
const SWEEP: Duration = Duration::from_millis(20);
/// The condition of readiness that there is a folder for agents' directories, in which files can be written.
const FOLDER: &str = "runtime_dir";
/// The longest pause.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// What delivering takes, whichever agent it is for.
pub(super) struct Context {
    pub(super) runtime: Runtime,
    pub(super) server: Arc<Server>,
    pub(super) clock: SharedClock,
    /// Where agents' token endpoint is, if there is one.
    pub(super) token_url: Option<Url>,
    /// What pods have as volumes, where there is a CSI driver.
    pub(super) volumes: Option<Arc<Volumes>>,
    /// What the daemon cannot do.
    pub(super) readiness: Arc<Readiness>,
    /// Directories that were not as they were left.
    pub(super) meddled: Refusals,
    /// What agents left and cannot be removed.
    pub(super) unswept: Refusals,
    pub(super) notices: mpsc::UnboundedSender<Notice>,
}

/// What a worker has to say to the writer.
pub(super) enum Notice {
    /// Agents' directories can be looked at; or there is no folder for them.
    Folder(bool),
    /// This agent's directory is not as it was left.
    Changed(AgentName),
    /// Something waits to be removed.
    Trash,
    /// Some of that was removed; the rest is to be in so long, where there is any.
    Swept(Option<Duration>),
    /// Something failed: try this agent again then.
    Retry(AgentName, Uptime),
    /// Nothing is left of this agent.
    Gone(AgentName),
}

impl Context {
    /// Makes sure that there is a folder for agents' directories, where agents look for them, and that files can be written
    /// in it.
    pub(super) fn look_after_folder(&self) {
        let restored = self.runtime.restore();
        if matches!(restored, Ok(true)) {
            tracing::warn!(
                folder = %self.runtime.path().shown(),
                "the folder of agents' directories was gone and was made again; containers that have theirs mounted have to \
                 be started again"
            );
        }
        let is_usable = restored.as_ref().map_err(ToString::to_string);
        match is_usable.and_then(|_| self.runtime.can_be_written()) {
            Ok(()) => self.readiness.holds(FOLDER),
            Err(problem) => self.readiness.fails(FOLDER, problem),
        }
        let _ = self.notices.send(Notice::Folder(restored.is_ok()));
    }

    /// An agent's files could not be written: that may be no trouble of its own. That it is over is seen in the next round.
    fn look_whether_all_fail(&self) {
        if let Err(problem) = self.runtime.can_be_written() {
            self.readiness.fails(FOLDER, problem);
        }
    }

    /// Removes some of what waits for it.
    pub(super) fn sweep(&self) {
        let again = match self.runtime.sweep() {
            Ok(true) => Some(SWEEP),
            Ok(false) => None,
            Err(error) => {
                self.unswept.count(std::io::Error::from(error));
                Some(LAST_RETRY)
            }
        };
        let _ = self.notices.send(Notice::Swept(again));
    }
}

/// One agent's place.
pub(super) struct Slot {
    name: AgentName,
    /// Somebody looks at it, or is about to.
    is_looked_at: AtomicBool,
    turn: Mutex<Turn>,
    place: Mutex<Place>,
}

/// What is to be done, and whether somebody is at it.
#[derive(Default)]
struct Turn {
    /// Whom to serve; nobody when the directory is to go.
    target: Option<Arc<AgentHandle>>,
    /// Earlier bearers of the name that still wait to hear that nothing is left of them.
    superseded: Vec<Arc<AgentHandle>>,
    busy: bool,
    again: bool,
    /// Dropped when the work is done.
    witness: Option<mpsc::Sender<Infallible>>,
}

/// What is on disk. Only the worker whose turn it is locks it.
#[derive(Default)]
struct Place {
    serving: Option<Arc<AgentHandle>>,
    files: Files,
    socket: Option<Socket>,
    /// How the directory was left.
    directory: Option<Mark>,
    /// Something of whoever is or was served may be in the directory.
    is_used: bool,
    failures: u32,
}

impl Slot {
    pub(super) fn new(name: AgentName) -> Arc<Self> {
        Arc::new(Self {
            name,
            is_looked_at: AtomicBool::new(false),
            turn: Mutex::default(),
            place: Mutex::default(),
        })
    }

    /// Takes note that `agent` changed. True when the slot has to be handed to a worker.
    pub(super) fn point_to(&self, agent: &Arc<AgentHandle>) -> bool {
        let mut turn = self.turn();
        let outlived = |target: &Arc<AgentHandle>| !Arc::ptr_eq(target, agent) && !target.is_removed();
        if agent.is_removed() && turn.target.as_ref().is_some_and(outlived) {
            turn.superseded.push(Arc::clone(agent));
            return turn.claim();
        }
        if let Some(before) = turn.target.take_if(|target| !Arc::ptr_eq(target, agent)) {
            turn.superseded.push(before);
        }
        turn.target = Some(Arc::clone(agent));
        turn.claim()
    }

    /// Takes note that nobody has this name. True when the slot has to be handed to a worker.
    pub(super) fn point_to_nobody(&self, witness: mpsc::Sender<Infallible>) -> bool {
        let mut turn = self.turn();
        turn.witness = Some(witness);
        turn.claim()
    }

    /// True when the slot has to be handed to a worker, to do once more what failed.
    pub(super) fn try_again(&self) -> bool {
        self.turn().claim()
    }

    /// Whom it serves, and what has to be delivered for everything up to now to be on disk.
    pub(super) fn awaited(&self) -> Option<(Arc<AgentHandle>, u64)> {
        let agent = self.turn().target.clone()?;
        let revision = agent.revision();
        Some((agent, revision))
    }

    /// True when nothing is left and nothing is to be done.
    pub(super) fn is_vacant(&self) -> bool {
        let turn = self.turn();
        !turn.busy && turn.target.as_ref().is_none_or(|agent| agent.is_removed())
    }

    /// Does what is to be done, until there is nothing more.
    pub(super) fn work(&self, context: &Context) {
        loop {
            let (target, superseded) = {
                let mut turn = self.turn();
                (turn.target.clone(), std::mem::take(&mut turn.superseded))
            };
            let (notice, leftover) = self.deliver(context, target.as_ref());
            for gone in &superseded {
                report(context, gone, gone.revision(), leftover.clone());
            }
            let mut turn = self.turn();
            if leftover.is_some() {
                turn.superseded.extend(superseded);
            }
            if std::mem::take(&mut turn.again) {
                continue;
            }
            turn.busy = false;
            turn.witness = None;
            drop(turn);
            let trash = context.runtime.takes_trash().then_some(Notice::Trash);
            for notice in notice.into_iter().chain(trash) {
                // Without a writer the program is going down.
                let _ = context.notices.send(notice);
            }
            return;
        }
    }

    /// What is to be done next, and what keeps earlier bearers of the name from being gone.
    fn deliver(
        &self,
        context: &Context,
        target: Option<&Arc<AgentHandle>>,
    ) -> (Option<Notice>, Option<String>) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(agent) = target else {
            let problem = self.clear(context, &mut place, Clearing::Removed);
            let notice = self.after_clearing(context, &mut place, problem.is_none());
            return (Some(notice), problem);
        };
        // Before everything that it stands for.
        let revision = agent.revision();
        if agent.is_removed() {
            let clearing = if agent.is_succeeded() {
                Clearing::Succeeded
            } else {
                Clearing::Removed
            };
            let problem = self.clear(context, &mut place, clearing);
            report(context, agent, revision, problem.clone());
            let notice = self.after_clearing(context, &mut place, problem.is_none());
            return (Some(notice), problem);
        }
        let is_served = |serving: &Arc<AgentHandle>| Arc::ptr_eq(serving, agent);
        if !place.serving.as_ref().is_some_and(is_served) {
            if place.is_used
                && let Some(problem) = self.clear(context, &mut place, Clearing::Succeeded)
            {
                report(context, agent, revision, Some(problem.clone()));
                return (Some(self.retry(context, &mut place)), Some(problem));
            }
            place.serving = Some(Arc::clone(agent));
            place.is_used = true;
        }
        let snapshot = agent.snapshot();
        let now = context.server.moment();
        let view = View::new(&snapshot, now);
        let failure = self.serve(context, &mut place, agent, &view, now.uptime);
        let failed = failure.is_some();
        let problem = failure.into_iter().chain(view.problem()).reduce(join);
        if problem != agent.delivery_problem() {
            if let Some(problem) = &problem {
                tracing::warn!(agent = %self.name, problem, "delivery has a problem");
            } else {
                tracing::info!(agent = %self.name, "delivery works again");
            }
        }
        if failed {
            // Before anybody hears that it was tried.
            context.look_whether_all_fail();
        }
        report(context, agent, revision, problem);
        if !failed {
            place.failures = 0;
            return (None, None);
        }
        (Some(self.retry(context, &mut place)), None)
    }

    /// Files first, then the socket. What can be done is done; the sentence says what could not.
    fn serve(
        &self,
        context: &Context,
        place: &mut Place,
        agent: &Arc<AgentHandle>,
        view: &View<'_>,
        now: Uptime,
    ) -> Option<String> {
        let manifest = &view.snapshot().manifest;
        let owner = Owner {
            uid: manifest.uid,
            gid: manifest.gid,
        };
        let path = context.runtime.path_of(&self.name);
        let sentence = |error: &FileError| format!("{}{error}", path.shown());
        if let Err(error) = self.cut_off_stranger(context, place, manifest) {
            return Some(sentence(&error));
        }
        let keys = &context.server.keys;
        let dir = match context.runtime.agent(&self.name, owner) {
            Ok(dir) => dir,
            Err(error) => return Some(sentence(&error)),
        };
        if place
            .socket
            .as_ref()
            .is_some_and(|socket| socket.owner() != owner)
        {
            place.socket = None;
        }
        if let Err(error) = dir.assert_ownership() {
            // Whoever may read the directory now may not be who should.
            let left = place.files.withdraw(&dir).err();
            place.socket = None;
            return std::iter::once(&error).chain(&left).map(sentence).reduce(join);
        }
        let before = std::mem::replace(&mut place.directory, dir.mark(keys));
        if dir.was_made() && before.is_some() {
            self.lost(context);
        }
        let credentials = context
            .token_url
            .as_ref()
            .filter(|_| serves_google_libraries(view.snapshot()))
            .and_then(|url| Some(CredentialFiles::new(agent.name(), agent.secret()?, url)));
        let mut errors = place.files.write(&dir, view, credentials.as_ref(), now, keys);
        let listening = listen(context, place, agent, &dir);
        errors.extend(listening.err());
        errors.iter().map(sentence).reduce(join)
    }

    /// Where a pod has the directory that may have it no longer, exchanges it for another.
    fn cut_off_stranger(
        &self,
        context: &Context,
        place: &mut Place,
        manifest: &Manifest,
    ) -> Result<(), FileError> {
        let stranger =
            |volumes: &&Arc<Volumes>| volumes.has_stranger(&self.name, manifest.kubernetes.as_deref());
        let Some(volumes) = context.volumes.as_ref().filter(stranger) else {
            return Ok(());
        };
        tracing::warn!(
            agent = %self.name,
            "a pod that has the agent's directory may have it no longer: it is exchanged for another, and the \
             agent's other pods have to be restarted"
        );
        place.socket = None;
        place.directory = None;
        place.files = Files::default();
        // Only another directory keeps out whoever has this one mounted.
        context.runtime.remove(&self.name)?;
        volumes.cut_off(&self.name);
        Ok(())
    }

    /// The directory was gone, and another was made in its place: who had the one before mounted has nothing any more.
    fn lost(&self, context: &Context) {
        tracing::warn!(
            agent = %self.name,
            "the agent's directory was gone and was made again; containers that have the one before mounted have to be \
             started again"
        );
        if let Some(volumes) = &context.volumes {
            volumes.cut_off(&self.name);
        }
    }

    /// True when somebody should look at it: a look that hangs is not followed by another.
    pub(super) fn wants_a_look(&self) -> bool {
        !self.is_looked_at.swap(true, Ordering::AcqRel)
    }

    /// Looks at what is on disk, and has it brought in order where it is not as it was left.
    pub(super) fn look_after(&self, context: &Context) {
        let changed = self.look(context);
        self.is_looked_at.store(false, Ordering::Release);
        if changed.is_empty() {
            return;
        }
        let changed = changed.join(", ");
        context.meddled.count(format_args!("{} ({changed})", self.name));
        let _ = context.notices.send(Notice::Changed(self.name.clone()));
    }

    /// Compares what is on disk with how it was left. What is not the same is brought in order by whoever works on the slot
    /// next; what could not be written is tried again anyway. The names of what is not the same.
    fn look(&self, context: &Context) -> Vec<&'static str> {
        // Whoever is at it sees for himself.
        let Ok(place) = self.place.try_lock() else {
            return Vec::new();
        };
        let (Some(left), Some(_)) = (place.directory, &place.serving) else {
            return Vec::new();
        };
        let keys = &context.server.keys;
        let Some(dir) = context.runtime.look(&self.name) else {
            return vec!["the directory"];
        };
        let directory = (dir.mark(keys) != Some(left)).then_some("the directory");
        let socket = place.socket.as_ref();
        let socket = socket.filter(|socket| dir.entry(Entry::Socket, keys) != Some(socket.mark()));
        let entries = place
            .files
            .changed(&dir, keys)
            .chain(socket.map(|_| Entry::Socket));
        let entries = entries.filter_map(|entry| entry.name().to_str().ok());
        directory.into_iter().chain(entries).collect()
    }

    /// Ends the socket and takes away what is in the directory. What could not be done, in a sentence.
    fn clear(&self, context: &Context, place: &mut Place, clearing: Clearing) -> Option<String> {
        place.socket = None;
        place.serving = None;
        place.is_used = true;
        place.directory = None;
        place.files = Files::default();
        let is_mounted_by_pods = context
            .volumes
            .as_ref()
            .is_some_and(|volumes| volumes.has_any(&self.name));
        // What a pod has mounted cannot be given to another, so for the next there is another directory. A container that
        // was started by hand keeps what it has mounted, which is emptied.
        let cleared = match clearing {
            Clearing::Succeeded if !is_mounted_by_pods => context.runtime.empty(&self.name),
            Clearing::Succeeded | Clearing::Removed => context.runtime.remove(&self.name),
        };
        if let Err(error) = cleared {
            let problem = format!("{}{error}", context.runtime.path_of(&self.name).shown());
            tracing::warn!(agent = %self.name, problem, "what an agent had that is gone is still there");
            return Some(problem);
        }
        if let Some(volumes) = &context.volumes {
            volumes.cut_off(&self.name);
        }
        place.is_used = false;
        place.failures = 0;
        None
    }

    fn after_clearing(&self, context: &Context, place: &mut Place, is_cleared: bool) -> Notice {
        if is_cleared {
            Notice::Gone(self.name.clone())
        } else {
            self.retry(context, place)
        }
    }

    fn retry(&self, context: &Context, place: &mut Place) -> Notice {
        let pause = FIRST_RETRY
            .saturating_mul(1 << place.failures.min(16))
            .min(LAST_RETRY);
        place.failures = place.failures.saturating_add(1);
        // A token that expires meanwhile has to go in time.
        let now = context.clock.uptime();
        let until_expiry = place
            .files
            .expires_at()
            .map(|at| now.until(at).unwrap_or_default());
        let pause = until_expiry.map_or(pause, |left| if left.is_zero() { pause } else { pause.min(left) });
        Notice::Retry(self.name.clone(), now.after(pause))
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a directory is cleared.
#[derive(Debug, Clone, Copy)]
enum Clearing {
    /// Nobody has the name any more.
    Removed,
    /// Somebody else holds an agent of the name.
    Succeeded,
}

impl Turn {
    fn claim(&mut self) -> bool {
        if self.busy {
            self.again = true;
            return false;
        }
        self.busy = true;
        true
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `reduce` takes")]
fn join(a: String, b: String) -> String {
    a + "; " + &b
}

/// Tells the broker what is on disk.
fn report(context: &Context, agent: &Arc<AgentHandle>, revision: u64, problem: Option<String>) {
    context.server.note_delivered(agent, revision, problem);
}

/// Whether Google's libraries may find credentials in the agent's directory. One that declares nothing yet may declare
/// something of Google's next.
fn serves_google_libraries(snapshot: &AgentSnapshot) -> bool {
    snapshot.for_google_libraries().is_some()
}

/// Puts the agent's socket into its directory, where it is not there as it was left.
fn listen(
    context: &Context,
    place: &mut Place,
    agent: &Arc<AgentHandle>,
    dir: &AgentDir,
) -> Result<(), FileError> {
    match &mut place.socket {
        Some(socket) => {
            socket.forget_answer();
            if dir.entry(Entry::Socket, &context.server.keys) == Some(socket.mark()) {
                Ok(())
            } else {
                socket.open_again(dir)
            }
        }
        None => Socket::open(dir, &context.server, agent).map(|socket| place.socket = Some(socket)),
    }
}
