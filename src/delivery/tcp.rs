//! An HTTP/1.1 server on a TCP port.

use std::{convert::Infallible, error::Error, io, net::SocketAddr, time::Duration};

use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{accept, accept::Door, connection};
use crate::budget::{Budget, Peer, table::TCP_CONNECTIONS};

/// How long a client may take over its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest head of a request.
const HEAD_BYTES: usize = 32 * 1024;

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
}

impl TcpServer {
    /// Binds `address`.
    ///
    /// # Errors
    /// When the system refuses it.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
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
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let stop = shutdown.clone();
        let serve = move |stream, share| {
            let served = serve_connection(stream, name, answer.clone(), stop.clone());
            async move {
                served.await;
                drop(share);
            }
        };
        let door = Door::new(name, Budget::new(TCP_CONNECTIONS));
        let admit = move |_: &TcpStream, address: &SocketAddr| door.enter(&Peer::from(address.ip()));
        accept(self.listener, name, shutdown, admit, serve).await;
    }
}

async fn serve_connection<A, F, B>(
    stream: TcpStream,
    name: &'static str,
    answer: A,
    shutdown: CancellationToken,
) where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>> + Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let peer = stream.peer_addr().map(PeerAddress).ok();
    let local = stream.local_addr().map(LocalAddress).ok();
    let service = service_fn(|mut request: Request<Incoming>| {
        let extensions = request.extensions_mut();
        peer.map(|peer| extensions.insert(peer));
        local.map(|local| extensions.insert(local));
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        // gRPC's C core looks for `Metadata-Flavor`, letter by letter.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    connection::until(connection, name, &shutdown).await;
}
