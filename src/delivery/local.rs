//! gRPC on a Unix socket for the daemon's own user and root: the operator, an orchestrator, the kubelet.

use std::{
    fmt, io,
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

use super::{
    accept::{Door, accept},
    authority::AnyAuthority,
    connection,
};
use crate::budget::{Budget, Refusals, table::LOCAL_CONNECTIONS};

/// The uid of who is connected; an extension of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PeerUid(pub(super) u32);

impl fmt::Display for PeerUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}", self.0)
    }
}

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
        let serve = move |stream, (peer, share)| {
            let served = serve_connection(stream, name, peer, routes.clone(), stop.clone());
            async move {
                served.await;
                drop(share);
            }
        };
        let own = rustix::process::geteuid().as_raw();
        let refused = Refusals::new(format!(
            "users other than root and the daemon's own were refused on {name}"
        ));
        let door = Door::new(name, Budget::new(LOCAL_CONNECTIONS));
        let admit = move |stream: &UnixStream, _: &_| match stream.peer_cred() {
            Ok(peer) if peer.uid() == own || peer.uid() == 0 => {
                let peer = PeerUid(peer.uid());
                Some((peer, door.enter(&peer)?))
            }
            Ok(peer) => {
                refused.count(PeerUid(peer.uid()));
                None
            }
            Err(error) => {
                refused.count(error);
                None
            }
        };
        accept(self.listener, name, shutdown, admit, serve).await;
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve_connection(
    stream: UnixStream,
    name: &'static str,
    peer: PeerUid,
    routes: Routes,
    shutdown: CancellationToken,
) {
    let service = routes.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
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
