//! The HTTP listener.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::Web;
use crate::delivery::accept;

/// Open connections at most.
const CONNECTIONS: usize = 512;
/// How long a client may take over its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The HTTP listener, bound.
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl HttpServer {
    /// Binds `address`.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it really listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then lets what is under way end.
    pub async fn serve(self, web: Arc<Web>, shutdown: CancellationToken) {
        let stop = shutdown.clone();
        let serve = move |stream| serve_connection(stream, web.clone(), stop.clone());
        accept(self.listener, "the HTTP listener", CONNECTIONS, shutdown, serve).await;
    }
}

async fn serve_connection(stream: TcpStream, web: Arc<Web>, shutdown: CancellationToken) {
    let service = service_fn(move |request| {
        let web = web.clone();
        async move { Ok::<_, Infallible>(web.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(32 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended badly");
    }
}
