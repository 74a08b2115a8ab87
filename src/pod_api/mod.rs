//! TLS for sidecars of other places: what an agent's `broker.sock` serves, for pods that prove who they are. Nodes, which
//! show a certificate, come by the same listener and are `node_api`'s.
//!
//! Each request names its agent and carries the pod's projected service-account token, so that one connection needs no
//! state of its own and a token that rotates needs no new connection.

mod authorize;
mod caller;
mod pass;
mod service;
mod token_review_cache;

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::{
    caller::{Caller, PodPlaces},
    service::RemoteService,
};
use crate::{
    agent_api::{audit_dedup::AuditDedup, endpoint::Server},
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
        tls_files::{Checked, ClientCertificates, NamedFile, TlsFiles},
        tls_listener::{self, TlsListener, Visitor},
    },
    node_api::Nodes,
    pod_api::{authorize::Authorizer, token_review_cache::TokenReviewCache},
};

/// What the log says where a connection has to give way.
const LOBBY_FULL: &str =
    "remote.listen closed connections on which nothing was let in yet, because there were too many";
/// How long a new connection may take until the first request on it is let in, the question to the Kubernetes API
/// included.
const FIRST_REQUEST: Duration = Duration::from_secs(30);

/// A connection, to its end.
type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The listener, bound, with its certificate.
pub struct RemoteListener {
    listener: TlsListener,
    /// Who says whether pods' tokens are genuine; pods are not served without.
    reviewer: Option<Reviewer>,
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
            reviewer: section
                .api
                .as_ref()
                .map(|api| Reviewer::new(api, &section.audience)),
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
        let certificate = self.listener.certificate();
        let nodes = Nodes::new(&server, certificate, Arc::clone(&clock), shutdown.clone());
        let authorizer = self.reviewer.map(|reviewer| {
            Arc::new(Authorizer {
                server,
                reviews: TokenReviewCache::new(reviewer, clock),
                dedup: AuditDedup::default(),
                places: PodPlaces::new(),
                busy: Refusals::new(
                    "remote.listen refused requests, because too many clients wait to be reviewed",
                ),
            })
        });
        let http = Arc::new(tls_listener::http());
        let lobby = Seats::new(REMOTE_UNPROVEN.within(part(REMOTE_UNPROVEN_PART)), LOBBY_FULL);
        let stop = shutdown.clone();
        let serve = move |visitor: Visitor| -> Serving {
            match (shown(&visitor), &authorizer) {
                (Some(certificate), _) => Box::pin(Arc::clone(&nodes).serve(visitor, certificate)),
                (None, Some(authorizer)) => {
                    let (authorizer, http) = (Arc::clone(authorizer), Arc::clone(&http));
                    Box::pin(serve_connection(visitor, authorizer, http, stop.clone()))
                }
                // The handshake lets nobody in then.
                (None, None) => Box::pin(std::future::ready(())),
            }
        };
        self.listener.serve(lobby, shutdown, serve).await;
    }
}

/// The certificate that a node shows; pods show none.
fn shown(visitor: &Visitor) -> Option<CertificateDer<'static>> {
    let shown = visitor.stream.get_ref().1.peer_certificates()?;
    Some(shown.first()?.clone().into_owned())
}

/// The certificate's file and its key's.
fn files(section: &RemoteSection) -> TlsFiles {
    let authority = section.client_ca_file.as_ref();
    let authority = authority.map(|file| NamedFile::new("remote.client_ca_file", file));
    TlsFiles {
        what: "the certificate of [remote]",
        certificate: NamedFile::new("remote.certificate_file", &section.certificate_file),
        key: NamedFile::new("remote.key_file", &section.key_file),
        clients: match (authority, &section.api) {
            (None, _) => ClientCertificates::None,
            (Some(authority), Some(_)) => ClientCertificates::Optional(authority),
            (Some(authority), None) => ClientCertificates::Required(authority),
        },
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
