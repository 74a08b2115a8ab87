//! gRPC on a Unix socket for the daemon's own user and root: the operator, an orchestrator, the kubelet.

use std::{
    fmt, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{UnixListener, UnixStream, unix::SocketAddr},
    time::{Interval, MissedTickBehavior},
};
use tokio_util::{net::Listener, sync::CancellationToken};
use tonic::service::Routes;
use tower::ServiceExt;

use super::{
    accept::{Door, accept},
    authority::AnyAuthority,
    connection,
    runtime::make_folders,
};
use crate::{
    budget::{
        Budget, Refusals,
        descriptors::part,
        table::{LOCAL_CONNECTIONS, LOCAL_PART, WRITE_STALL},
    },
    health::Readiness,
    text::ShowPath,
};

/// How often it is looked whether a socket is still there.
const LOOK: Duration = Duration::from_secs(5);

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
    node: Node,
}

/// What of a socket on disk says whether it is still ours: which it is, who may open it, and whose it is.
#[derive(Debug, PartialEq, Eq)]
struct Node((u64, u64), u32, u32);

impl Node {
    fn at(path: &Path) -> io::Result<Self> {
        let found = std::fs::symlink_metadata(path)?;
        Ok(Self((found.dev(), found.ino()), found.mode(), found.uid()))
    }
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
            node: Node::at(path)?,
        })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is found by its path, as it was left.
    fn is_in_place(&self) -> bool {
        Node::at(&self.path).is_ok_and(|found| found == self.node)
    }

    /// Puts another in its place, with the folders above it. Connections stay.
    fn bind_again(&mut self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), make_folders)?;
        *self = Self::bind(&self.path)?;
        Ok(())
    }

    /// Serves until `shutdown`, then lets what is under way end, and removes the socket. One that somebody removed is
    /// made again. `name` is what log lines call it; while it is not there, `condition` is not met.
    pub(super) async fn serve(
        self,
        name: &'static str,
        condition: (&'static str, Arc<Readiness>),
        routes: Routes,
        shutdown: CancellationToken,
    ) {
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
        let door = Door::new(name, Budget::new(LOCAL_CONNECTIONS.within(part(LOCAL_PART))));
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
        accept(Kept::new(self, condition), name, shutdown, admit, serve).await;
    }
}

/// A listener that looks every now and then whether its socket is still there.
struct Kept {
    socket: LocalSocket,
    look: Interval,
    condition: &'static str,
    readiness: Arc<Readiness>,
}

impl Kept {
    fn new(socket: LocalSocket, (condition, readiness): (&'static str, Arc<Readiness>)) -> Self {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            socket,
            look,
            condition,
            readiness,
        }
    }

    fn look_after(&mut self) {
        if self.socket.is_in_place() {
            return self.readiness.holds(self.condition);
        }
        let again = self.socket.bind_again();
        let path = self.socket.path.shown();
        match again {
            Ok(()) => {
                tracing::warn!(%path, "the socket was gone, or was changed, and was made again");
                self.readiness.holds(self.condition);
            }
            Err(error) => {
                let sentence = format!("{path} is gone and cannot be made again: {error}");
                self.readiness.fails(self.condition, sentence);
            }
        }
    }
}

impl Listener for Kept {
    type Io = UnixStream;
    type Addr = SocketAddr;

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<(Self::Io, Self::Addr)>> {
        while self.look.poll_tick(context).is_ready() {
            self.look_after();
        }
        self.socket.listener.poll_accept(context)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.socket.listener.local_addr()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Another daemon may have put its own there.
        if self.socket.is_in_place() {
            let _ = std::fs::remove_file(&self.socket.path);
        }
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
        TokioIo::new(AnyAuthority::new(connection::impatient(stream, WRITE_STALL))),
        TowerToHyperService::new(service),
    );
    connection::until(connection, name, &shutdown).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing::{H2_PING, H2_PREFACE, in_memory, never_reads};

    #[tokio::test]
    async fn a_client_that_reads_no_answer_is_given_up() {
        let folder = in_memory();
        let path = folder.path().join("admin.sock");
        let socket = LocalSocket::bind(&path).unwrap();
        let shutdown = CancellationToken::new();
        let condition = ("socket", Arc::default());
        tokio::spawn(socket.serve("admin.sock", condition, Routes::default(), shutdown.clone()));
        let stream = UnixStream::connect(&path).await.unwrap();
        let passed = never_reads(stream, H2_PREFACE, H2_PING).await;
        assert!((WRITE_STALL..2 * WRITE_STALL).contains(&passed), "{passed:?}");
        shutdown.cancel();
    }
}
