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

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::{
    caller::{Caller, PodPlaces},
    service::RemoteService,
};
use crate::{
    agent_api::endpoint::Server,
    budget::{
        Refusals,
        descriptors::part,
        table::{REMOTE_UNPROVEN, REMOTE_UNPROVEN_PART},
    },
    clock::SharedClock,
    config::{ConfigError, RemoteSection},
    kubernetes::Reviewer,
    net::{
        connection,
        seats::Seats,
        tls::ServedCertificate,
        tls_files::{Checked, NamedFile, TlsFiles},
        tls_listener::{self, TlsListener, Visitor},
    },
    pod_api::{audit_dedup::AuditDedup, authorize::Authorizer, token_review_cache::TokenReviewCache},
};

pub(super) use crate::pod_api::authorize::AGENT;

/// What the log says where a connection has to give way.
const LOBBY_FULL: &str =
    "remote.listen closed connections on which nothing was let in yet, because there were too many";
/// How long a new connection may take until the first request on it is let in, the question to the Kubernetes API
/// included.
const FIRST_REQUEST: Duration = Duration::from_secs(30);

/// The listener, bound, with its certificate.
pub struct RemoteListener {
    listener: TlsListener,
    reviewer: Reviewer,
}

impl RemoteListener {
    /// Binds the address and reads certificate and key.
    ///
    /// # Errors
    /// What is wrong, with the key of the configuration.
    pub fn bind(section: &RemoteSection, clock: SharedClock) -> Result<Self, ConfigError> {
        let listener = TlsListener::bind("remote.listen", section.listen, files(section), clock);
        Ok(Self {
            listener: listener.map_err(ConfigError::new)?,
            reviewer: Reviewer::new(&section.api, &section.audience),
        })
    }

    /// Whether certificate and key can be served, and for how long.
    ///
    /// # Errors
    /// What is wrong, with the key of the configuration.
    pub fn check(section: &RemoteSection, now: Timestamp) -> Result<Checked, ConfigError> {
        files(section).check(now).map_err(ConfigError::new)
    }

    /// What it serves with.
    pub fn certificate(&self) -> Arc<ServedCertificate> {
        self.listener.certificate()
    }

    /// Where it really listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
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
        let http = Arc::new(tls_listener::http());
        let lobby = Seats::new(REMOTE_UNPROVEN.within(part(REMOTE_UNPROVEN_PART)), LOBBY_FULL);
        let stop = shutdown.clone();
        let serve = move |visitor| {
            serve_connection(visitor, Arc::clone(&authorizer), Arc::clone(&http), stop.clone())
        };
        self.listener.serve(lobby, shutdown, serve).await;
    }
}

/// The certificate's file and its key's.
fn files(section: &RemoteSection) -> TlsFiles {
    TlsFiles {
        what: "the certificate of [remote]",
        certificate: NamedFile::new("remote.certificate_file", &section.certificate_file),
        key: NamedFile::new("remote.key_file", &section.key_file),
        client_authority: None,
        protocols: &[b"h2", b"http/1.1"],
    }
}

async fn serve_connection(
    visitor: Visitor,
    authorizer: Arc<Authorizer>,
    http: Arc<auto::Builder<TokioExecutor>>,
    shutdown: CancellationToken,
) {
    let caller = Caller::new(visitor.from, visitor.seat, visitor.out, &shutdown);
    let service = RemoteService::new(authorizer, Arc::clone(&caller), shutdown);
    let connection = http.serve_connection(TokioIo::new(visitor.stream), service);
    let (first_request, end) = (Instant::now() + FIRST_REQUEST, caller.end().cancelled());
    tokio::pin!(connection, end);
    tokio::select! {
        () = connection::serve(connection, caller.was_let_in(), first_request, end) => {}
        () = caller.out().cancelled() => {}
    }
}
