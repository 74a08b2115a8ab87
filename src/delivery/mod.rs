//! The reconciler: keeps each agent's directory, files and socket as the broker says they should be.
//!
//! [`Delivery`] follows the changes that the broker announces. What goes wrong with one agent's directory is
//! reported to that agent's handle and tried again; the others do not notice.

mod agent;
mod context;
mod desired;
#[cfg(fuzzing)]
pub mod fuzz;
mod on_disk;
mod reconciler;
mod rounds;

use std::{path::PathBuf, sync::Arc, thread::available_parallelism};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use url::Url;

use self::{
    context::Context,
    reconciler::{Command, Reconciler},
};
use crate::{
    agent_api::{endpoint::Server, holding::Holdings},
    agent_files::{error::DeliveryError, runtime::Runtime},
    broker::{Broker, ChangeReceiver},
    budget::Refusals,
    clock::SharedClock,
    health::{Probe, Readiness, pulse},
    id::AgentName,
    kubernetes::csi::Volumes,
    pod_api::RemoteListener,
};

/// How many directories are written at once.
const MOST_WRITERS: usize = 4;

/// What delivery is told once.
pub struct DeliveryOptions {
    /// Where `agents/` is to be; best on a tmpfs.
    pub runtime_dir: PathBuf,
    /// Where agents' token endpoint is, for their credential files; without it none are written.
    pub token_url: Option<Url>,
    /// The project that the metadata protocol names.
    pub project_id: String,
    /// What pods have as volumes, where there is a CSI driver.
    pub volumes: Option<Arc<Volumes>>,
    /// Where it is said what the daemon cannot do.
    pub readiness: Arc<Readiness>,
}

/// Follows the broker's changes until it is told to stop.
pub struct Delivery {
    context: Arc<Context>,
    commands: mpsc::UnboundedSender<Command>,
    probe: Probe,
    task: JoinHandle<()>,
}

impl Delivery {
    /// Opens the runtime directory, making it if need be, and starts to follow `changes`. To be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// When the runtime directory cannot be used. What concerns one agent only is no error here.
    pub fn start(
        options: &DeliveryOptions,
        broker: Arc<Broker>,
        clock: SharedClock,
        changes: ChangeReceiver,
        shutdown: CancellationToken,
    ) -> Result<Self, DeliveryError> {
        let runtime = Runtime::open(&options.runtime_dir)?;
        let server = Server::new(broker, runtime.euid(), &options.project_id, shutdown.clone())?;
        let (notices, noticed) = mpsc::unbounded_channel();
        let (commands, commanded) = mpsc::unbounded_channel();
        let context = Arc::new(Context {
            runtime,
            server: Arc::new(server),
            clock,
            token_url: options.token_url.clone(),
            volumes: options.volumes.clone(),
            readiness: Arc::clone(&options.readiness),
            meddled: Refusals::new(
                "agents' directories were not as they were left; what was missing or changed was made again",
            ),
            unswept: Refusals::new("what is left of agents' directories cannot all be removed"),
            notices,
        });
        let width = available_parallelism().map_or(1, usize::from).min(MOST_WRITERS);
        let reconciler = Reconciler::new(Arc::clone(&context), width);
        let (probe, pulse) = pulse();
        let task = tokio::spawn(reconciler.run(changes, commanded, noticed, pulse, shutdown));
        Ok(Self {
            context,
            commands,
            probe,
            task,
        })
    }

    /// By what it is known to go on.
    pub fn probe(&self) -> Probe {
        self.probe.clone()
    }

    /// What agents and pods hold open, on all surfaces.
    pub fn holdings(&self) -> Arc<Holdings> {
        Arc::clone(&self.context.server.holdings)
    }

    /// Where an agent's directory is: what is to be mounted.
    pub fn directory(&self, agent: &AgentName) -> PathBuf {
        self.context.runtime.path_of(agent)
    }

    /// Serves sidecars over TLS until `shutdown`.
    pub fn serve_remote(
        &self,
        listener: RemoteListener,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (server, clock) = (Arc::clone(&self.context.server), Arc::clone(&self.context.clock));
        listener.serve(server, clock, shutdown)
    }

    /// Waits until every agent that is known by now has its files and its socket, or a problem that says why
    /// not.
    pub async fn settled(&self) {
        let (reply, awaited) = oneshot::channel();
        // Without a reconciler the program is going down, and there is nothing to wait for.
        let _ = self.commands.send(Command::Awaited(reply));
        for (agent, revision) in awaited.await.unwrap_or_default() {
            agent.delivered(revision).await;
        }
    }

    /// Removes the directories of agents that are not among `known` and have not been added meanwhile: they
    /// were removed while no daemon ran. Returns when that is done.
    pub async fn remove_strangers(&self, known: &[AgentName]) {
        let context = Arc::clone(&self.context);
        let listing = tokio::task::spawn_blocking(move || context.runtime.agents());
        let mut strangers = match listing.await {
            Ok(Ok(agents)) => agents,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the agents' directories cannot be listed");
                return;
            }
            Err(_) => return,
        };
        let known: std::collections::HashSet<_> = known.iter().collect();
        strangers.retain(|agent| !known.contains(agent));
        let (witness, mut done) = mpsc::channel(1);
        let _ = self.commands.send(Command::Remove(strangers, witness));
        // It closes when the last of them is done.
        let _ = done.recv().await;
    }

    /// Waits for the last changes to be written and for the connections to end, after `shutdown`. Files and
    /// tokens stay for the agents to go on with until the daemon is back.
    ///
    /// # Panics
    /// When the reconciler panicked.
    pub async fn finished(self) {
        if let Err(ended) = self.task.await
            && ended.is_panic()
        {
            std::panic::resume_unwind(ended.into_panic());
        }
        self.context.server.drained().await;
    }
}

#[cfg(test)]
mod tests;
