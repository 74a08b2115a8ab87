//! Accepts connections on agents' sockets. One agent's connections cannot use up what the others need.

use std::{
    hash::RandomState,
    io,
    os::unix::net::{UnixListener, UnixStream as StdStream},
    pin::pin,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::{io::Errno, net::SocketFlags};
use tokio::{
    io::unix::{AsyncFd, AsyncFdReadyGuard},
    net::UnixStream,
    task::JoinHandle,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    answer_cache::AnswerCache,
    common::CommonServices,
    google_compat::metadata::Desk,
    holding::{Holder, Holdings},
    service::AgentService,
};
use crate::{
    agent_files::error::DeliveryError,
    broker::{AgentHandle, Broker},
    budget::{
        AgentPlaces, Refusals, Share,
        descriptors::part,
        table::{AGENT_CONNECTIONS, AGENTS_PART, STREAMS_PER_CONNECTION, WRITE_STALL},
    },
    clock::{Moment, Uptime},
    id::AgentName,
    net::{
        connection::{self, GRACE},
        h2_authority::AnyAuthority,
        opening::{Opened, Spoken},
    },
};

/// How long a new connection may take to send its first request. Later it may idle for as long as it likes:
/// it takes one of its agent's places and nobody else's.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// The pause after the system had no descriptor or memory for a connection.
const EXHAUSTED: Duration = Duration::from_millis(100);
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
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    /// For agents' listening sockets and for connections to them.
    pub(crate) places: AgentPlaces<AgentName>,
    connections: TaskTracker,
    shutdown: CancellationToken,
    euid: u32,
    project_id: Arc<str>,
    exhausted: Refusals,
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

    /// Waits for the connections to end; in vain after a while.
    pub(crate) async fn drained(&self) {
        self.connections.close();
        // They cut themselves off after the same time.
        let _ = tokio::time::timeout(GRACE + Duration::from_secs(1), self.connections.wait()).await;
    }
}

impl Endpoint {
    /// Accepts connections until it is stopped.
    ///
    /// # Errors
    /// When the system does not watch the listener.
    #[expect(
        deprecated,
        reason = "its unsafe successor asks for a descriptor that stays open, as a listener's does"
    )]
    pub(crate) fn accept(self: &Arc<Self>, listener: UnixListener) -> io::Result<JoinHandle<()>> {
        let listener = AsyncFd::new(listener)?;
        Ok(tokio::spawn(accept(listener, Arc::clone(self))))
    }
}

/// There is one for each agent, so it is kept small.
#[expect(
    clippy::manual_async_fn,
    reason = "the arguments of an `async fn` are kept twice"
)]
fn accept(listener: AsyncFd<UnixListener>, endpoint: Arc<Endpoint>) -> impl Future<Output = ()> + Send {
    async move {
        loop {
            let accepted = tokio::select! {
                biased;
                () = endpoint.stop.cancelled() => return,
                accepted = next(&listener, &endpoint) => accepted,
            };
            match accepted {
                Ok(Some((stream, place))) => {
                    let connection = serve_connection(stream, place);
                    endpoint.server.connections.spawn(connection);
                }
                Ok(None) => {}
                Err(error) if is_exhaustion(&error) => {
                    endpoint
                        .server
                        .exhausted
                        .count(format_args!("{}: {error}", endpoint.agent.name()));
                    tokio::time::sleep(EXHAUSTED).await;
                }
                // The client went away before it was accepted.
                Err(error) => tracing::debug!(agent = %endpoint.agent.name(), %error, "accept failed"),
            }
        }
    }
}

/// Waits for a connection, then for a place for it, and accepts it only then: those that wait do so in the kernel, and cost no
/// descriptor. `None` when there was nothing to accept.
async fn next(
    listener: &AsyncFd<UnixListener>,
    endpoint: &Arc<Endpoint>,
) -> io::Result<Option<(UnixStream, Place)>> {
    let mut ready = std::future::poll_fn(|context| listener.poll_read_ready(context)).await?;
    let (places, agent) = (&endpoint.server.places, endpoint.agent.name());
    let share = match places.take_connection(agent) {
        Ok(share) => share,
        // Seldom, and larger than the rest of what an idle agent keeps.
        Err(_) => Box::pin(places.wait_for_connection(agent)).await,
    };
    let Some(stream) = accept_one(&mut ready)? else {
        return Ok(None);
    };
    let place = Place {
        endpoint: Arc::clone(endpoint),
        _share: share,
    };
    Ok(Some((stream, place)))
}

/// A connection; `None` when none waits any more.
fn accept_one(ready: &mut AsyncFdReadyGuard<'_, UnixListener>) -> io::Result<Option<UnixStream>> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let accepted =
        ready.try_io(|listener| rustix::net::accept_with(listener.get_ref(), flags).map_err(io::Error::from));
    match accepted {
        Ok(stream) => UnixStream::from_std(StdStream::from(stream?)).map(Some),
        Err(_would_block) => Ok(None),
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

/// One of an agent's connections.
struct Place {
    endpoint: Arc<Endpoint>,
    _share: Share<AgentName>,
}

async fn serve_connection(stream: UnixStream, place: Place) {
    let endpoint = &place.endpoint;
    let refused = refusal(&stream, endpoint);
    let first_request = Instant::now() + FIRST_REQUEST;
    let mut stop = pin!(endpoint.stop.cancelled());
    let opening = Opened::read(connection::impatient(stream, WRITE_STALL));
    let opened = tokio::select! {
        biased;
        opened = opening => opened,
        () = stop.as_mut() => return,
        () = tokio::time::sleep_until(first_request) => return,
    };
    // Clients that went away are not worth a line.
    let Ok((spoken, stream)) = opened else {
        return;
    };
    let asked = Arc::new(AtomicBool::new(false));
    let service = AgentService::new(Arc::clone(endpoint), Arc::clone(&asked), refused);
    match spoken {
        Spoken::Http1 => {
            let http = &endpoint.server.http1;
            let connection = pin!(http.serve_connection(TokioIo::new(stream), service));
            connection::serve(connection, &asked, first_request, stop).await;
        }
        Spoken::Http2 => {
            let http = &endpoint.server.http2;
            let stream = TokioIo::new(AnyAuthority::new(stream));
            // By itself in memory, since it takes much more than what most connections speak.
            let mut connection = Box::pin(http.serve_connection(stream, service));
            connection::serve(connection.as_mut(), &asked, first_request, stop).await;
        }
    }
}

/// The uid that connected, where it is not the one that the manifest names. Where the manifest names a group
/// as well, the socket's mode has decided already, as it does for the files.
fn refusal(stream: &UnixStream, endpoint: &Endpoint) -> Option<u32> {
    let snapshot = endpoint.agent.peek();
    let uid = snapshot.manifest.uid?;
    if snapshot.manifest.gid.is_some() {
        return None;
    }
    // A peer that the system cannot name is nobody's.
    let peer = stream.peer_cred().map_or(u32::MAX, |peer| peer.uid());
    (peer != uid && peer != endpoint.server.euid).then_some(peer)
}
