//! What reconciling takes, whichever agent it is for: the folder of all agents' directories, and what is reported of it.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use url::Url;

use crate::{
    agent_api::endpoint::Server,
    agent_files::runtime::Runtime,
    budget::Refusals,
    clock::{SharedClock, Uptime},
    health::Readiness,
    id::AgentName,
    kubernetes::csi::Volumes,
    text::ShowPath,
};

/// The longest pause before something that failed is tried again.
pub(super) const LAST_RETRY: Duration = Duration::from_secs(60);
/// The pause between two steps of removing what agents left.
const SWEEP: Duration = Duration::from_millis(20);
/// The condition of readiness that there is a folder for agents' directories, in which files can be written.
const FOLDER: &str = "runtime_dir";

/// What reconciling takes, whichever agent it is for.
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

/// What a worker has to say to the reconciler.
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
    pub(super) fn look_whether_all_fail(&self) {
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
