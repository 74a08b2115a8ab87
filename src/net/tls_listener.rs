//! A TCP port behind TLS: connections come to a surface when their handshake is done, and are strangers' until the surface
//! says otherwise.

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutWriter;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    accept::accept,
    connection,
    seats::{Seat, Seats},
    tcp,
    tls::ServedCertificate,
    tls_files::{Pair, TlsFiles},
};
use crate::{
    budget::{Peer, table::WRITE_STALL},
    clock::SharedClock,
};

/// How long the handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Limits of a request's head, in time and size.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const HEADER_BYTES: u32 = 8 * 1024;
/// Requests at once on one connection.
const STREAMS: u32 = 128;
/// What a peer may send of a body before it is read, and what of an answer is kept for one that does not read it.
const WINDOW_BYTES: u32 = 64 * 1024;
const BUFFER_BYTES: usize = 16 * 1024;
/// A client that is gone without a word is found out after these two.
const PING_AFTER: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The listener, bound, with its certificate.
pub(crate) struct TlsListener {
    /// The key of the configuration that says where it listens.
    key: &'static str,
    listener: TcpListener,
    address: SocketAddr,
    certificate: Arc<ServedCertificate>,
}

/// A connection whose handshake is done.
pub(crate) struct Visitor {
    pub(crate) stream: TlsStream<Pin<Box<TimeoutWriter<TcpStream>>>>,
    /// What the handshake was made with.
    pub(crate) pair: Arc<Pair>,
    /// Where it came from.
    pub(crate) from: Peer,
    /// Its seat among strangers.
    pub(crate) seat: Seat,
    /// Cancelled when it has to give way.
    pub(crate) out: CancellationToken,
}

impl TlsListener {
    /// Reads the files and binds the address that `key` of the configuration names.
    ///
    /// # Errors
    /// What is wrong, with the key of the configuration.
    pub(crate) fn bind(
        key: &'static str,
        listen: SocketAddr,
        files: TlsFiles,
        clock: SharedClock,
    ) -> Result<Self, String> {
        let certificate = Arc::new(ServedCertificate::open(files, clock)?);
        let unbound = |error| format!("{key} {listen} cannot be bound: {error}");
        let listener = tcp::listen(listen).map_err(unbound)?;
        let address = listener.local_addr().map_err(unbound)?;
        Ok(Self {
            key,
            listener,
            address,
            certificate,
        })
    }

    /// What it serves with.
    pub(crate) fn certificate(&self) -> Arc<ServedCertificate> {
        Arc::clone(&self.certificate)
    }

    /// Where it really listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Hands each connection to `serve` when its handshake is done, until `shutdown`; then waits for those that are open.
    pub(crate) async fn serve<F>(
        self,
        lobby: Arc<Seats>,
        shutdown: CancellationToken,
        serve: impl Fn(Visitor) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (certificate, stop) = (self.certificate, shutdown.clone());
        tokio::spawn(Arc::clone(&certificate).keep_looking(shutdown.clone()));
        let serve = Arc::new(serve);
        let greet = move |stream, stranger| {
            let (certificate, serve, stop) = (Arc::clone(&certificate), Arc::clone(&serve), stop.clone());
            async move {
                if let Some(visitor) = greet(stream, stranger, &certificate, &stop).await {
                    serve(visitor).await;
                }
            }
        };
        let admit = move |_: &TcpStream, address: &SocketAddr| {
            let (from, out) = (Peer::from(address.ip()), CancellationToken::new());
            let seat = lobby.enter(from, &out)?;
            Some(Stranger { from, seat, out })
        };
        accept(self.listener, self.key, shutdown, admit, greet).await;
    }
}

/// A connection that has said nothing yet.
struct Stranger {
    from: Peer,
    seat: Seat,
    out: CancellationToken,
}

/// Makes the handshake. Nothing where it fails, or somebody needs the place.
async fn greet(
    stream: TcpStream,
    Stranger { from, seat, out }: Stranger,
    certificate: &ServedCertificate,
    shutdown: &CancellationToken,
) -> Option<Visitor> {
    let _ = stream.set_nodelay(true);
    let stream = connection::impatient(stream, WRITE_STALL);
    let current = certificate.current().await;
    let pair = current
        .inspect_err(|problem| tracing::debug!(%from, problem, "no certificate for a connection"))
        .ok()?;
    let acceptor = TlsAcceptor::from(pair.config());
    let limit = |tls: &mut rustls::ServerConnection| tls.set_buffer_limit(Some(BUFFER_BYTES));
    let stream = tokio::select! {
        accepted = tokio::time::timeout(HANDSHAKE, acceptor.accept_with(stream, limit)) => match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%from, %error, "a TLS handshake failed");
                return None;
            }
            Err(_) => {
                tracing::debug!(%from, "a TLS handshake took too long");
                return None;
            }
        },
        () = out.cancelled() => return None,
        () = shutdown.cancelled() => return None,
    };
    Some(Visitor {
        stream,
        pair,
        from,
        seat,
        out,
    })
}

/// How HTTP is spoken on such a connection.
pub(crate) fn http() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEADER_BYTES as usize);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_BYTES)
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(BUFFER_BYTES)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIMEOUT);
    http
}
