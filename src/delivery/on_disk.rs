//! What is on disk for one agent: its directory, its files, its socket, and how they are brought to what is desired.

use std::{sync::Arc, time::Duration};

use super::context::{Context, LAST_RETRY, Notice};
use crate::{
    agent_api::socket::Socket,
    agent_files::{
        directory::AgentDir,
        entry::{Entry, Owner},
        error::FileError,
        files::Files,
        mark::Mark,
    },
    agent_view::{adc::CredentialFiles, view::View},
    broker::{AgentHandle, AgentSnapshot},
    clock::Uptime,
    id::AgentName,
    kubernetes::csi::Volumes,
    manifest::Manifest,
    text::ShowPath,
};

/// The first pause after a failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// What is on disk of one agent, and how it was left.
pub(super) struct OnDisk {
    name: AgentName,
    serving: Option<Arc<AgentHandle>>,
    files: Files,
    socket: Option<Socket>,
    /// How the directory was left.
    directory: Option<Mark>,
    /// Something of whoever is or was served may be in the directory.
    is_used: bool,
    failures: u32,
}

impl OnDisk {
    pub(super) fn new(name: AgentName) -> Self {
        Self {
            name,
            serving: None,
            files: Files::default(),
            socket: None,
            directory: None,
            is_used: false,
            failures: 0,
        }
    }

    /// What is to be done next, and what keeps earlier bearers of the name from being gone.
    pub(super) fn reconcile(
        &mut self,
        context: &Context,
        target: Option<&Arc<AgentHandle>>,
    ) -> (Option<Notice>, Option<String>) {
        let Some(agent) = target else {
            let problem = self.clear(context, Clearing::Removed);
            let notice = self.after_clearing(context, problem.is_none());
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
            let problem = self.clear(context, clearing);
            report(context, agent, revision, problem.clone());
            let notice = self.after_clearing(context, problem.is_none());
            return (Some(notice), problem);
        }
        let is_served = |serving: &Arc<AgentHandle>| Arc::ptr_eq(serving, agent);
        if !self.serving.as_ref().is_some_and(is_served) {
            if self.is_used
                && let Some(problem) = self.clear(context, Clearing::Succeeded)
            {
                report(context, agent, revision, Some(problem.clone()));
                return (Some(self.retry(context)), Some(problem));
            }
            self.serving = Some(Arc::clone(agent));
            self.is_used = true;
        }
        let snapshot = agent.snapshot();
        let now = context.server.moment();
        let view = View::new(&snapshot, now);
        let failure = self.serve(context, agent, &view, now.uptime);
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
            self.failures = 0;
            return (None, None);
        }
        (Some(self.retry(context)), None)
    }

    /// Files first, then the socket. What can be done is done; the sentence says what could not.
    fn serve(
        &mut self,
        context: &Context,
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
        if let Err(error) = self.cut_off_stranger(context, manifest) {
            return Some(sentence(&error));
        }
        let keys = &context.server.keys;
        let dir = match context.runtime.agent(&self.name, owner) {
            Ok(dir) => dir,
            Err(error) => return Some(sentence(&error)),
        };
        if self.socket.as_ref().is_some_and(|socket| socket.owner() != owner) {
            self.socket = None;
        }
        if let Err(error) = dir.assert_ownership() {
            // Whoever may read the directory now may not be who should.
            let left = self.files.withdraw(&dir).err();
            self.socket = None;
            return std::iter::once(&error).chain(&left).map(sentence).reduce(join);
        }
        let before = std::mem::replace(&mut self.directory, dir.mark(keys));
        if dir.was_made() && before.is_some() {
            self.lost(context);
        }
        let credentials = context
            .token_url
            .as_ref()
            .filter(|_| serves_google_libraries(view.snapshot()))
            .and_then(|url| Some(CredentialFiles::new(agent.name(), agent.secret()?, url)));
        let mut errors = self.files.write(&dir, view, credentials.as_ref(), now, keys);
        let listening = self.listen(context, agent, &dir);
        errors.extend(listening.err());
        errors.iter().map(sentence).reduce(join)
    }

    /// Puts the agent's socket into its directory, where it is not there as it was left.
    fn listen(
        &mut self,
        context: &Context,
        agent: &Arc<AgentHandle>,
        dir: &AgentDir,
    ) -> Result<(), FileError> {
        match &mut self.socket {
            Some(socket) => {
                socket.forget_answer();
                if dir.entry(Entry::Socket, &context.server.keys) == Some(socket.mark()) {
                    Ok(())
                } else {
                    socket.open_again(dir)
                }
            }
            None => Socket::open(dir, &context.server, agent).map(|socket| self.socket = Some(socket)),
        }
    }

    /// Where a pod has the directory that may have it no longer, exchanges it for another.
    fn cut_off_stranger(&mut self, context: &Context, manifest: &Manifest) -> Result<(), FileError> {
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
        self.socket = None;
        self.directory = None;
        self.files = Files::default();
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

    /// Compares what is on disk with how it was left. What is not the same is brought in order by whoever works on it
    /// next; what could not be written is tried again anyway. The names of what is not the same.
    pub(super) fn look(&self, context: &Context) -> Vec<&'static str> {
        let (Some(left), Some(_)) = (self.directory, &self.serving) else {
            return Vec::new();
        };
        let keys = &context.server.keys;
        let Some(dir) = context.runtime.look(&self.name) else {
            return vec!["the directory"];
        };
        let directory = (dir.mark(keys) != Some(left)).then_some("the directory");
        let socket = self.socket.as_ref();
        let socket = socket.filter(|socket| dir.entry(Entry::Socket, keys) != Some(socket.mark()));
        let entries = self
            .files
            .changed(&dir, keys)
            .chain(socket.map(|_| Entry::Socket));
        let entries = entries.filter_map(|entry| entry.name().to_str().ok());
        directory.into_iter().chain(entries).collect()
    }

    /// Ends the socket and takes away what is in the directory. What could not be done, in a sentence.
    fn clear(&mut self, context: &Context, clearing: Clearing) -> Option<String> {
        self.socket = None;
        self.serving = None;
        self.is_used = true;
        self.directory = None;
        self.files = Files::default();
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
        self.is_used = false;
        self.failures = 0;
        None
    }

    fn after_clearing(&mut self, context: &Context, is_cleared: bool) -> Notice {
        if is_cleared {
            Notice::Gone(self.name.clone())
        } else {
            self.retry(context)
        }
    }

    fn retry(&mut self, context: &Context) -> Notice {
        let pause = FIRST_RETRY
            .saturating_mul(1 << self.failures.min(16))
            .min(LAST_RETRY);
        self.failures = self.failures.saturating_add(1);
        // A token that expires meanwhile has to go in time.
        let now = context.clock.uptime();
        let until_expiry = self
            .files
            .expires_at()
            .map(|at| now.until(at).unwrap_or_default());
        let pause = until_expiry.map_or(pause, |left| if left.is_zero() { pause } else { pause.min(left) });
        Notice::Retry(self.name.clone(), now.after(pause))
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

#[expect(clippy::needless_pass_by_value, reason = "what `reduce` takes")]
fn join(a: String, b: String) -> String {
    a + "; " + &b
}

/// Tells the broker what is on disk.
pub(super) fn report(context: &Context, agent: &Arc<AgentHandle>, revision: u64, problem: Option<String>) {
    context.server.note_delivered(agent, revision, problem);
}

/// Whether Google's libraries may find credentials in the agent's directory. One that declares nothing yet may declare
/// something of Google's next.
fn serves_google_libraries(snapshot: &AgentSnapshot) -> bool {
    snapshot.for_google_libraries().is_some()
}
