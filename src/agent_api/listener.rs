//! Accepts connections on agents' sockets. One agent's connections cannot use up what the others need.

use std::{
    io,
    os::unix::net::{UnixListener, UnixStream as StdStream},
    pin::pin,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustix::{io::Errno, net::SocketFlags};
use tokio::{
    io::unix::{AsyncFd, AsyncFdReadyGuard},
    net::UnixStream,
    task::JoinHandle,
    time::Instant,
};

use super::{endpoint::Endpoint, service::AgentService};
use crate::{
    budget::{Share, table::WRITE_STALL},
    id::AgentName,
    net::{
        connection,
        h2_authority::AnyAuthority,
        opening::{Opened, Spoken},
    },
};

/// How long a new connection may take to send its first request. Later it may idle for as long as it likes:
/// it takes one of its agent's places and nobody else's.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// The pause after the system had no descriptor or memory for a connection.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Accepts connections until the endpoint is stopped.
///
/// # Errors
/// When the system does not watch the listener.
#[expect(
    deprecated,
    reason = "its unsafe successor asks for a descriptor that stays open, as a listener's does"
)]
pub(crate) fn start(endpoint: &Arc<Endpoint>, listener: UnixListener) -> io::Result<JoinHandle<()>> {
    let listener = AsyncFd::new(listener)?;
    Ok(tokio::spawn(accept(listener, Arc::clone(endpoint))))
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
