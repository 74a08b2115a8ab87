//! What agents' sockets share, and one agent's end of its own.

use std::{hash::RandomState, sync::Arc, time::Duration};

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioExecutor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    answer_cache::AnswerCache, common::CommonServices, google_compat::metadata::Desk, holder::Holder,
    holding::Holdings,
};
use crate::{
    agent_files::error::DeliveryError,
    broker::{AgentHandle, Broker},
    budget::{
        AgentPlaces, Refusals,
        descriptors::part,
        table::{AGENT_CONNECTIONS, AGENTS_PART, STREAMS_PER_CONNECTION},
    },
    clock::{Moment, Uptime},
    id::AgentName,
    net::connection::GRACE,
};

/// The largest header section of a request.
const HEADER_BYTES: u32 = 16 * 1024;

/// What may be sent of a body before it is read …
const WINDOW_BYTES: u32 = 64 * 1024;
/// … and what of an answer is kept for a client that does not read it.
const BUFFER_BYTES: usize = 16 * 1024;

/// What all agents' sockets share.
pub(crate) struct Server {
    pub(crate) broker: Arc<Broker>,
    pub(crate) common: CommonServices,
    pub(crate) holdings: Arc<Holdings>,
    /// Keys of the hashes by which changes are noticed.
    pub(crate) keys: RandomState,
    pub(super) http1: http1::Builder,
    pub(super) http2: http2::Builder<TokioExecutor>,
    /// For agents' listening sockets and for connections to them.
    pub(crate) places: AgentPlaces<AgentName>,
    pub(super) connections: TaskTracker,
    shutdown: CancellationToken,
    pub(super) euid: u32,
    project_id: Arc<str>,
    pub(super) exhausted: Refusals,
}

/// One agent's end of its socket.
pub(crate) struct Endpoint {
    pub(crate) agent: Arc<AgentHandle>,
    /// Whose places its requests take.
    pub(crate) holder: Holder,
    pub(crate) server: Arc<Server>,
    pub(crate) stop: CancellationToken,
    pub(crate) answers: AnswerCache,
}

impl Server {
    pub(crate) fn new(
        broker: Arc<Broker>,
        euid: u32,
        project_id: &str,
        shutdown: CancellationToken,
    ) -> Result<Self, DeliveryError> {
        let mut http1 = http1::Builder::new();
        http1.max_buf_size(HEADER_BYTES as usize);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .max_header_list_size(HEADER_BYTES)
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_send_buf_size(BUFFER_BYTES);
        Ok(Self {
            broker,
            common: CommonServices::new()?,
            holdings: Holdings::new(),
            keys: RandomState::new(),
            http1,
            http2,
            places: AgentPlaces::new(part(AGENTS_PART), AGENT_CONNECTIONS),
            connections: TaskTracker::new(),
            shutdown,
            euid,
            project_id: project_id.into(),
            exhausted: Refusals::new("agents' sockets could not accept connections"),
        })
    }

    /// The broker's present moment.
    pub(crate) fn moment(&self) -> Moment {
        self.broker.moment()
    }

    /// The uptime of the present moment, which costs less to know than what people read.
    pub(crate) fn uptime(&self) -> Uptime {
        self.broker.uptime()
    }

    /// The project that the metadata protocol tells of.
    pub(crate) fn project_id(&self) -> &str {
        &self.project_id
    }

    /// What the metadata protocol answers for `agent` with.
    pub(crate) fn desk(&self, agent: &Arc<AgentHandle>) -> Desk {
        Desk {
            broker: Arc::clone(&self.broker),
            agent: Arc::clone(agent),
            project_id: Arc::clone(&self.project_id),
            holdings: Arc::clone(&self.holdings),
        }
    }

    /// Tells the broker what of an agent is on disk.
    pub(crate) fn note_delivered(&self, agent: &Arc<AgentHandle>, revision: u64, problem: Option<String>) {
        self.broker.agents.note_delivered(agent, revision, problem);
    }

    /// What ends an endpoint: by itself, or with the whole program.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.shutdown.child_token()
    }

    /// What answers for `agent` until `stop`, to whom it is: the agent, or one of its pods.
    pub(crate) fn endpoint(
        self: &Arc<Self>,
        agent: &Arc<AgentHandle>,
        holder: Holder,
        stop: CancellationToken,
    ) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            agent: Arc::clone(agent),
            holder,
            server: Arc::clone(self),
            stop,
            answers: AnswerCache::default(),
        })
    }

    /// Waits for the connections to end, for a while at most.
    pub(crate) async fn drained(&self) {
        self.connections.close();
        // They cut themselves off after the same time.
        let _ = tokio::time::timeout(GRACE + Duration::from_secs(1), self.connections.wait()).await;
    }
}
