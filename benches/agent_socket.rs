//! `GET /v1/token` and `GetAccessToken` on an agent's socket, beside a bare hyper and a bare tonic server that
//! answer with the same bytes.
//!
//!     cargo bench --bench agent_socket
//!
//! Latency is measured with servers and client on one core (a wake-up across cores costs more than a request),
//! throughput on two. The threads bind themselves, so no `taskset` is needed.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

mod support;

use std::{
    convert::Infallible,
    io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, header};
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use support::{
    agents::{Daemon, snapshot, token},
    ratio::{Cores, SLICE, compare},
};
use token_broker::proto::v1::{
    GetAccessTokenRequest, GetAccessTokenResponse, GetStatusRequest, GetStatusResponse,
    WatchAccessTokenRequest, WatchAccessTokenResponse,
    token_service_client::TokenServiceClient,
    token_service_server::{TokenService, TokenServiceServer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Server, Uri};

/// How many connections or streams there are at once.
const CONNECTIONS: [usize; 3] = [1, 16, 64];

fn main() {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    println!("GET /v1/token beside bare hyper, GetAccessToken beside bare tonic");
    for (cores, place) in [(Cores::One, "one core"), (Cores::Two, "two cores")] {
        cores.bind();
        let servers = Servers::start(&folder.path().join(place.replace(' ', "-")), cores);
        servers.measure(place);
    }
}

/// Ours and the two floors, each on a runtime of its own on the same cores.
struct Servers {
    cores: Cores,
    ours: PathBuf,
    hyper: PathBuf,
    tonic: PathBuf,
}

impl Servers {
    fn start(folder: &Path, cores: Cores) -> Self {
        std::fs::create_dir(folder).expect("a folder");
        let servers = Self {
            cores,
            ours: folder.join("agents/bench/broker.sock"),
            hyper: folder.join("hyper.sock"),
            tonic: folder.join("tonic.sock"),
        };
        let (ready, is_ready) = mpsc::channel();
        let runtime_dir = folder.to_owned();
        cores.spawn("ours", move || async move {
            let daemon = Daemon::start(&runtime_dir);
            daemon.add(snapshot("bench", token(1)));
            daemon.delivery.settled().await;
            ready.send(()).expect("the main thread waits");
            std::future::pending::<()>().await;
        });
        is_ready.recv().expect("the daemon starts");
        // The floors answer with what ours answers.
        let client = cores.runtime();
        let body = client.block_on(async {
            let mut connection = UnixStream::connect(&servers.ours).await.expect("it listens");
            let (head, body) = exchange(&mut connection).await.expect("an answer");
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            body
        });
        let answer = client.block_on(async {
            let mut client = TokenServiceClient::new(channel(&servers.ours).await);
            let answer = client.get_access_token(GetAccessTokenRequest::default()).await;
            answer.expect("an answer").into_inner()
        });
        let (hyper, tonic) = (servers.hyper.clone(), servers.tonic.clone());
        let (bound, is_bound) = mpsc::channel();
        let tonic_bound = bound.clone();
        cores.spawn("bare-hyper", move || bare_hyper(hyper, body, bound));
        cores.spawn("bare-tonic", move || bare_tonic(tonic, answer, tonic_bound));
        for _ in 0..2 {
            is_bound.recv().expect("the floors start");
        }
        servers
    }

    fn measure(&self, place: &str) {
        let client = self.cores.runtime();
        for count in CONNECTIONS {
            let name = format!("HTTP, {count} kept, {place}");
            compare(
                &name,
                || client.block_on(kept(&self.ours, count)),
                || client.block_on(kept(&self.hyper, count)),
            );
        }
        let name = format!("HTTP, a new connection each time, {place}");
        compare(
            &name,
            || client.block_on(anew(&self.ours)),
            || client.block_on(anew(&self.hyper)),
        );
        for count in CONNECTIONS {
            let ours = client.block_on(channel(&self.ours));
            let floor = client.block_on(channel(&self.tonic));
            compare(
                &format!("gRPC, {count} streams, {place}"),
                || client.block_on(calls(&ours, count)),
                || client.block_on(calls(&floor, count)),
            );
        }
    }
}

async fn bare_hyper(path: PathBuf, body: Vec<u8>, bound: mpsc::Sender<()>) {
    let listener = UnixListener::bind(path).expect("the path is free");
    bound.send(()).expect("the main thread waits");
    let body = Bytes::from(body);
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let body = body.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |_: Request<Incoming>| {
                let body = body.clone();
                async move { Ok::<_, Infallible>(json(body)) }
            });
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

/// The headers that ours sends.
fn json(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

struct Fixed(GetAccessTokenResponse);

type Answer<T> = Result<tonic::Response<T>, tonic::Status>;

#[tonic::async_trait]
impl TokenService for Fixed {
    async fn get_access_token(
        &self,
        _: tonic::Request<GetAccessTokenRequest>,
    ) -> Answer<GetAccessTokenResponse> {
        Ok(tonic::Response::new(self.0.clone()))
    }

    type WatchAccessTokenStream = tokio_stream::Empty<Result<WatchAccessTokenResponse, tonic::Status>>;

    async fn watch_access_token(
        &self,
        _: tonic::Request<WatchAccessTokenRequest>,
    ) -> Answer<Self::WatchAccessTokenStream> {
        Ok(tonic::Response::new(tokio_stream::empty()))
    }

    async fn get_status(&self, _: tonic::Request<GetStatusRequest>) -> Answer<GetStatusResponse> {
        Ok(tonic::Response::new(GetStatusResponse::default()))
    }
}

async fn bare_tonic(path: PathBuf, answer: GetAccessTokenResponse, bound: mpsc::Sender<()>) {
    let listener = UnixListener::bind(path).expect("the path is free");
    bound.send(()).expect("the main thread waits");
    Server::builder()
        .add_service(TokenServiceServer::from_arc(Arc::new(Fixed(answer))))
        .serve_with_incoming(UnixListenerStream::new(listener))
        .await
        .expect("it serves");
}

const REQUEST: &[u8] = b"GET /v1/token HTTP/1.1\r\nhost: broker\r\n\r\n";

/// One request on an open connection; head and body of the answer.
async fn exchange(connection: &mut UnixStream) -> io::Result<(String, Vec<u8>)> {
    connection.write_all(REQUEST).await?;
    let mut answer = Vec::with_capacity(4096);
    loop {
        if connection.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&answer[..end + 4]).into_owned();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .and_then(|length| length.parse().ok())
            .expect("a length");
        if answer.len() == end + 4 + length {
            return Ok((head, answer.split_off(end + 4)));
        }
    }
}

/// Requests per second over `count` kept connections. The client does as little as it can.
async fn kept(path: &Path, count: usize) -> f64 {
    let mut connections = Vec::new();
    let mut length = 0;
    for _ in 0..count {
        let mut connection = UnixStream::connect(path).await.expect("it listens");
        let (head, body) = exchange(&mut connection).await.expect("an answer");
        length = head.len() + body.len();
        connections.push(connection);
    }
    let begin = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|mut connection| {
            tokio::spawn(async move {
                let mut answer = vec![0; length];
                let mut done = 0_u32;
                while begin.elapsed() < SLICE {
                    connection.write_all(REQUEST).await.expect("it reads");
                    connection.read_exact(&mut answer).await.expect("it answers");
                    done += 1;
                }
                done
            })
        })
        .collect();
    rate(tasks, begin).await
}

