//! Follows the broker: one stream, and another one when it ends.

use std::{convert::Infallible, pin::Pin, sync::Arc, task, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{
    agents::{NodeAgents, Told},
    cache::Cache,
};
use crate::{
    agent_files::entry::Owner,
    agent_view::document::Document,
    clock::SharedClock,
    entropy::SharedEntropy,
    health::Readiness,
    id::AgentName,
    proto::v1::{
        AgentView, Heartbeat, KnownView, Resume, SyncRequest, SyncResponse,
        node_service_client::NodeServiceClient, sync_request, sync_response::Message,
    },
    relay::{
        skew::{BrokerClock, clock_of},
        state::{State, Trouble},
        upstream::{self, Upstream},
    },
};

/// The condition of a node's readiness that its broker answers.
pub(super) const UPSTREAM: &str = "upstream";

/// The pause after a failure is between the first and three times the one before, up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(15);
/// How often the broker is told that the node is still there.
const BEAT: Duration = Duration::from_secs(15);
/// The broker says that it is still there more often than this.
const SILENCE: Duration = Duration::from_secs(50);
/// How long after the first of several changes what is kept is written.
const KEEP: Duration = Duration::from_millis(500);

/// Follows the broker.
pub(super) struct Follower {
    pub(super) upstream: Arc<Upstream>,
    pub(super) broker_clock: Arc<BrokerClock>,
    pub(super) cache: Option<Cache>,
    pub(super) clock: SharedClock,
    pub(super) entropy: SharedEntropy,
    pub(super) readiness: Arc<Readiness>,
}

impl Follower {
    /// Until `shutdown`.
    pub(super) async fn run(self, mut agents: NodeAgents, shutdown: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        while !shutdown.is_cancelled() {
            let ended = tokio::select! {
                ended = self.sync(&mut agents, &mut pause) => ended,
                () = shutdown.cancelled() => break,
            };
            let Err(problem) = ended;
            tracing::warn!("{problem}");
            self.readiness.fails(UPSTREAM, problem.clone());
            agents.note(Some(&Trouble::passing(problem)));
            let wait = self.entropy.between(FIRST_PAUSE, pause);
            pause = wait.saturating_mul(3).clamp(FIRST_PAUSE, LAST_PAUSE);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shutdown.cancelled() => break,
            }
        }
        self.keep(&agents);
        agents.ended().await;
    }

    /// One stream, to its end; returns why it ended.
    async fn sync(&self, agents: &mut NodeAgents, pause: &mut Duration) -> Result<Infallible, String> {
        let (says, mut stream) = self.open(agents).await?;
        let mut beats = interval_at(Instant::now() + BEAT, BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut keep_at = None;
        loop {
            let due = async {
                match keep_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = timeout(SILENCE, stream.message()) => {
                    let source = self.upstream.source();
                    let message = message.map_err(|_| format!("{source} says nothing any more"))?;
                    let message = message.map_err(|status| self.refused(&status))?;
                    let message = message.ok_or_else(|| format!("{source} ended the stream"))?;
                    if self.take(message, agents, pause).await {
                        keep_at = keep_at.or_else(|| Some(Instant::now() + KEEP));
                    }
                }
                _ = beats.tick() => {
                    let beat = sync_request::Message::Heartbeat(Heartbeat {});
                    // One that waits is enough.
                    let _ = says.try_send(SyncRequest { message: Some(beat) });
                    agents.look_after();
                }
                () = due => {
                    keep_at = None;
                    self.keep(agents);
                }
            }
        }
    }

    /// Opens a stream, and says what the node has.
    async fn open(
        &self,
        agents: &NodeAgents,
    ) -> Result<(mpsc::Sender<SyncRequest>, Streaming<SyncResponse>), String> {
        let known = agents.told().map(|told| KnownView {
            agent: told.agent.to_string(),
            revision: told.revision.clone(),
        });
        let resume = Resume {
            known: known.collect(),
        };
        let (says, said) = mpsc::channel(2);
        let first = SyncRequest {
            message: Some(sync_request::Message::Resume(resume)),
        };
        let _ = says.try_send(first);
        let channel = Channel(Arc::clone(&self.upstream));
        let mut client = NodeServiceClient::with_origin(channel, self.upstream.origin());
        let answer = client.sync(ReceiverStream::new(said)).await;
        let answer = answer.map_err(|status| self.refused(&status))?;
        Ok((says, answer.into_inner()))
    }

    /// What a message says is done. True where there is something else to keep.
    async fn take(&self, message: SyncResponse, agents: &mut NodeAgents, pause: &mut Duration) -> bool {
        match message.message {
            Some(Message::Assignment(assignment)) => {
                let names: Vec<AgentName> = assignment
                    .agents
                    .iter()
                    .filter_map(|name| name.parse().ok())
                    .collect();
                agents.keep(&names).await;
                true
            }
            Some(Message::View(view)) => {
                match self.told(view) {
                    Ok(told) => agents.put(told).await,
                    Err(problem) => tracing::error!("{problem}"),
                }
                true
            }
            Some(Message::Withdrawal(gone)) => {
                if let Ok(name) = gone.agent.parse() {
                    agents.remove(&name, &gone.message).await;
                }
                true
            }
            Some(Message::Settled(_)) => {
                *pause = FIRST_PAUSE;
                tracing::info!(agents = agents.told().count(), "the broker has told everything");
                self.readiness.holds(UPSTREAM);
                agents.note(None);
                false
            }
            // A newer broker says more than this version knows.
            Some(Message::Heartbeat(_)) | None => false,
        }
    }

    /// A view as it holds here: when its tokens end is told by this machine's clock.
    fn told(&self, view: AgentView) -> Result<Told, String> {
        let owner = Owner {
            uid: view.uid,
            gid: view.gid,
        };
        let revision = view.revision.clone();
        let mut document = Document::from_message(view)
            .map_err(|unusable| format!("{} answers with {unusable}", self.upstream.source()))?;
        let agent = document.status.agent.parse();
        let agent: AgentName = agent.map_err(|error| format!("{}: {error}", self.upstream.source()))?;
        let heard = self.clock.moment();
        let token = document.tokens().next();
        let showed = token.and_then(|token| clock_of(token.expires_at, token.expires_in));
        let moved_by = showed.map_or_else(
            || self.broker_clock.moved_by(),
            |showed| self.broker_clock.showed(showed, heard),
        );
        document.move_ends(moved_by);
        Ok(Told {
            agent,
            owner,
            revision,
            state: State::new(document, heard),
        })
    }

    fn refused(&self, status: &Status) -> String {
        use tonic_types::StatusExt;
        match status.get_details_error_info() {
            Some(_) => format!("{} refuses: {}", self.upstream.source(), status.message()),
            // What the way to the broker says is a sentence of its own.
            None => status.message().to_owned(),
        }
    }

    fn keep(&self, agents: &NodeAgents) {
        if let Some(cache) = &self.cache {
            cache.store(agents.told());
        }
    }
}

/// The broker, as the generated client speaks to it.
#[derive(Clone)]
struct Channel(Arc<Upstream>);

/// Why there is no answer, as a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoAnswer(String);

impl tower::Service<Request<tonic::body::Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = NoAnswer;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, NoAnswer>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), NoAnswer>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let upstream = Arc::clone(&self.0);
        Box::pin(async move {
            let request = request.map(upstream::outgoing);
            upstream.stream(request).await.map_err(NoAnswer)
        })
    }
}
