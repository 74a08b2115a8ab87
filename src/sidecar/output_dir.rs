//! Keeps the shared directory as it should be: the files, and the socket once there was a token.

use std::{hash::RandomState, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tokio::{net::UnixListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::{place::Place, sync::News};
use crate::{
    agent_api::socket,
    agent_files::{directory::AgentDir, entry::Entry, error::FileError, mark::Mark},
    agent_view::document::Document,
    clock::{SharedClock, Uptime},
    id::AgentName,
    relay::{
        files::ShownFiles,
        state::{Shown, State, Trouble},
        written,
    },
    text::ShowPath,
};

/// The pause after the directory could not be written.
const RETRY: Duration = Duration::from_secs(2);
/// How often the directory is compared with what was written.
const LOOK: Duration = Duration::from_secs(10);

/// The directory, with what it should hold.
pub(super) struct OutputDir {
    place: Place,
    clock: SharedClock,
    state: State,
    trouble: Option<Trouble>,
    /// What whoever forwards requests may answer with.
    shown: Arc<ArcSwapOption<Shown>>,
    files: ShownFiles,
    /// How the socket was left; `None` before it is there.
    socket: Option<Mark>,
    keys: RandomState,
    /// What was said last of the directory, and of the agent.
    problem: Option<String>,
    told: (String, String, Option<String>),
    /// The trouble that was said last; `None` when the broker answers.
    said: Option<String>,
    /// Takes the socket when it is there, and each that was made in the place of one that was gone.
    listeners: mpsc::Sender<UnixListener>,
}

impl OutputDir {
    /// Takes over what an earlier sidecar left for the agent, takes away what one left for another, and removes the socket that it can no longer serve.
    ///
    /// # Errors
    /// When the directory cannot be used at all.
    pub(super) fn open(
        directory: PathBuf,
        agent: Option<&AgentName>,
        clock: SharedClock,
        shown: Arc<ArcSwapOption<Shown>>,
        listeners: mpsc::Sender<UnixListener>,
    ) -> Result<Self, String> {
        let mut place = Place::new(directory);
        let dir = place.open()?;
        dir.sweep();
        dir.remove(Entry::Socket)
            .map_err(|error| place.sentence(&error))?;
        let state = if let Some(left) = left_for(&dir, agent) {
            State::new(left, clock.moment())
        } else {
            for entry in [Entry::AccessToken, Entry::Env, Entry::Status] {
                dir.remove(entry).map_err(|error| place.sentence(&error))?;
            }
            State::of_agent(agent)
        };
        Ok(Self {
            place,
            clock,
            // Without a token it says nothing that is worth keeping.
            state: Some(state)
                .filter(State::has_token)
                .unwrap_or_else(|| State::of_agent(agent)),
            trouble: None,
            shown,
            files: ShownFiles::default(),
            socket: None,
            keys: RandomState::new(),
            problem: None,
            told: Default::default(),
            said: None,
            listeners,
        })
    }

    /// Follows the news until `shutdown`. Then no token stays behind: nobody would renew it or take it away.
    pub(super) async fn run(mut self, mut news: mpsc::Receiver<News>, shutdown: CancellationToken) {
        loop {
            if !self.state.is_empty() || self.trouble.is_some() {
                self.put_in_order();
            }
            let (wake, clock) = (self.wake(), Arc::clone(&self.clock));
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                came = news.recv() => match came {
                    Some(Ok(state)) => self.take(state),
                    Some(Err(trouble)) => self.note(trouble),
                    None => break,
                },
                () = clock.sleep_until(wake) => {}
            }
        }
        self.end();
    }

    fn take(&mut self, state: State) {
        self.trouble = None;
        if self.said.take().is_some() {
            tracing::info!("the broker answers");
        }
        let said = state.for_log();
        if said != self.told {
            let (state, message, url) = &said;
            match url {
                Some(url) => tracing::warn!("{state}: {message} See {url}"),
                None if message.is_empty() => tracing::info!("{state}"),
                None => tracing::warn!("{state}: {message}"),
            }
            self.told = said;
        }
        self.state = state;
    }

    fn note(&mut self, trouble: Trouble) {
        if self.said.as_ref() != Some(&trouble.message) {
            tracing::warn!("{}", trouble.message);
            self.said = Some(trouble.message.clone());
        }
        if trouble.is_final {
            // Should the broker be away next, this stays true.
            self.state = self.state.without_tokens();
        } else if self.trouble.as_ref().is_some_and(|before| before.is_final) {
            return;
        }
        self.trouble = Some(trouble);
    }

    fn put_in_order(&mut self) {
        let now = self.clock.moment();
        self.state.clock_shows(now);
        let shown = self.state.show(now.uptime, self.trouble.as_ref());
        let problem = self.write(&shown).err();
        if problem != self.problem {
            if let Some(problem) = &problem {
                tracing::warn!("{problem}");
            } else {
                tracing::info!("the shared directory can be written again");
            }
            self.problem = problem;
        }
        self.shown.store(Some(Arc::new(shown)));
    }

    /// Brings the directory to what is shown: what differs, each by rename.
    fn write(&mut self, shown: &Shown) -> Result<(), String> {
        let dir = self.write_files(shown)?;
        let listening = self.listen(&dir, shown);
        listening.map_err(|error| self.place.sentence(&error))
    }

    fn write_files(&mut self, shown: &Shown) -> Result<AgentDir, String> {
        let dir = self.place.open()?;
        match self.files.write(&dir, shown, &self.keys) {
            Err(error) => Err(self.place.sentence(&error)),
            Ok(()) => Ok(dir),
        }
    }

    /// Opens the socket when the first token is there, and another in its place when it is gone.
    fn listen(&mut self, dir: &AgentDir, shown: &Shown) -> Result<(), FileError> {
        let directory = self.place.path().shown();
        match self.socket {
            None if shown.expires_at().is_none() => return Ok(()),
            None => tracing::info!(%directory, "ready: the first token is there"),
            Some(left) if dir.entry(Entry::Socket, &self.keys) == Some(left) => return Ok(()),
            Some(_) => tracing::warn!(%directory, "the socket was gone and is made again"),
        }
        let (listener, left) = socket::place(dir, &self.keys)?;
        let listener = UnixListener::from_std(listener).map_err(|error| socket::unwatched(&error))?;
        self.socket = Some(left);
        // Each is taken at once, so there is room.
        let _ = self.listeners.try_send(listener);
        Ok(())
    }

    /// When to look again without any news: at the latest after a while, for what was written may vanish.
    fn wake(&self) -> Uptime {
        let pause = if self.problem.is_some() { RETRY } else { LOOK };
        let look = self.clock.uptime().after(pause);
        let expiry = self.shown.load().as_ref().and_then(|shown| shown.expires_at());
        expiry.into_iter().fold(look, Uptime::min)
    }

    fn end(&mut self) {
        if let Ok(dir) = AgentDir::shared(self.place.path()) {
            let _ = dir.remove(Entry::Socket);
        }
        let shown = self.state.show(self.clock.uptime(), Some(&Trouble::ended()));
        if let Err(problem) = self.write_files(&shown) {
            tracing::warn!("{problem}");
        }
    }
}

/// What an earlier sidecar left; `None` where that is another agent's, or could not have been written by one.
fn left_for(dir: &AgentDir, agent: Option<&AgentName>) -> Option<Document<'static>> {
    let read = |entry| dir.read(entry).unwrap_or_default();
    let left = written::read(&read(Entry::Env), read(Entry::Status).as_bytes());
    let is_its_own = agent.is_none_or(|agent| *left.status.agent == *agent.as_str());
    (is_its_own && left.check().is_ok()).then_some(left)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::{clock::SystemClock, testing::name};

    const ENV: &str = "GOOGLE_OAUTH_ACCESS_TOKEN=ya29.a\nGOOGLE_OAUTH_TOKEN_EXPIRES_AT=2100-01-01T00:00:00Z\n\
                       GOOGLE_OAUTH_CAPABILITIES=\n";

    fn open(directory: &Path, agent: Option<&str>) -> OutputDir {
        let opened = OutputDir::open(
            directory.to_owned(),
            agent.map(name).as_ref(),
            Arc::new(SystemClock),
            Arc::default(),
            mpsc::channel(1).0,
        );
        opened.unwrap_or_else(|sentence| panic!("{sentence}"))
    }

    #[test]
    fn what_was_left_for_another_agent_is_taken_away() {
        let service = "GOOGLE_SA_ACCESS_TOKEN=ya29.b\nGOOGLE_SA_TOKEN_EXPIRES_AT=2100-01-01T00:00:00Z\n";
        let odd = format!("{ENV}{service}GOOGLE_SA_EMAIL=$(evil)\n");
        let both = Some(r#"{"agent":"both","owner":"alice"}"#);
        for (env, status, agent, stays) in [
            (ENV, both, Some("both"), true),
            (ENV, both, None, true),
            (ENV, both, Some("mix"), false),
            (ENV, Some("{}"), Some("mix"), false),
            (ENV, None, Some("mix"), false),
            (&odd, both, Some("both"), false),
            (&odd, both, None, false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let at = |file: &str| folder.path().join(file);
            fs::write(at("env"), env).unwrap();
            fs::write(at("access_token"), "ya29.a").unwrap();
            if let Some(status) = status {
                fs::write(at("status.json"), status).unwrap();
            }
            let opened = open(folder.path(), agent);
            let case = format!("{env} {status:?} {agent:?}");
            assert_eq!(opened.state.has_token(), stays, "{case}");
            let files = ["env", "access_token", "status.json"];
            assert_eq!(files.map(|file| at(file).exists()), [stays; 3], "{case}");
            let says = opened.state.agent().map(str::to_owned);
            assert_eq!(
                says.as_deref(),
                if stays { Some("both") } else { agent },
                "{case}"
            );
        }
    }
}
