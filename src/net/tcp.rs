//! An HTTP/1.1 server on a TCP port.

mod guest;

use std::{convert::Infallible, error::Error, io, net::SocketAddr, os::fd::AsFd, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{
    accept::accept,
    connection,
    guarded::Guarded,
    host,
    tcp::guest::{Asking, Guest, Places},
};
use crate::budget::{
    descriptors::part,
    table::{TCP_PART, WRITE_STALL},
};

/// How long a client may take over its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest head of a request.
const HEAD_BYTES: usize = 32 * 1024;

/// What the kernel may hold of answers and of requests for one connection, in bytes; it takes twice as much for its own
/// bookkeeping.
const SEND_BUFFER: u32 = 32 * 1024;
const RECEIVE_BUFFER: u32 = 16 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Where a request came from; among each request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// Which of this machine's addresses a request came to; among each request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct LocalAddress(pub SocketAddr);

/// A TCP port, bound, and HTTP on it once it is served.
pub struct TcpServer {
    listener: TcpListener,
    address: SocketAddr,
    proxy_addresses: Vec<IpNet>,
    is_probe: fn(&Request<Incoming>) -> bool,
    stall: Duration,
}

impl TcpServer {
    /// Binds `address`.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            address,
            proxy_addresses: Vec::new(),
            is_probe: |_| false,
            stall: WRITE_STALL,
        })
    }

    /// From these addresses come many people, not one.
    #[must_use]
    pub fn behind(mut self, proxy_addresses: Vec<IpNet>) -> Self {
        self.proxy_addresses = proxy_addresses;
        self
    }

    /// What is a probe is answered also where there is no place for other requests.
    #[must_use]
    pub fn with_probes(mut self, is_probe: fn(&Request<Incoming>) -> bool) -> Self {
        self.is_probe = is_probe;
        self
    }

    /// Another server on the same port: of the two, whoever accepts a connection serves it.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn twin(&self) -> io::Result<Self> {
        let listener = std::net::TcpListener::from(self.listener.as_fd().try_clone_to_owned()?);
        Ok(Self {
            listener: TcpListener::from_std(listener)?,
            proxy_addresses: self.proxy_addresses.clone(),
            ..*self
        })
    }

    /// Where it really listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers each request with `answer` until `shutdown`, then lets what is under way end. `name` is what log
    /// lines call it.
    pub async fn serve<A, F, B>(self, name: &'static str, answer: A, shutdown: CancellationToken)
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        let (stop, is_probe, stall) = (shutdown.clone(), self.is_probe, self.stall);
        let serve = move |stream, guest| {
            let desk = Desk {
                answer: answer.clone(),
                is_probe,
                guest,
            };
            serve_connection(stream, name, desk, stall, stop.clone())
        };
        let places = Places::new(name, self.proxy_addresses, part(TCP_PART) / 6);
        let admit = move |_: &TcpStream, address: &SocketAddr| places.enter(address.ip());
        accept(self.listener, name, shutdown, admit, serve).await;
    }
}

/// Listens on `address`, for connections that hold little in the kernel: with its defaults, one that nobody reads from holds
/// megabytes, which are the daemon's own where its memory is limited.
///
/// # Errors
/// When the system refuses it.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A connection has the listener's sizes.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    // What an earlier daemon had open does not keep this one out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What one connection's requests meet.
struct Desk<A, R> {
    answer: A,
    is_probe: fn(&Request<R>) -> bool,
    guest: Arc<Guest>,
}

/// What is sent: an answer, which has a place until it is over, or a refusal.
type Sent<B> = Either<Guarded<B, Option<Asking>>, Full<Bytes>>;

impl<A, R, F, B> Desk<A, R>
where
    A: Fn(Request<R>) -> F,
    F: Future<Output = Response<B>>,
{
    async fn respond(&self, request: Request<R>) -> Response<Sent<B>> {
        if host::is_given_twice(&request) {
            return several_hosts();
        }
        let asking = self.guest.ask();
        if asking.is_none() && !(self.is_probe)(&request) {
            return full();
        }
        let has_place = asking.is_some();
        let mut response = (self.answer)(request).await;
        if !has_place {
            end_after(&mut response);
        }
        response.map(|body| Either::Left(Guarded::new(body, asking)))
    }
}

/// There is no place.
fn full<B>() -> Response<Sent<B>> {
    const SENTENCE: &str =
        "there are too many connections, of this client or in all: close some, or ask again in a moment\n";
    let mut response = refused(StatusCode::SERVICE_UNAVAILABLE, SENTENCE);
    let retry = HeaderValue::from_static("1");
    response.headers_mut().insert(header::RETRY_AFTER, retry);
    response
}

