//! TLS for sidecars of other places: what an agent's `broker.sock` serves, for pods that prove who they are.
//!
//! Each request names its agent and carries the pod's projected service-account token, so that one connection needs no
//! state of its own and a token that rotates needs no new connection.

mod audit_dedup;
mod authorize;
mod caller;
mod pass;
mod service;
mod token_review_cache;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use jiff::Timestamp;
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::{
    caller::{Caller, PodPlaces},
    service::RemoteService,
};
use crate::{
    agent_api::endpoint::Server,
    budget::{
        Peer, Refusals,
        descriptors::part,
        table::{REMOTE_UNPROVEN, REMOTE_UNPROVEN_PART, WRITE_STALL},
    },
    clock::SharedClock,
    config::{ConfigError, RemoteSection},
    kubernetes::Reviewer,
    net::{
        accept::accept,
        connection,
        seats::Seats,
        tcp,
        tls::{self, Checked, NamedFile, ServedCertificate},
    },
    pod_api::{audit_dedup::AuditDedup, authorize::Authorizer, token_review_cache::TokenReviewCache},
};

pub(super) use crate::pod_api::authorize::AGENT;

/// What the log says where a connection has to give way.
const LOBBY_FULL: &str =
    "remote.listen closed connections on which nothing was let in yet, because there were too many";
/// How long the handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a new connection may take until the first request on it is let in, the question to the Kubernetes API
/// included.
const FIRST_REQUEST: Duration = Duration::from_secs(30);
/// Limits of a request's head, in time and size.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const HEADER_BYTES: u32 = 8 * 1024;
/// Requests at once on one connection: a pod's agents, and their streams.
const STREAMS: u32 = 128;
/// What a peer may send of a body before it is read, and what of an answer is kept for one that does not read it.
const WINDOW_BYTES: u32 = 64 * 1024;
const BUFFER_BYTES: usize = 16 * 1024;
/// A client that is gone without a word is found out after these two.
const PING_AFTER: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The listener, bound, with its certificate.
pub struct RemoteListener {
    listener: TcpListener,
    address: SocketAddr,
    certificate: Arc<ServedCertificate>,
    reviewer: Reviewer,
}

impl RemoteListener {
    /// Binds the address and reads certificate and key.
    ///
    /// # Errors
    /// What is wrong, with the key of the configuration.
    pub fn bind(section: &RemoteSection, clock: SharedClock) -> Result<Self, ConfigError> {
        let (certificate, key) = files(section);
        let certificate = ServedCertificate::open(certificate, key, clock).map_err(ConfigError::new)?;
        let unbound = |error| {
            ConfigError::new(format!(
                "remote.listen {} cannot be bound: {error}",
                section.listen
            ))
        };
        let listener = tcp::listen(section.listen).map_err(unbound)?;
        let address = listener.local_addr().map_err(unbound)?;
        Ok(Self {
            listener,
            address,
            certificate: Arc::new(certificate),
            reviewer: Reviewer::new(&section.api, &section.audience),
        })
    }

    /// Whether certificate and key can be served, and for how long.
    ///
    /// # Errors
    /// What is wrong, with the key of the configuration.
    pub fn check(section: &RemoteSection, now: Timestamp) -> Result<Checked, ConfigError> {
        let (certificate, key) = files(section);
        tls::check(&certificate, &key, now).map_err(ConfigError::new)
    }

    /// What it serves with.
    pub fn certificate(&self) -> Arc<ServedCertificate> {
        Arc::clone(&self.certificate)
    }

    /// Where it really listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then lets what is under way end.
    pub(super) async fn serve(self, server: Arc<Server>, clock: SharedClock, shutdown: CancellationToken) {
        let authorizer = Arc::new(Authorizer {
            server,
            reviews: TokenReviewCache::new(self.reviewer, clock),
            dedup: AuditDedup::default(),
            places: PodPlaces::new(),
            busy: Refusals::new(
                "remote.listen refused requests, because too many clients wait to be reviewed",
            ),
        });
        let (certificate, stop) = (self.certificate, shutdown.clone());
        tokio::spawn(Arc::clone(&certificate).keep_looking(shutdown.clone()));
        let (http, lobby) = (
            Arc::new(http()),
            Seats::new(REMOTE_UNPROVEN.within(part(REMOTE_UNPROVEN_PART)), LOBBY_FULL),
        );
        let serve = move |stream, caller| {
            let (authorizer, certificate) = (Arc::clone(&authorizer), Arc::clone(&certificate));
            serve_connection(
                stream,
                caller,
                authorizer,
                certificate,
                Arc::clone(&http),
                stop.clone(),
            )
        };
        let stop = shutdown.clone();
        let admit = move |_: &TcpStream, address: &SocketAddr| {
            let from = Peer::from(address.ip());
            let out = CancellationToken::new();
            Some(Caller::new(from, lobby.enter(from, &out)?, out, &stop))
        };
        accept(self.listener, "remote.listen", shutdown, admit, serve).await;
    }
}

/// The certificate's file and its key's.
fn files(section: &RemoteSection) -> (NamedFile, NamedFile) {
    let file = |key, path: &Path| NamedFile {
        key,
        path: path.to_owned(),
    };
    (
        file("remote.certificate_file", &section.certificate_file),
        file("remote.key_file", &section.key_file),
    )
}

fn http() -> auto::Builder<TokioExecutor> {
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

async fn serve_connection(
    stream: TcpStream,
    caller: Arc<Caller>,
    authorizer: Arc<Authorizer>,
    certificate: Arc<ServedCertificate>,
    http: Arc<auto::Builder<TokioExecutor>>,
    shutdown: CancellationToken,
) {
    let from = caller.from();
    let _ = stream.set_nodelay(true);
    let stream = connection::impatient(stream, WRITE_STALL);
    let config = match certificate.current().await {
        Ok(config) => config,
        Err(problem) => return tracing::debug!(%from, problem, "no certificate for a connection"),
    };
    let acceptor = TlsAcceptor::from(config);
    let limit = |tls: &mut rustls::ServerConnection| tls.set_buffer_limit(Some(BUFFER_BYTES));
    let stream = tokio::select! {
        accepted = tokio::time::timeout(HANDSHAKE, acceptor.accept_with(stream, limit)) => match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%from, %error, "a TLS handshake failed"),
            Err(_) => return tracing::debug!(%from, "a TLS handshake took too long"),
        },
        () = caller.out().cancelled() => return,
        () = shutdown.cancelled() => return,
    };
    let service = RemoteService::new(authorizer, Arc::clone(&caller), shutdown);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let (first_request, end) = (Instant::now() + FIRST_REQUEST, caller.end().cancelled());
    tokio::pin!(connection, end);
    tokio::select! {
        () = connection::serve(connection, caller.was_let_in(), first_request, end) => {}
        () = caller.out().cancelled() => {}
    }
}
