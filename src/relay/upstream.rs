//! The way to the broker: a node's socket, or TLS with the pod's token. One HTTP/2 connection carries everything.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt, Empty, Limited, combinators::UnsyncBoxBody};
use hyper::body::{Body, Incoming};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    task::spawn_blocking,
};
use url::Url;
use zeroize::Zeroizing;

use super::source::Source;
use crate::{
    agent_api::google_compat::metadata,
    agent_api::named::AGENT,
    file,
    http_client::{
        authorities::Authorities,
        own_certificate::OwnCertificate,
        tls_connect::{self, NoTls},
    },
    id::AgentName,
    text::{self, ShowPath},
};

/// No token of a pod's is longer, in bytes.
const MAX_TOKEN: usize = 64 * 1024;
/// Until a connection is open, the handshake included.
const CONNECT: Duration = Duration::from_secs(5);
/// Until an answer begins. The broker gives up on the provider well before this.
const ANSWER: Duration = Duration::from_secs(60);
/// A broker that is gone without a word is found out after these two.
const PING_AFTER: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Far more than any answer about one agent.
const MOST_BYTES: usize = 1024 * 1024;

/// What a request to the broker carries.
pub(crate) type Outgoing = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// A request without a body.
pub(crate) fn nothing() -> Outgoing {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A request with this body.
pub(crate) fn outgoing<B, E>(body: B) -> Outgoing
where
    B: Body<Data = Bytes, Error = E> + Send + 'static,
    E: Error + Send + Sync + 'static,
{
    body.map_err(|error| -> Box<dyn Error + Send + Sync> { Box::new(error) })
        .boxed_unsync()
}

/// A client of the broker.
pub(crate) struct Upstream {
    source: Source,
    client: Client<Connector, Outgoing>,
    /// The header that names the agent; over TLS alone.
    agent: Option<HeaderValue>,
    /// Where the pod's token is; for a pod over TLS alone.
    token_file: Option<PathBuf>,
}

impl Upstream {
    /// Opens nothing yet. `agent` and the token are for TLS alone; without `ca_file` the system's authorities count.
    pub(crate) fn new(
        source: &Source,
        agent: Option<&AgentName>,
        token_file: &Path,
        ca_file: Option<PathBuf>,
    ) -> Self {
        let authorities = match &ca_file {
            Some(file) => Authorities::in_file(file),
            None => Authorities::from_environment(|name| std::env::var(name).ok()),
        };
        let place = Place {
            source: source.clone(),
            trusted: ca_file.map_or(Trusted::System("--ca-file"), Trusted::File),
            authorities,
            own: None,
        };
        let is_tls = matches!(source, Source::Tls(_));
        Self {
            agent: agent.and_then(named).filter(|_| is_tls),
            token_file: is_tls.then(|| token_file.to_owned()),
            ..Self::at(place)
        }
    }

    /// For a node, which shows this certificate. Opens nothing yet; without `ca_file` the system's authorities count.
    pub(crate) fn of_node(url: &Url, ca_file: Option<PathBuf>, own: OwnCertificate) -> Self {
        let authorities = match &ca_file {
            Some(file) => Authorities::in_file(file),
            None => Authorities::from_environment(|name| std::env::var(name).ok()),
        };
        Self::at(Place {
            source: Source::Tls(url.clone()),
            trusted: ca_file.map_or(Trusted::System("upstream.ca_file"), Trusted::File),
            authorities,
            own: Some(own),
        })
    }

    /// The same connection, for requests of this agent.
    pub(crate) fn for_agent(&self, agent: &AgentName) -> Self {
        Self {
            source: self.source.clone(),
            client: self.client.clone(),
            agent: named(agent),
            token_file: None,
        }
    }

    /// Where this is; nobody is named yet.
    fn at(place: Place) -> Self {
        let source = place.source.clone();
        let connector = Connector(Arc::new(place));
        let client = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_keep_alive_interval(PING_AFTER)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .build(connector);
        Self {
            source,
            client,
            agent: None,
            token_file: None,
        }
    }

    /// Which broker it is.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// Sends a request on, with the pod's token as it is now.
    ///
    /// # Errors
    /// A sentence, where there is no answer.
    pub(crate) async fn send(&self, request: Request<Outgoing>) -> Result<Response<Incoming>, String> {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().cloned();
        let mut onward = Request::new(body);
        *onward.method_mut() = head.method;
        *onward.uri_mut() = self.uri(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        *onward.headers_mut() = onward_headers(head.headers);
        let headers = onward.headers_mut();
        if let Some(name) = &self.agent {
            headers.insert(AGENT, name.clone());
        }
        if let Some(file) = &self.token_file {
            headers.insert(header::AUTHORIZATION, bearer(file.clone()).await?);
        }
        match tokio::time::timeout(ANSWER, self.client.request(onward)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.sentence(&error)),
            Err(_) => Err(format!(
                "{} did not answer within {} s",
                self.source,
                ANSWER.as_secs()
            )),
        }
    }

    /// Sends a request whose answer comes while it is still being said.
    ///
    /// # Errors
    /// A sentence, where there is no answer.
    pub(crate) async fn stream(&self, request: Request<Outgoing>) -> Result<Response<Incoming>, String> {
        let answer = tokio::time::timeout(ANSWER, self.client.request(request)).await;
        let silent = || format!("{} did not answer within {} s", self.source, ANSWER.as_secs());
        answer
            .map_err(|_| silent())?
            .map_err(|error| self.sentence(&error))
    }

    /// What the addresses of its requests begin with.
    pub(crate) fn origin(&self) -> Uri {
        self.uri(PathAndQuery::from_static("/"))
    }

    /// `GET path`; the body has not been read yet.
    pub(crate) async fn open(&self, path: &'static str) -> Result<Response<Incoming>, String> {
        let mut request = Request::new(nothing());
        *request.uri_mut() = Uri::from_static(path);
        self.send(request).await
    }

    /// The same for a path of the metadata protocol.
    pub(crate) async fn open_metadata(&self, path: &'static str) -> Result<Response<Incoming>, String> {
        let mut request = Request::new(nothing());
        *request.uri_mut() = Uri::from_static(path);
        let flavor = HeaderValue::from_static("Google");
        request.headers_mut().insert(metadata::FLAVOR, flavor);
        self.send(request).await
    }

    /// The whole body of an answer.
    pub(crate) async fn read(&self, response: Response<Incoming>) -> Result<Zeroizing<Vec<u8>>, String> {
        let whole = Limited::new(response.into_body(), MOST_BYTES).collect();
        match tokio::time::timeout(ANSWER, whole).await {
            Ok(Ok(body)) => Ok(Zeroizing::new(body.to_bytes().into())),
            Ok(Err(error)) => Err(self.sentence(&*error)),
            Err(_) => Err(format!("{} broke off in the middle of an answer", self.source)),
        }
    }

    /// The same path at the broker. A socket has no name, and nobody reads one there.
    fn uri(&self, path: PathAndQuery) -> Uri {
        let (scheme, authority) = match &self.source {
            Source::Socket(_) => ("http", "broker".to_owned()),
            Source::Tls(url) => (
                "https",
                format!(
                    "{}:{}",
                    url.host_str().unwrap_or_default(),
                    url.port_or_known_default().unwrap_or_default()
                ),
            ),
        };
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query(path);
        // Its parts were parts of addresses before.
        uri.build().unwrap_or_default()
    }

    fn sentence(&self, error: &(dyn Error + 'static)) -> String {
        let mut cause = error;
        loop {
            if let Some(Unreachable(sentence)) = cause.downcast_ref() {
                return sentence.clone();
            }
            match cause.source() {
                Some(next) => cause = next,
                None => return format!("{} broke the connection: {cause}", self.source),
            }
        }
    }
}

/// The header's value that names an agent.
fn named(agent: &AgentName) -> Option<HeaderValue> {
    HeaderValue::try_from(agent.as_str()).ok()
}

/// What is not for the next hop (RFC 9110, section 7.6.1), nor for another than us.
fn onward_headers(mut headers: HeaderMap) -> HeaderMap {
    const NOT_ONWARD: [HeaderName; 9] = [
        header::CONNECTION,
        header::HOST,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TE,
        header::PROXY_AUTHORIZATION,
        header::AUTHORIZATION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static(AGENT),
    ];
    for name in NOT_ONWARD {
        headers.remove(name);
    }
    headers
}

async fn bearer(path: PathBuf) -> Result<HeaderValue, String> {
    let read = spawn_blocking(move || {
        let unreadable = |error: io::Error| {
            format!(
                "the pod's token {} cannot be read: {error}: mount a projected volume with `serviceAccountToken` there",
                path.shown()
            )
        };
        let token = file::read_whole(&path, MAX_TOKEN).map_err(unreadable)?;
        let token = text::of_file(&token).map_err(|reason| unreadable(io::Error::other(reason)))?;
        let bearer = Zeroizing::new(format!("Bearer {}", token.trim()));
        let mut value = HeaderValue::from_str(&bearer)
            .map_err(|_| format!("{} holds no service-account token", path.shown()))?;
        value.set_sensitive(true);
        Ok(value)
    });
    read.await.unwrap_or_else(|error| Err(error.to_string()))
}

/// Why there is no connection, as a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unreachable(String);

/// Connects to the one broker, whatever address is asked for.
#[derive(Clone)]
struct Connector(Arc<Place>);

struct Place {
    source: Source,
    trusted: Trusted,
    authorities: Authorities,
    /// What a node shows.
    own: Option<OwnCertificate>,
}

/// Which authorities of the broker's certificate count.
enum Trusted {
    /// Those in a file.
    File(PathBuf),
    /// The system's; what names others.
    System(&'static str),
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = Unreachable;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Unreachable>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Unreachable>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let place = Arc::clone(&self.0);
        Box::pin(async move {
            let connected = tokio::time::timeout(CONNECT, place.connect()).await;
            let slow = || {
                format!(
                    "{} did not take the connection within {} s",
                    place.source,
                    CONNECT.as_secs()
                )
            };
            connected
                .unwrap_or_else(|_| Err(slow()))
                .map(TokioIo::new)
                .map_err(Unreachable)
        })
    }
}

impl Place {
    async fn connect(&self) -> Result<Box<dyn Stream>, String> {
        match &self.source {
            Source::Socket(path) => {
                let stream = UnixStream::connect(path).await;
                Ok(Box::new(stream.map_err(|error| no_socket(path, &error))?))
            }
            Source::Tls(url) => self.connect_tls(url).await,
        }
    }

    async fn connect_tls(&self, url: &Url) -> Result<Box<dyn Stream>, String> {
        let trusted = self.authorities.current().await;
        let mut config =
            rustls::ClientConfig::clone(&*trusted.map_err(|reason| self.nobody_trusted(reason))?);
        if let Some(own) = self.own.clone() {
            let read = spawn_blocking(move || own.read()).await;
            config.client_auth_cert_resolver = Arc::new(read.map_err(|error| error.to_string())??);
        }
        let stream = tls_connect::connect(url, config).await;
        Ok(Box::new(stream.map_err(|fault| self.no_connection(fault))?))
    }

    fn nobody_trusted(&self, reason: String) -> String {
        match self.trusted {
            Trusted::File(_) => reason,
            Trusted::System(other) => format!(
                "this system trusts no certificate authority ({reason}): name the broker's with {other}"
            ),
        }
    }

    fn no_connection(&self, fault: NoTls) -> String {
        let source = &self.source;
        match fault {
            NoTls::Unreachable(error) => format!("{source} cannot be reached: {error}"),
            NoTls::Name => format!("{source} has a name that no certificate can have"),
            NoTls::Certificate(reason) => {
                let trusted = match &self.trusted {
                    Trusted::File(file) => format!("the authorities in {}", file.shown()),
                    Trusted::System(other) => format!("the system's authorities ({other} names others)"),
                };
                format!("the certificate of {source} is not accepted by {trusted}: {reason}")
            }
            NoTls::Alert(alert) => {
                let error = rustls::Error::AlertReceived(alert);
                format!("no TLS connection to {source} stands: {error}")
            }
            NoTls::Handshake(error) => format!("no TLS connection to {source} stands: {error}"),
            NoTls::OtherProtocol => {
                format!("{source} does not speak HTTP/2: is it a broker's `remote.listen`?")
            }
        }
    }
}

fn no_socket(path: &Path, error: &io::Error) -> String {
    let path = path.shown();
    match error.kind() {
        io::ErrorKind::NotFound => format!(
            "there is no socket {path}: mount the agent's directory in the sidecar, and see whether the node's daemon runs"
        ),
        io::ErrorKind::ConnectionRefused => {
            format!("nobody answers on {path}: the node's daemon is not running")
        }
        io::ErrorKind::PermissionDenied => format!(
            "the sidecar's user (uid {}) may not open {path}: it is for the uid and gid in the agent's manifest",
            rustix::process::geteuid().as_raw()
        ),
        _ => format!("{path} cannot be opened: {error}"),
    }
}

/// A connection of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Connection for Box<dyn Stream> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_pods_token_is_a_text_in_a_regular_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("token"), "\u{feff}eyJ.x.y\n").unwrap();
        assert_eq!(bearer(at("token")).await.unwrap(), "Bearer eyJ.x.y");
        std::fs::write(at("wide"), b"\xff\xfee\0").unwrap();
        std::fs::write(at("long"), "x".repeat(MAX_TOKEN + 1)).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), mode).unwrap();
        for (name, why) in [
            ("wide", "UTF-16"),
            ("long", "it is longer than"),
            ("fifo", "a FIFO, not a regular file"),
            ("none", "cannot be read"),
        ] {
            let refused = bearer(at(name)).await.unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn what_was_meant_for_us_is_not_sent_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "localhost"),
            ("authorization", "Bearer mine"),
            ("token-broker-agent", "another"),
            ("connection", "close"),
            ("te", "trailers"),
            ("metadata-flavor", "Google"),
            ("content-type", "application/grpc"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let mut left: Vec<_> = onward_headers(headers).keys().map(ToString::to_string).collect();
        left.sort();
        assert_eq!(left, ["content-type", "metadata-flavor"]);
    }
}
