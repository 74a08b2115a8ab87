//! gRPC on a Unix socket for the daemon's own user and root: the operator, an orchestrator, the kubelet.

use std::{
    convert::Infallible,
    fmt, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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
    accept::accept,
    connection,
    folders::make_folders,
    guarded::Guarded,
    h2_authority::AnyAuthority,
    seats::{Seat, Seats},
};
use crate::{
    budget::{
        Refusals,
        descriptors::part,
        table::{LOCAL_CONNECTIONS, LOCAL_PART, WRITE_STALL},
    },
    health::Readiness,
    text::ShowPath,
};

/// How often it is looked whether a socket is still there.
const LOOK: Duration = Duration::from_secs(5);

/// How long a connection may take to its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(10);

/// The uid of who is connected; an extension of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PeerUid(pub(crate) u32);

impl fmt::Display for PeerUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}", self.0)
    }
}

/// A socket, bound.
pub(crate) struct LocalSocket {
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
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
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
    pub(crate) fn path(&self) -> &Path {
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
    pub(crate) async fn serve(
        self,
        name: &'static str,
        condition: (&'static str, Arc<Readiness>),
        routes: Routes,
        shutdown: CancellationToken,
    ) {
        let stop = shutdown.clone();
        let serve = move |stream, guest| serve_connection(stream, name, guest, routes.clone(), stop.clone());
        let own = rustix::process::geteuid().as_raw();
        let refused = Refusals::new(format!(
            "users other than root and the daemon's own were refused on {name}"
        ));
        let full = format!(
            "{name} has as many connections as it may, or as one user may; some were closed or refused"
        );
        let seats = Seats::new(LOCAL_CONNECTIONS.within(part(LOCAL_PART)), full);
        let admit = move |stream: &UnixStream, _: &_| match stream.peer_cred() {
            Ok(peer) if peer.uid() == own || peer.uid() == 0 => Guest::enter(&seats, PeerUid(peer.uid())),
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

/// A connection, which has a seat. Silent ones keep none: the oldest that asks nothing gives way to a newer one.
struct Guest {
    peer: PeerUid,
    seat: Seat<PeerUid>,
    has_asked: AtomicBool,
    /// Cancelled when the connection has to go.
    out: CancellationToken,
}

impl Guest {
    fn enter(seats: &Arc<Seats<PeerUid>>, peer: PeerUid) -> Option<Arc<Self>> {
        let out = CancellationToken::new();
        Some(Arc::new(Self {
            peer,
            seat: seats.enter(peer, &out)?,
            has_asked: AtomicBool::new(false),
            out,
        }))
    }

    /// A request came: it is under way for as long as what this returns is held.
    fn ask(self: Arc<Self>) -> Asking {
        self.has_asked.store(true, Ordering::Relaxed);
        self.seat.note_asking(true);
        Asking(self)
    }

    /// Resolves when the connection has to go: it is in the way of others, or nothing was asked on it in time.
    async fn has_to_go(&self) {
        let told = self.out.cancelled();
        if tokio::time::timeout(FIRST_REQUEST, told).await.is_err() && self.has_asked.load(Ordering::Relaxed)
        {
            self.out.cancelled().await;
        }
    }
}

/// A request under way, until its answer was sent.
struct Asking(Arc<Guest>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.seat.note_asking(false);
    }
}

async fn serve_connection(
    stream: UnixStream,
    name: &'static str,
    guest: Arc<Guest>,
    routes: Routes,
    shutdown: CancellationToken,
) {
    let who = Arc::clone(&guest);
    let service = tower::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        let asking = Arc::clone(&who).ask();
        request.extensions_mut().insert(who.peer);
        let answer = routes.clone().oneshot(request);
        async move {
            let answer = answer.await?;
            Ok::<_, Infallible>(answer.map(|body| Guarded::new(body, asking)))
        }
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
    tokio::select! {
        () = connection::until(connection, name, &shutdown) => {}
        () = guest.has_to_go() => {}
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::Instant,
    };
    use tonic::transport::{Channel, Endpoint};
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

    use super::*;
    use crate::testing::{H2_PING, H2_PREFACE, in_memory, never_reads};

    /// A request without a body: the head of `POST /` on stream 1.
    const H2_REQUEST: &[u8] = b"\0\0\x03\x01\x05\0\0\0\x01\x83\x86\x84";

    #[tokio::test]
    async fn a_client_that_reads_no_answer_is_given_up() {
        let folder = in_memory();
        let path = folder.path().join("admin.sock");
        let socket = LocalSocket::bind(&path).unwrap();
        let shutdown = CancellationToken::new();
        let condition = ("socket", Arc::default());
        tokio::spawn(socket.serve("admin.sock", condition, Routes::default(), shutdown.clone()));
        let stream = UnixStream::connect(&path).await.unwrap();
        let passed = never_reads(stream, &[H2_PREFACE, H2_REQUEST].concat(), H2_PING).await;
        assert!((WRITE_STALL..2 * WRITE_STALL).contains(&passed), "{passed:?}");
        shutdown.cancel();
    }

    /// A socket in a folder of its own, served until the token is cancelled.
    fn serving() -> (tempfile::TempDir, PathBuf, CancellationToken) {
        let folder = in_memory();
        let path = folder.path().join("admin.sock");
        let socket = LocalSocket::bind(&path).unwrap();
        let shutdown = CancellationToken::new();
        let condition = ("socket", Arc::default());
        let (_, health) = tonic_health::server::health_reporter();
        tokio::spawn(socket.serve("admin.sock", condition, Routes::new(health), shutdown.clone()));
        (folder, path, shutdown)
    }

    /// Reads until the other end ends the connection.
    async fn to_the_end(stream: &mut UnixStream) {
        while stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {}
    }

    /// A client that has asked and was answered.
    async fn asked(path: &Path) -> HealthClient<Channel> {
        let channel = Endpoint::from_shared(format!("unix://{}", path.display())).unwrap();
        let mut client = HealthClient::new(channel.connect().await.unwrap());
        client.check(HealthCheckRequest::default()).await.unwrap();
        client
    }

    #[tokio::test]
    async fn connections_that_ask_nothing_keep_nobody_out() {
        let (_folder, path, shutdown) = serving();
        let mut watching = asked(&path).await;
        let mut watch = watching.watch(HealthCheckRequest::default()).await.unwrap();
        let watch = watch.get_mut();
        watch.message().await.unwrap();
        let mut silent = Vec::new();
        for _ in 0..2 * LOCAL_CONNECTIONS.each {
            silent.push(UnixStream::connect(&path).await.unwrap());
        }
        asked(&path).await;
        // The oldest gave way, and who has a request under way did not.
        tokio::time::timeout(Duration::from_secs(30), to_the_end(&mut silent[0]))
            .await
            .expect("it ends");
        assert!(watch.message().now_or_never().is_none(), "the stream goes on");
        shutdown.cancel();
    }

    #[tokio::test]
    async fn a_connection_on_which_nothing_is_asked_ends_and_one_that_asked_stays() {
        let (_folder, path, shutdown) = serving();
        let mut client = asked(&path).await;
        let mut silent = UnixStream::connect(&path).await.unwrap();
        let mut begun = UnixStream::connect(&path).await.unwrap();
        begun.write_all(H2_PREFACE).await.unwrap();
        begun.read_exact(&mut [0]).await.unwrap();
        tokio::time::pause();
        let from = Instant::now();
        for stream in [&mut silent, &mut begun] {
            tokio::time::timeout(Duration::from_secs(3600), to_the_end(stream))
                .await
                .expect("it ends");
        }
        assert!(from.elapsed() < 2 * FIRST_REQUEST, "{:?}", from.elapsed());
        tokio::time::sleep(10 * FIRST_REQUEST).await;
        tokio::time::resume();
        client.check(HealthCheckRequest::default()).await.unwrap();
        shutdown.cancel();
    }
}
