//! The same service over TLS, for clients that show a certificate. Who calls is known from the handshake on; each request is
//! let through, or not, before it comes to the service.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body, service::Routes};
use tower::ServiceExt;

use super::{
    client_names::{ClientList, Identity},
    roles,
    status::status,
};
use crate::{
    budget::{
        Budget, Refusals, Share,
        descriptors::part,
        table::{ADMIN_CLIENTS, ADMIN_PART, ADMIN_UNPROVEN, ADMIN_UNPROVEN_PART},
    },
    clock::SharedClock,
    config::{AdminClient, AdminSection, ConfigError},
    net::{
        certificate_names::CertificateNames,
        connection,
        seats::{Seat, Seats},
        tls::ServedCertificate,
        tls_files::{Checked, ClientCertificates, NamedFile, TlsFiles},
        tls_listener::{self, TlsListener, Visitor},
        validity::Validity,
    },
};

/// How long who is nobody's client may stay, to be told so.
const STRANGERS_STAY: Duration = Duration::from_secs(10);
/// What the log says where a connection has to give way.
const LOBBY_FULL: &str =
    "admin.listen closed connections whose handshake was not done yet, because there were too many";

/// The listener, bound, with its certificate and its clients.
pub struct AdminListener {
    listener: TlsListener,
    clients: Arc<ClientList>,
    clock: SharedClock,
}

impl AdminListener {
    /// Binds the address and reads the files.
    ///
    /// # Errors
    /// What is wrong, with the key of the configuration.
    pub fn bind(section: &AdminSection, clock: SharedClock) -> Result<Self, ConfigError> {
        let listener = TlsListener::bind("admin.listen", section.listen, files(section), Arc::clone(&clock));
        Ok(Self {
            listener: listener.map_err(ConfigError::new)?,
            clients: Arc::new(ClientList::new(&section.clients)),
            clock,
        })
    }

    /// Whether the files can be served with, and for how long.
    ///
    /// # Errors
    /// What is wrong, with the key of the configuration.
    pub fn check(section: &AdminSection, now: Timestamp) -> Result<Checked, ConfigError> {
        files(section).check(now).map_err(ConfigError::new)
    }

    /// What it serves with.
    pub fn certificate(&self) -> Arc<ServedCertificate> {
        self.listener.certificate()
    }

    /// Whom it serves.
    pub fn clients(&self) -> Arc<ClientList> {
        Arc::clone(&self.clients)
    }

    /// Where it really listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Serves until `shutdown`, then lets what is under way end.
    pub(super) async fn serve(self, routes: Routes, shutdown: CancellationToken) {
        let lobby = Seats::new(ADMIN_UNPROVEN.within(part(ADMIN_UNPROVEN_PART)), LOBBY_FULL);
        let hall = Arc::new(Hall {
            routes,
            certificate: self.listener.certificate(),
            clients: self.clients,
            clock: self.clock,
            places: Budget::new(ADMIN_CLIENTS.within(part(ADMIN_PART))),
            unknown: Refusals::new("admin.listen refused clients that [[admin.clients]] does not name"),
            refused: Refusals::new("admin.listen refused calls that a client's role does not allow"),
            full: Refusals::new("admin.listen has as many connections as it may, or as one client may"),
            shutdown: shutdown.clone(),
        });
        let serve = move |visitor| Arc::clone(&hall).serve(visitor);
        self.listener.serve(lobby, shutdown, serve).await;
    }
}

fn files(section: &AdminSection) -> TlsFiles {
    TlsFiles {
        what: "the certificate of [admin]",
        certificate: NamedFile::new("admin.certificate_file", &section.certificate_file),
        key: NamedFile::new("admin.key_file", &section.key_file),
        clients: ClientCertificates::Required(NamedFile::new(
            "admin.client_ca_file",
            &section.client_ca_file,
        )),
        protocols: &[b"h2"],
    }
}