/// Requests per second, each on a connection of its own, one after the other.
async fn anew(path: &Path) -> f64 {
    let begin = Instant::now();
    let mut done = 0_u32;
    while begin.elapsed() < SLICE {
        let mut connection = UnixStream::connect(path).await.expect("it listens");
        connection.write_all(REQUEST).await.expect("it reads");
        let mut answer = Vec::with_capacity(4096);
        while !answer.ends_with(b"}") {
            let read = connection.read_buf(&mut answer).await.expect("it answers");
            assert!(read > 0, "a whole answer");
        }
        done += 1;
    }
    f64::from(done) / begin.elapsed().as_secs_f64()
}

async fn channel(path: &Path) -> Channel {
    let path = path.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
    });
    Endpoint::from_static("http://broker")
        .connect_with_connector(connector)
        .await
        .expect("it listens")
}

/// Calls per second over `count` streams of one connection.
async fn calls(channel: &Channel, count: usize) -> f64 {
    let begin = Instant::now();
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let mut client = TokenServiceClient::new(channel.clone());
            tokio::spawn(async move {
                let mut done = 0_u32;
                while begin.elapsed() < SLICE {
                    let answer = client.get_access_token(GetAccessTokenRequest::default()).await;
                    answer.expect("an answer");
                    done += 1;
                }
                done
            })
        })
        .collect();
    rate(tasks, begin).await
}

async fn rate(tasks: Vec<tokio::task::JoinHandle<u32>>, begin: Instant) -> f64 {
    let mut done = 0;
    for task in tasks {
        done += task.await.expect("a task that ends");
    }
    f64::from(done) / begin.elapsed().max(Duration::from_millis(1)).as_secs_f64()
}
