//! gRPC on a Unix socket for the daemon's own user and root: the operator, an orchestrator, the kubelet.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
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

use super::{accept::accept, authority::AnyAuthority, connection};

/// Open connections at most.
const CONNECTIONS: usize = 256;

/// The uid of whoever is connected; an extension of each request.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeerUid(pub(super) u32);

/// A socket, bound.
pub(super) struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl LocalSocket {
    /// Binds `path` so that only this user may open it; a socket that a dead daemon left is replaced.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        // Under another name until its mode is right, so that it is never there with a wrong one. The kubelet, which
        // takes every socket in its folder for a plugin's, passes over names with a dot before them.
        let name = path.file_name().unwrap_or_default().display();
        let fresh = path.with_file_name(format!(".{name}.new"));
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
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Serves until `shutdown`, then lets what is under way end, and removes the socket. `name` is what log lines
    /// call it.
    pub(super) async fn serve(self, name: &'static str, routes: Routes, shutdown: CancellationToken) {
        let stop = shutdown.clone();
        let serve = move |stream| serve_connection(stream, name, routes.clone(), stop.clone());
        accept(self.listener, name, CONNECTIONS, shutdown, serve).await;
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve_connection(
    stream: UnixStream,
    name: &'static str,
    routes: Routes,
    shutdown: CancellationToken,
) {
    let own = rustix::process::geteuid().as_raw();
    let uid = match stream.peer_cred() {
        Ok(peer) if peer.uid() == own || peer.uid() == 0 => peer.uid(),
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), "refused on {name}");
            return;
        }
        Err(error) => {
            tracing::warn!(%error, "{name} cannot tell who is connected");
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
    connection::until(connection, name, &shutdown).await;
}