/// What connections share.
struct Hall {
    routes: Routes,
    certificate: Arc<ServedCertificate>,
    clients: Arc<ClientList>,
    clock: SharedClock,
    places: Budget<Arc<AdminClient>>,
    unknown: Refusals,
    refused: Refusals,
    full: Refusals,
    shutdown: CancellationToken,
}

/// What a connection holds while it is open: a client's place, or a seat among strangers.
enum Place {
    Clients { _share: Share<Arc<AdminClient>> },
    Strangers { _seat: Seat },
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Hall {
    async fn serve(self: Arc<Self>, visitor: Visitor) {
        let Visitor {
            stream,
            pair,
            seat,
            out,
            ..
        } = visitor;
        let shown = stream.get_ref().1.peer_certificates();
        let Some(certificate) = shown.and_then(<[_]>::first) else {
            // Whom the handshake lets in has shown one.
            return;
        };
        let (names, validity) = (CertificateNames::of(certificate), Validity::of(certificate));
        let identity = self.clients.identify(&names);
        let Some(_place) = self.place(&identity, &names, seat) else {
            return;
        };
        let is_client = AtomicBool::new(matches!(identity, Identity::Client(_)));
        let caller: Arc<Result<Arc<AdminClient>, Status>> = Arc::new(whom(&identity, &names));
        let hall = Arc::clone(&self);
        let service = tower::service_fn(move |request| hall.answer(&caller, request));
        let http = tls_listener::http().http2_only();
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let (first_request, end) = (Instant::now() + STRANGERS_STAY, self.shutdown.cancelled());
        tokio::pin!(connection, end);
        tokio::select! {
            () = connection::serve(connection, &is_client, first_request, end) => {}
            // At once: what is under way is answered to nobody.
            () = out.cancelled() => {}
            () = self.clients.changes(&names, &identity) => {}
            () = self.certificate.other_authority(&pair) => {}
            () = Validity::over(validity, &self.clock) => {}
        }
    }

    /// Where the connection is counted from now on.
    fn place(&self, identity: &Identity, names: &CertificateNames, seat: Seat) -> Option<Place> {
        let Identity::Client(client) = identity else {
            self.unknown.count(names);
            self.clients.note_stranger(names, self.clock.now());
            return Some(Place::Strangers { _seat: seat });
        };
        let share = self.places.take(client);
        let share = share.inspect_err(|_| self.full.count(client.shown())).ok()?;
        Some(Place::Clients { _share: share })
    }

    /// Answers a request, where the client may make it.
    fn answer(&self, caller: &Result<Arc<AdminClient>, Status>, mut request: Request<Incoming>) -> Answering {
        let admitted = caller.clone().and_then(|client| {
            let checked = roles::check(&client, request.uri().path());
            checked
                .inspect_err(|_| self.refused.count(client.shown()))
                .map(|()| client)
        });
        match admitted {
            Ok(client) => {
                request.extensions_mut().insert(client);
                Box::pin(self.routes.clone().oneshot(request))
            }
            Err(refusal) => Box::pin(std::future::ready(Ok(refusal.into_http()))),
        }
    }
}

/// Which client it is, or what is said to who is none.
fn whom(identity: &Identity, names: &CertificateNames) -> Result<Arc<AdminClient>, Status> {
    let (reason, message) = match identity {
        Identity::Client(client) => return Ok(Arc::clone(client)),
        Identity::Nobody => (
            "unknown_client",
            format!(
                "the certificate is accepted, and names no client of the broker: it has {names}, and [[admin.clients]] in \
                 the broker's configuration has none of that"
            ),
        ),
        Identity::Several([one, other]) => (
            "ambiguous_client",
            format!(
                "the certificate names two clients of the broker, {} and {}: keep one of them in [[admin.clients]] of its \
                 configuration, or use a certificate with one name",
                one.shown(),
                other.shown()
            ),
        ),
    };
    Err(status(Code::Unauthenticated, reason, message))
}
