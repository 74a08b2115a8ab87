//! The admin socket: what the operator and a platform's orchestrator may do.

pub mod convert;
mod request;
mod service;
pub mod status;

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::ServiceExt;

use super::{authority::AnyAuthority, common::describe};
use crate::{broker::Broker, proto::v1::admin_service_server::AdminServiceServer};

use super::accept::accept;
use request::PeerUid;
pub use service::Facts;
use service::Service;

const ADMIN_SERVICE: &str = "tokenbroker.v1.AdminService";
/// Open connections at most.
const CONNECTIONS: usize = 256;

/// The admin socket, bound.
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl AdminSocket {
    /// Binds `path` so that only this user may open it; a socket that a dead daemon left is replaced.
    pub fn bind(path: &Path) -> io::Result<Self> {
        // Under another name until its mode is right, so that it is never there with a wrong one.
        let fresh = path.with_extension("sock.new");
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&fresh, path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves until `shutdown`, then lets what is under way end, and removes the socket.
    pub async fn serve(self, broker: Arc<Broker>, facts: Facts, shutdown: CancellationToken) {
        let routes = match routes(broker, facts, &shutdown).await {
            Ok(routes) => routes,
            Err(error) => {
                tracing::error!(%error, "the admin socket's services could not be built");
                return;
            }
        };
        let stop = shutdown.clone();
        let serve = move |stream| serve_connection(stream, routes.clone(), stop.clone());
        accept(self.listener, "the admin socket", CONNECTIONS, shutdown, serve).await;
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn routes(broker: Arc<Broker>, facts: Facts, shutdown: &CancellationToken) -> Result<Routes, String> {
    let service = Service {
        broker,
        facts,
        shutdown: shutdown.clone(),
    };
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<AdminServiceServer<Service>>().await;
    let reflection = describe(ADMIN_SERVICE)
        .build_v1()
        .map_err(|error| error.to_string())?;
    // Many clients still ask in the older form.
    let older = describe(ADMIN_SERVICE)
        .build_v1alpha()
        .map_err(|error| error.to_string())?;
    let routes = Routes::new(AdminServiceServer::new(service)).add_service(health);
    Ok(routes.add_service(reflection).add_service(older).prepare())
}

async fn serve_connection(stream: UnixStream, routes: Routes, shutdown: CancellationToken) {
    let own = rustix::process::geteuid().as_raw();
    let uid = match stream.peer_cred() {
        Ok(peer) if peer.uid() == own || peer.uid() == 0 => peer.uid(),
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), "refused on the admin socket");
            return;
        }
        Err(error) => {
            tracing::warn!(%error, "the admin socket cannot tell who is connected");
            return;
        }
    };
    let service = routes.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(PeerUid(uid));
        request
    });
    let mut builder = auto::Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .max_concurrent_streams(128)
        .max_header_list_size(16 * 1024);
    let connection = builder.serve_connection(
        TokioIo::new(AnyAuthority::new(stream)),
        TowerToHyperService::new(service),
    );
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended badly");
    }
}
