//! A blocking HTTP client over TCP and Unix sockets.

use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};
use url::Url;

use super::block_on;

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn expect_ok(self) -> Self {
        assert!(self.status.is_success(), "{}: {}", self.status, self.text());
        self
    }
}

/// `GET url`.
pub(crate) fn get(url: &str) -> Answer {
    try_get(url).unwrap_or_else(|error| panic!("GET {url}: {error}"))
}

/// `GET url`, where nobody may be listening.
pub(crate) fn try_get(url: &str) -> Result<Answer, String> {
    request(Method::GET, url, &[], String::new())
}

/// `POST url` with a JSON body.
pub(crate) fn post_json(url: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json")];
    request(Method::POST, url, &headers, body.to_string())
        .unwrap_or_else(|error| panic!("POST {url}: {error}"))
}

/// `POST url` with a form.
pub(crate) fn post_form(url: &str, pairs: &[(&str, &str)]) -> Answer {
    try_post_form(url, pairs).unwrap_or_else(|error| panic!("POST {url}: {error}"))
}

/// `POST url` with a form, where nobody may be listening.
pub(crate) fn try_post_form(url: &str, pairs: &[(&str, &str)]) -> Result<Answer, String> {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    request(Method::POST, url, &headers, form)
}

/// Opens `url` as a browser does: follows redirects to their end.
pub(crate) fn browse(url: &str) -> Answer {
    try_browse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// Opens `url` as a browser does, where nobody may be listening.
pub(crate) fn try_browse(url: &str) -> Result<Answer, String> {
    let mut answer = try_get(url)?;
    for _ in 0..5 {
        if !answer.status.is_redirection() {
            return Ok(answer);
        }
        let location = answer.header("location").to_owned();
        answer = try_get(&location)?;
    }
    Err(format!("too many redirects from {url}"))
}

/// Any request over TCP, on a connection of its own.
pub(crate) fn request(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Result<Answer, String> {
    let url = Url::parse(url).map_err(|error| format!("{url}: {error}"))?;
    let authority = format!(
        "{}:{}",
        url.host_str().unwrap_or_default(),
        url.port().unwrap_or(80)
    );
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let request = build(method, &path, &authority, headers, body);
    block_on(async {
        let stream = TcpStream::connect(&authority).await.map_err(|e| e.to_string())?;
        read(send(stream, request).await?).await
    })
}

/// `GET url` over TCP; the body has not been read yet.
pub(crate) async fn open(url: &str, headers: &[(&str, &str)]) -> Result<http::Response<Incoming>, String> {
    let url = Url::parse(url).map_err(|error| format!("{url}: {error}"))?;
    let authority = url.authority();
    let request = build(Method::GET, url.path(), authority, headers, String::new());
    let stream = TcpStream::connect(authority).await.map_err(|e| e.to_string())?;
    send(stream, request).await
}

/// `GET path` on a Unix socket, on a connection of its own.
pub(crate) fn try_get_unix(socket: &Path, path: &str) -> Result<Answer, String> {
    let request = build(Method::GET, path, "broker", &[], String::new());
    block_on(async {
        let stream = UnixStream::connect(socket).await.map_err(|e| e.to_string())?;
        read(send(stream, request).await?).await
    })
}

/// `GET path` on a Unix socket; the body has not been read yet.
pub(crate) async fn open_unix(socket: &Path, path: &str) -> Result<http::Response<Incoming>, String> {
    let request = build(Method::GET, path, "broker", &[], String::new());
    let stream = UnixStream::connect(socket).await.map_err(|e| e.to_string())?;
    send(stream, request).await
}

/// `GET path` on a Unix socket, on a connection of its own, among others at the same time.
pub(crate) async fn read_unix(socket: &Path, path: &str) -> Result<Answer, String> {
    read(open_unix(socket, path).await?).await
}

fn build(
    method: Method,
    path: &str,
    host: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::from(body)).unwrap()
}

async fn send(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<http::Response<Incoming>, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // It ends with the last answer's body.
    tokio::spawn(connection);
    sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())
}

async fn read(answer: http::Response<Incoming>) -> Result<Answer, String> {
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?;
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.to_bytes(),
    })
}