/// Nobody can say which host is meant.
fn several_hosts<B>() -> Response<Sent<B>> {
    refused(
        StatusCode::BAD_REQUEST,
        "the request has several Host headers, and may have one\n",
    )
}

/// A sentence, after which the connection ends.
fn refused<B>(status: StatusCode, sentence: &'static str) -> Response<Sent<B>> {
    let mut response = Response::new(Either::Right(Full::from(sentence)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    end_after(&mut response);
    response
}

/// The connection ends with this answer.
fn end_after<B>(response: &mut Response<B>) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
}

async fn serve_connection<A, F, B>(
    stream: TcpStream,
    name: &'static str,
    desk: Desk<A, Incoming>,
    stall: Duration,
    shutdown: CancellationToken,
) where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>> + Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let peer = stream.peer_addr().map(PeerAddress).ok();
    let local = stream.local_addr().map(LocalAddress).ok();
    let service = service_fn(|mut request: Request<Incoming>| {
        let extensions = request.extensions_mut();
        peer.map(|peer| extensions.insert(peer));
        local.map(|local| extensions.insert(local));
        let responded = desk.respond(request);
        async move { Ok::<_, Infallible>(responded.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        // gRPC's C core looks for `Metadata-Flavor`, letter by letter.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(connection::impatient(stream, stall)), service);
    tokio::select! {
        () = connection::until(connection, name, &shutdown) => {}
        () = desk.guest.out().cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::testing::{PIPELINED, never_reads};

    fn serving() -> (SocketAddr, CancellationToken) {
        let server = TcpServer::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (address, shutdown) = (server.address(), CancellationToken::new());
        let answer = |_| async { Response::new(Full::from(vec![b'x'; 1000])) };
        tokio::spawn(server.serve("the desk", answer, shutdown.clone()));
        (address, shutdown)
    }

    #[tokio::test]
    async fn a_client_that_reads_no_answer_is_given_up() {
        let (address, shutdown) = serving();
        let stream = TcpStream::connect(address).await.unwrap();
        let passed = never_reads(stream, b"", PIPELINED).await;
        assert!((WRITE_STALL..2 * WRITE_STALL).contains(&passed), "{passed:?}");
        shutdown.cancel();
    }

    #[tokio::test]
    async fn where_there_is_no_place_a_probe_alone_is_answered() {
        let (places, from) = (
            Places::new("the desk", Vec::new(), usize::MAX),
            [192, 0, 2, 1].into(),
        );
        let held = std::iter::from_fn(|| places.enter(from)?.ask());
        let held: Vec<_> = held.collect();
        let desk = Desk {
            answer: |_| async { Response::new(Full::<Bytes>::from("well")) },
            is_probe: |request: &Request<()>| request.uri().path() == "/healthz",
            guest: places.enter(from).unwrap(),
        };
        let asked = async |path: &str| {
            let answer = desk.respond(Request::get(path).body(()).unwrap()).await;
            let ends = answer.headers().get(header::CONNECTION).is_some();
            (answer.status().as_u16(), ends)
        };
        assert_eq!(asked("/healthz").await, (200, true));
        assert_eq!(asked("/console").await, (503, true));
        drop(held);
        assert_eq!(asked("/console").await, (200, false));
        assert_eq!(asked("/healthz").await, (200, false));
    }

    #[tokio::test]
    async fn the_kernel_holds_little_for_a_connection() {
        use rustix::net::sockopt::{socket_recv_buffer_size, socket_send_buffer_size};
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (_client, accepted) = tokio::join!(client, listener.accept());
        let (accepted, _) = accepted.unwrap();
        assert_eq!(
            socket_send_buffer_size(&accepted).unwrap(),
            2 * SEND_BUFFER as usize
        );
        assert_eq!(
            socket_recv_buffer_size(&accepted).unwrap(),
            2 * RECEIVE_BUFFER as usize
        );
    }

    /// With real time, and a port that waits for less long.
    #[tokio::test]
    async fn it_is_given_up_by_the_time_that_passes_outside() {
        let mut server = TcpServer::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        server.stall = Duration::from_millis(50);
        let (address, shutdown) = (server.address(), CancellationToken::new());
        let answer = |_| async { Response::new(Full::from(vec![b'x'; 1000])) };
        tokio::spawn(server.serve("the desk", answer, shutdown.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let begun = Instant::now();
        let requests = PIPELINED.repeat(256);
        while tokio::io::AsyncWriteExt::write_all(&mut stream, &requests)
            .await
            .is_ok()
        {}
        assert!(begun.elapsed() >= Duration::from_millis(50));
        shutdown.cancel();
    }
}
