//! A server that plays given answers, and a proxy: for the tests of clients.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rcgen::{CertificateParams, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
};
use url::Url;

/// DER in PEM (RFC 7468).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        BASE64_STANDARD.encode(der)
    )
}

/// A TLS server of that name, and its certificate.
pub(crate) fn localhost() -> (ServerConfig, CertificateDer<'static>) {
    server("localhost", IsCa::NoCa)
}

pub(crate) fn server(name: &str, kind: IsCa) -> (ServerConfig, CertificateDer<'static>) {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.is_ca = kind;
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (config, certificate)
}

/// A request as it arrived.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// The number of its connection, from 1.
    pub(crate) connection: usize,
    pub(crate) version: http::Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    /// The form's fields, in their order.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(self.body.as_bytes())
            .into_owned()
            .collect()
    }
}

/// What the server does with one request.
#[derive(Clone)]
pub(crate) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    end: End,
    gate: Option<Arc<Notify>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    /// The body begins and never ends.
    Stalls,
    /// The body begins, and then the connection is closed.
    Breaks,
    /// The connection is closed without an answer.
    Drops,
}

impl Answer {
    fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.into(),
            end: End::Whole,
            gate: None,
        }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, body.to_string()).header("content-type", "application/json; charset=utf-8")
    }

    pub(crate) fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, body).header("content-type", "text/html")
    }

    /// Begins with `body` and never ends.
    pub(crate) fn stalled(body: impl Into<Bytes>) -> Self {
        Self {
            end: End::Stalls,
            ..Self::new(200, body)
        }
    }

    /// Begins with `body` and breaks off.
    pub(crate) fn broken(body: impl Into<Bytes>) -> Self {
        Self {
            end: End::Breaks,
            ..Self::new(200, body)
        }
    }

    /// Closes the connection.
    pub(crate) fn dropped() -> Self {
        Self {
            end: End::Drops,
            ..Self::new(200, "")
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers
            .insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// Waits for the gate first.
    pub(crate) fn after(mut self, gate: Arc<Notify>) -> Self {
        self.gate = Some(gate);
        self
    }
}

/// A server on loopback that plays its answers one after another.
pub(crate) struct Play {
    origin: String,
    script: Arc<Script>,
}

struct Script {
    answers: Mutex<VecDeque<Answer>>,
    requests: watch::Sender<Vec<Seen>>,
    connections: AtomicUsize,
}

type Body = BoxBody<Bytes, io::Error>;

impl Play {
    pub(crate) async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let play = Self::new(origin, answers);
        let script = Arc::clone(&play.script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script)));
            }
        });
        play
    }

    /// The same over TLS, as `localhost`, which the certificate has to name.
    pub(crate) async fn start_tls(config: ServerConfig, answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let play = Self::new(origin, answers);
        let script = Arc::clone(&play.script);
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, script) = (acceptor.clone(), Arc::clone(&script));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, script).await;
                    }
                });
            }
        });
        play
    }

    fn new(origin: String, answers: Vec<Answer>) -> Self {
        let script = Script {
            answers: Mutex::new(answers.into()),
            requests: watch::Sender::default(),
            connections: AtomicUsize::new(0),
        };
        Self {
            origin,
            script: Arc::new(script),
        }
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        format!("{}{path}", self.origin).parse().unwrap()
    }

    /// Plays these after what it has.
    pub(crate) fn add(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.answers.lock().unwrap().extend(answers);
    }

    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.script.requests.borrow().clone()
    }

    /// Waits until that many requests have arrived.
    pub(crate) async fn wait_for_requests(&self, count: usize) {
        let mut requests = self.script.requests.subscribe();
        let arrived = requests.wait_for(|seen| seen.len() >= count);
        tokio::time::timeout(Duration::from_secs(60), arrived)
            .await
            .expect("the requests arrive")
            .unwrap();
    }
}

/// An HTTP proxy that answers every `CONNECT` in this way and leads all of them to one server.
pub(crate) struct TestProxy {
    pub(crate) port: u16,
    heads: Arc<Mutex<Vec<Vec<String>>>>,
}

impl TestProxy {
    pub(crate) async fn start(answer: &'static str, server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let mut head = Vec::new();
                let mut line = String::new();
                while stream.read_line(&mut line).await.unwrap() > 2 {
                    head.push(std::mem::take(&mut line).trim_end().to_owned());
                }
                seen.lock().unwrap().push(head);
                stream.write_all(answer.as_bytes()).await.unwrap();
                if let Ok(mut server) = TcpStream::connect(server).await {
                    tokio::spawn(async move { copy_bidirectional(&mut stream, &mut server).await });
                }
            }
        });
        Self { port, heads }
    }

    /// The lines of each request for a tunnel.
    pub(crate) fn heads(&self) -> Vec<Vec<String>> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve<S>(stream: S, script: Arc<Script>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let connection = 1 + script.connections.fetch_add(1, Ordering::Relaxed);
    let service = service_fn(move |request| play(request, connection, Arc::clone(&script)));
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn play(
    request: Request<Incoming>,
    connection: usize,
    script: Arc<Script>,
) -> Result<Response<Body>, io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let seen = Seen {
        method: head.method,
        path: head.uri.path().to_owned(),
        connection,
        version: head.version,
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    script.requests.send_modify(|requests| requests.push(seen));
    let next = script.answers.lock().unwrap().pop_front();
    let answer = next.unwrap_or_else(|| Answer::text(599, "the play is over"));
    if let Some(gate) = &answer.gate {
        gate.notified().await;
    }
    let first = stream::iter([Ok(Frame::data(answer.body))]);
    let body = match answer.end {
        End::Whole => BodyExt::boxed(StreamBody::new(first)),
        End::Stalls => BodyExt::boxed(StreamBody::new(first.chain(stream::pending()))),
        End::Breaks => {
            let broken = stream::once(async {
                // What came before is sent first.
                for _ in 0..8 {
                    tokio::task::yield_now().await;
                }
                Err(io::Error::other("broken on purpose"))
            });
            BodyExt::boxed(StreamBody::new(first.chain(broken)))
        }
        End::Drops => return Err(io::Error::other("dropped on purpose")),
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

/// An address on which nobody listens.
pub(crate) async fn deserted() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
