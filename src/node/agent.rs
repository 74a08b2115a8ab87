//! One agent's directory on a node: its files, and its socket.

use std::{hash::RandomState, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tokio::{net::UnixListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    agent_api::socket,
    agent_files::{
        directory::AgentDir,
        entry::{Entry, Owner},
        error::FileError,
        mark::Mark,
        runtime::Runtime,
    },
    clock::{SharedClock, Uptime},
    id::AgentName,
    relay::{
        files::ShownFiles,
        forward::Forwarder,
        state::{Shown, State, Trouble},
    },
    text::ShowPath,
};

/// The pause after the directory could not be written.
const RETRY: Duration = Duration::from_secs(2);
/// How often the directory is compared with what was written.
const LOOK: Duration = Duration::from_secs(10);

/// What an agent's task goes by. No `Debug`: it holds tokens.
#[derive(Clone)]
pub(super) struct News {
    /// What the broker told last.
    pub(super) state: State,
    /// Why the broker does not answer; nothing where it does.
    pub(super) trouble: Option<Trouble>,
}

/// The directory, with what it should hold.
pub(super) struct AgentDirectory {
    name: AgentName,
    runtime: Arc<Runtime>,
    owner: Owner,
    clock: SharedClock,
    news: News,
    forwarder: Arc<Forwarder>,
    /// What whoever forwards requests may answer with.
    shown: Arc<ArcSwapOption<Shown>>,
    files: ShownFiles,
    /// How the socket was left, and who accepts on it.
    socket: Option<(Mark, JoinHandle<()>)>,
    keys: RandomState,
    problem: Option<String>,
}

impl AgentDirectory {
    /// Nothing is there yet.
    pub(super) fn new(
        name: AgentName,
        news: News,
        runtime: Arc<Runtime>,
        owner: Owner,
        clock: SharedClock,
        (forwarder, shown): (Arc<Forwarder>, Arc<ArcSwapOption<Shown>>),
    ) -> Self {
        Self {
            name,
            runtime,
            owner,
            clock,
            news,
            forwarder,
            shown,
            files: ShownFiles::default(),
            socket: None,
            keys: RandomState::new(),
            problem: None,
        }
    }

    /// Follows the news until `stop`.
    pub(super) async fn run(mut self, mut news: watch::Receiver<News>, stop: CancellationToken) {
        loop {
            self.put_in_order(&stop);
            let (wake, clock) = (self.wake(), Arc::clone(&self.clock));
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                came = news.changed() => {
                    if came.is_err() {
                        break;
                    }
                    self.news = news.borrow_and_update().clone();
                }
                () = clock.sleep_until(wake) => {}
            }
        }
        if let Some((_, serving)) = self.socket.take() {
            let _ = serving.await;
        }
    }

    fn put_in_order(&mut self, stop: &CancellationToken) {
        let now = self.clock.moment();
        let News { state, trouble } = &mut self.news;
        state.clock_shows(now);
        let shown = Arc::new(state.show(now.uptime, trouble.as_ref()));
        // Before the files: nobody who asks is answered with what was taken away.
        self.shown.store(Some(Arc::clone(&shown)));
        let problem = self.write(&shown, stop).err();
        let problem = problem.map(|error| format!("{}{error}", self.runtime.path_of(&self.name).shown()));
        if problem != self.problem {
            if let Some(problem) = &problem {
                tracing::warn!(agent = %self.name, problem, "delivery has a problem");
            } else {
                tracing::info!(agent = %self.name, "delivery works again");
            }
            self.problem = problem;
        }
    }

    /// Brings the directory to what is shown: what differs, each by rename.
    fn write(&mut self, shown: &Shown, stop: &CancellationToken) -> Result<(), FileError> {
        let dir = self.runtime.agent(&self.name, self.owner)?;
        dir.assert_ownership()?;
        if dir.was_made() {
            self.files = ShownFiles::default();
        }
        let written = self.files.write(&dir, shown, &self.keys);
        self.listen(&dir, stop)?;
        written
    }

    /// Opens the socket, and another in its place when it is gone.
    fn listen(&mut self, dir: &AgentDir, stop: &CancellationToken) -> Result<(), FileError> {
        let is_left = |left: &Mark| dir.entry(Entry::Socket, &self.keys) == Some(*left);
        if self.socket.as_ref().is_some_and(|(left, _)| is_left(left)) {
            return Ok(());
        }
        let (listener, left) = socket::place(dir, &self.keys)?;
        let listener = UnixListener::from_std(listener).map_err(|error| socket::unwatched(&error))?;
        let serving = tokio::spawn(Arc::clone(&self.forwarder).serve(listener, stop.clone()));
        // Nobody comes by the one that is gone. Connections stay.
        if let Some((_, before)) = self.socket.replace((left, serving)) {
            before.abort();
        }
        Ok(())
    }

    /// When to look again without any news: at the latest after a while, for what was written may vanish.
    fn wake(&self) -> Uptime {
        let pause = if self.problem.is_some() { RETRY } else { LOOK };
        let look = self.clock.uptime().after(pause);
        let expiry = self.shown.load().as_ref().and_then(|shown| shown.expires_at());
        expiry.into_iter().fold(look, Uptime::min)
    }
}
