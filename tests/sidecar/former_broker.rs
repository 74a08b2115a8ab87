//! A sidecar of this release and a broker of the release before, which has no `/v1/view`. It goes with
//! `sidecar::former_broker`.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, client::conn::http2, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::{UnixListener, UnixStream},
    runtime,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    node::node,
    pod::Pod,
    remote::SEND,
    support::{Agent, wait_until},
};

/// What that release answers at a path that it does not have.
const NO_SUCH_PATH: &str = r#"{"type":"urn:token-broker:problem:not_found","title":"No such path","status":404,"detail":"There is nothing at \"/v1/view\"; see /v1/token, /v1/env, /v1/status, /v1/watch.","code":"not_found"}"#;

/// What that release answers to a query that it does not know.
const NO_SUCH_QUERY: &str = r#"{"type":"urn:token-broker:problem:invalid_request","title":"Invalid request","status":400,"detail":"There is no query parameter \"view\"; there is integration, once.","code":"invalid_request"}"#;

/// The node's socket as a broker of the release before has it: all but `/v1/view`, and the query that watches it, is the
/// daemon's answer.
pub(crate) struct FormerBroker {
    socket: PathBuf,
    /// How often `/v1/view` was asked for.
    asked: Arc<AtomicUsize>,
    _stops: DropGuard,
}

impl FormerBroker {
    pub(crate) fn start(folder: &Path, daemon: PathBuf) -> Self {
        let socket = folder.join("former.sock");
        let (asked, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (counted, stopped) = (asked.clone(), stop.clone());
        thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(stopped.run_until_cancelled(serve(listener, daemon, counted)));
        });
        Self {
            socket,
            asked,
            _stops: stop.drop_guard(),
        }
    }

    pub(crate) fn source(&self) -> [String; 2] {
        ["--from".to_owned(), format!("unix://{}", self.socket.display())]
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn serve(listener: std::os::unix::net::UnixListener, daemon: PathBuf, asked: Arc<AtomicUsize>) {
    let listener = UnixListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (daemon, asked) = (daemon.clone(), asked.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (daemon, asked) = (daemon.clone(), asked.clone());
                async move { Ok::<_, Infallible>(answer(request, &daemon, &asked).await) }
            });
            let http = auto::Builder::new(TokioExecutor::new());
            // The sidecar hangs up at its end.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    daemon: &Path,
    asked: &AtomicUsize,
) -> Response<BoxBody<Bytes, hyper::Error>> {
    if request.uri().path() == "/v1/view" {
        asked.fetch_add(1, Ordering::Relaxed);
        return refused(StatusCode::NOT_FOUND, NO_SUCH_PATH);
    }
    if request.uri().query().is_some_and(|query| query.contains("view")) {
        return refused(StatusCode::BAD_REQUEST, NO_SUCH_QUERY);
    }
    let stream = TokioIo::new(UnixStream::connect(daemon).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap().map(BodyExt::boxed)
}

fn refused(status: StatusCode, problem: &'static str) -> Response<BoxBody<Bytes, hyper::Error>> {
    let body = Full::new(Bytes::from_static(problem.as_bytes()));
    let mut refused = Response::new(body.map_err(|never| match never {}).boxed());
    *refused.status_mut() = status;
    let kind = header::HeaderValue::from_static("application/problem+json");
    refused.headers_mut().insert(header::CONTENT_TYPE, kind);
    refused
}

/// Waits until the pod's files say what the node's do, to the byte.
fn wait_for_the_same_files(pod: &Agent, node: &Agent) {
    wait_until("the pod's files to be the node's", || {
        ["env", "access_token", "status.json"]
            .iter()
            .all(|file| pod.try_read(file) == node.try_read(file))
    });
}

#[test]
fn its_files_are_the_nodes_across_a_renewal_and_a_disconnect() {
    let (_google, daemon) = node();
    let mut pod = Pod::new();
    let node = daemon.agent("invoice-bot");
    let former = FormerBroker::start(pod.folder(), node.socket());
    pod.start(&former.source());
    pod.wait_until_ready();
    let first = pod.wait_for_token(None);
    wait_for_the_same_files(&pod.agent(), &node);
    pod.wait_for_token(Some(&first));
    wait_for_the_same_files(&pod.agent(), &node);
    assert!(former.asked() >= 2, "the way that is looked at was not taken");
    let status = pod.agent().get("/v1/status").expect_ok();
    assert_eq!(status.text(), node.get("/v1/status").expect_ok().text());
    assert!(status.text().contains(SEND), "{}", status.text());
    daemon
        .cli(&["integrations", "disconnect", "--owner", "alice", "--yes"])
        .expect_ok();
    pod.wait_for_none();
    wait_for_the_same_files(&pod.agent(), &node);
}
