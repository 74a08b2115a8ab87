//! Nodes, at `remote.listen`: machines that serve agents and hold no key and no grant.
//!
//! A node shows a certificate, and an agent is its own where the agent's manifest names one of the certificate's names. On
//! one stream it is told what each of its agents may see ([`NodeService`]); what an agent asks beyond that, it sends on as
//! the agent's own request.
//!
//! [`NodeService`]: crate::proto::v1::node_service_server::NodeService

mod answering;
mod feed;
mod forwarded;
mod node;
mod parts;
mod sync;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use self::{answering::Answering, forwarded::Forwarded, node::Node, sync::SyncService};
use crate::{
    agent_api::endpoint::Server,
    budget::{
        Budget, Refusals,
        descriptors::part,
        table::{NODES, NODES_PART},
    },
    clock::SharedClock,
    net::{
        certificate_names::CertificateNames,
        connection,
        tls::ServedCertificate,
        tls_listener::{self, Visitor},
        validity::Validity,
    },
    proto::v1::node_service_server::NodeServiceServer,
};

/// The path of everything that nodes ask for themselves.
const OWN: &str = "/tokenbroker.v1.NodeService/";
/// How long a node may take until its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(30);
/// The largest message of a node's, in bytes: what it knows of some ten thousand agents.
const MOST_BYTES: usize = 1024 * 1024;

/// What all nodes' connections share.
pub(crate) struct Nodes {
    forwarded: Arc<Forwarded>,
    own: NodeServiceServer<SyncService>,
    certificate: Arc<ServedCertificate>,
    clock: SharedClock,
    places: Budget<Arc<CertificateNames>>,
    full: Refusals,
    shutdown: CancellationToken,
}

impl Nodes {
    /// Nobody is served yet.
    pub(crate) fn new(
        server: &Arc<Server>,
        certificate: Arc<ServedCertificate>,
        clock: SharedClock,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        let sync = SyncService::new(Arc::clone(server), shutdown.clone());
        Arc::new(Self {
            forwarded: Arc::new(Forwarded::new(Arc::clone(server))),
            own: NodeServiceServer::new(sync).max_decoding_message_size(MOST_BYTES),
            certificate,
            clock,
            places: Budget::new(NODES.within(part(NODES_PART))),
            full: Refusals::new("remote.listen has as many connections of nodes as it may, or of one node"),
            shutdown,
        })
    }

    /// Serves a connection whose client showed this certificate.
    pub(crate) async fn serve(self: Arc<Self>, visitor: Visitor, certificate: CertificateDer<'static>) {
        let Visitor {
            stream,
            pair,
            from,
            seat,
            out,
        } = visitor;
        let validity = Validity::of(&certificate);
        let names = Arc::new(CertificateNames::of(&certificate));
        let Ok(_place) = self.places.take(&names) else {
            self.full.count(&*names);
            return;
        };
        drop(seat);
        let node = Arc::new(Node { names, from });
        let asked = Arc::new(AtomicBool::new(false));
        let (hall, has_asked) = (Arc::clone(&self), Arc::clone(&asked));
        let service = tower::service_fn(move |request| {
            has_asked.store(true, Ordering::Relaxed);
            hall.answer(&node, request)
        });
        let http = tls_listener::http().http2_only();
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let (first_request, end) = (Instant::now() + FIRST_REQUEST, self.shutdown.cancelled());
        tokio::pin!(connection, end);
        tokio::select! {
            () = connection::serve(connection, &asked, first_request, end) => {}
            () = out.cancelled() => {}
            () = self.certificate.other_authority(&pair) => {}
            () = Validity::over(validity, &self.clock) => {}
        }
    }

    fn answer(&self, node: &Arc<Node>, mut request: Request<Incoming>) -> Answering {
        if !request.uri().path().starts_with(OWN) {
            return Arc::clone(&self.forwarded).answer(node, request);
        }
        request.extensions_mut().insert(Arc::clone(node));
        let answering = self.own.clone().oneshot(request);
        Box::pin(async move {
            let Ok(answer) = answering.await;
            Ok(answer.map(BodyExt::boxed_unsync))
        })
    }
}
