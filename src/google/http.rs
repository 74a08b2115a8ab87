//! One bounded HTTP request at a time: nothing here follows a redirect, waits for ever or reads without end.

mod connections;
pub(super) mod encoding;

use std::{error::Error, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use connections::Connections;

use super::egress::{Egress, NoRoots, ProxyCredentials};
use crate::{
    clock::{Moment, SharedClock, SystemClock, Uptime},
    secret::AccessToken,
};

/// What a request may take. The defaults suit Google; tests shorten them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Until a TCP connection stands.
    pub connect: Duration,
    /// From the first step to the last byte of the answer.
    pub request: Duration,
    /// Bytes of an answer about tokens.
    pub token_answer: usize,
    /// Bytes of the published keys.
    pub keys_answer: usize,
}

impl Limits {
    /// How long a request to the provider takes at most, unless tests say otherwise.
    pub const REQUEST: Duration = Duration::from_secs(30);
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Self::REQUEST,
            token_answer: 256 * 1024,
            keys_answer: 256 * 1024,
        }
    }
}

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("token-broker/", env!("CARGO_PKG_VERSION")));
/// JSON as such.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// Whether a request may reach its server twice (RFC 9110, section 9.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It may: once it was done, doing it again comes to the same. Where a connection ends before any of the answer came, it
    /// is sent once more.
    Harmless,
    /// It must not: what it carries may be used up by the first. It goes on a connection of its own, because a kept one may
    /// be dead without this end knowing.
    Never,
}

/// Why there is no answer. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TransportError {
    /// This machine trusts no certificate authority.
    NoRoots(String),
    /// The server's certificate was not accepted.
    Certificate(String),
    /// No connection stood in time.
    NoConnection,
    /// The whole took longer than this.
    Timeout(Duration),
    /// The answer is longer than this many bytes.
    TooLarge(usize),
    /// The answer is compressed in this way, which nobody asked for.
    Encoding(String),
    /// The proxy on the way does not let this machine through.
    ProxyCredentials(String),
    /// Anything else between here and there.
    Network(String),
}

/// A form, wiped when it was sent.
pub(super) struct Form(Zeroizing<String>);

impl Form {
    /// Encodes the fields.
    pub(super) fn new(fields: &[(&str, &str)]) -> Self {
        // Room for every byte to be escaped: growing would leave copies of secrets behind.
        let room = fields
            .iter()
            .map(|(name, value)| 3 * (name.len() + value.len()) + 2)
            .sum();
        let mut form = form_urlencoded::Serializer::new(String::with_capacity(room));
        Self(Zeroizing::new(form.extend_pairs(fields).finish()))
    }
}

/// An answer, as far as it came. No `Debug`: it holds secrets.
pub(crate) struct Reply {
    /// When its head came.
    pub(super) heard_at: Uptime,
    pub(crate) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// As it was before it was compressed.
    pub(crate) body: Zeroizing<Vec<u8>>,
    /// Why there is no more of the body.
    pub(super) cut: Option<TransportError>,
}

impl Reply {
    /// The answer, unless its end is missing.
    fn whole(self) -> Result<Self, TransportError> {
        match self.cut {
            None => Ok(self),
            Some(error) => Err(error),
        }
    }

    /// The server's own time (RFC 9110, section 6.6.1), at the moment when it was heard of.
    pub(super) fn date(&self) -> Option<Moment> {
        Some(Moment {
            uptime: self.heard_at,
            wall: http_date(self.headers.get(header::DATE)?)?,
        })
    }

    /// How long the server asks to wait (RFC 9110, section 10.2.3). A moment is taken from the server's own
    /// time where it says that, and from `now` otherwise.
    pub(super) fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        let value = self.headers.get(header::RETRY_AFTER)?;
        let wait = if let Some(seconds) = value.to_str().ok().and_then(|text| text.trim().parse().ok()) {
            Duration::from_secs(seconds)
        } else {
            let moment = http_date(value)?;
            let wait = moment.duration_since(self.date().map_or(now, |date| date.wall));
            Duration::try_from(wait).unwrap_or(Duration::ZERO)
        };
        Some(wait)
    }
}

/// Reads an HTTP date in any of its three forms (RFC 9110, section 5.6.7).
pub(crate) fn http_date(value: &HeaderValue) -> Option<Timestamp> {
    let time = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    Timestamp::try_from(time).ok()
}

/// The client's connections.
pub(crate) struct Http {
    limits: Limits,
    clock: SharedClock,
    connections: Connections,
}

impl Http {
    /// Opens nothing yet.
    pub(crate) fn new(limits: Limits, egress: Egress) -> Self {
        Self::with_clock(limits, egress, Arc::new(SystemClock))
    }

    /// Opens nothing yet.
    pub(super) fn with_clock(limits: Limits, egress: Egress, clock: SharedClock) -> Self {
        Self {
            limits,
            clock,
            connections: Connections::new(egress, limits.connect),
        }
    }

    /// Sends a form and reads an answer about tokens, which may break off: what it begins with may be a grant that
    /// nothing else holds.
    pub(super) async fn post(&self, url: &Url, form: Form, repeat: Repeat) -> Result<Reply, TransportError> {
        let body = Bytes::from_owner(form.0);
        let request = request(Method::POST, url, body)?;
        self.send(request, repeat, self.limits.token_answer).await
    }

    /// Reads published keys.
    pub(super) async fn get(&self, url: &Url) -> Result<Reply, TransportError> {
        let request = request(Method::GET, url, Bytes::new())?;
        let limit = self.limits.keys_answer;
        self.send(request, Repeat::Harmless, limit).await?.whole()
    }

    /// Asks with an access token as the bearer token (RFC 6750, section 2.1).
    pub(crate) async fn get_with(&self, url: &Url, token: &AccessToken) -> Result<Reply, TransportError> {
        let mut request = request(Method::GET, url, Bytes::new())?;
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, bearer(token)?);
        let limit = self.limits.token_answer;
        self.send(request, Repeat::Harmless, limit).await?.whole()
    }

    /// Sends JSON of this media type, with a bearer token, and reads an answer about tokens.
    pub(crate) async fn send_json(
        &self,
        (method, kind): (Method, HeaderValue),
        url: &Url,
        json: Zeroizing<Vec<u8>>,
        token: &AccessToken,
    ) -> Result<Reply, TransportError> {
        let mut request = request(method, url, Bytes::from_owner(json))?;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::AUTHORIZATION, bearer(token)?);
        let limit = self.limits.token_answer;
        self.send(request, Repeat::Never, limit).await?.whole()
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        repeat: Repeat,
        limit: usize,
    ) -> Result<Reply, TransportError> {
        let deadline = Instant::now() + self.limits.request;
        let late = || TransportError::Timeout(self.limits.request);
        let answered = self.connections.send(request, repeat);
        let response = timeout_at(deadline, answered).await.map_err(|_| late())?;
        let (head, body) = response.map_err(|error| transport_error(&error))?.into_parts();
        // Before the body, which may take its time.
        let heard_at = self.clock.uptime();
        let mut read = Zeroizing::default();
        let reading = read_body(body, limit, &mut read);
        let cut = timeout_at(deadline, reading)
            .await
            .unwrap_or_else(|_| Err(late()));
        let (body, damaged) = encoding::decoded(&head.headers, read, limit);
        Ok(Reply {
            heard_at,
            status: head.status,
            headers: head.headers,
            body,
            cut: cut.err().or(damaged),
        })
    }
}

fn request(method: Method, url: &Url, body: Bytes) -> Result<Request<Full<Bytes>>, TransportError> {
    let mut request = Request::builder()
        .method(method)
        .uri(url.as_str())
        .header(header::ACCEPT, JSON)
        // Some servers compress unless they are told not to.
        .header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))
        .header(header::USER_AGENT, USER_AGENT);
    if !body.is_empty() {
        request = request.header(header::CONTENT_TYPE, FORM);
    }
    request
        .body(Full::new(body))
        .map_err(|error| TransportError::Network(error.to_string()))
}

fn bearer(token: &AccessToken) -> Result<HeaderValue, TransportError> {
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()))
        .map_err(|error| TransportError::Network(error.to_string()))?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

/// Reads a body into `whole`, as far as it comes and `limit` allows.
async fn read_body(
    mut body: Incoming,
    limit: usize,
    whole: &mut Zeroizing<Vec<u8>>,
) -> Result<(), TransportError> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    whole.reserve_exact(expected.min(limit));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| transport_error(&error))?;
        if let Some(data) = frame.data_ref() {
            let room = limit - whole.len();
            if data.len() > room {
                whole.extend_from_slice(&data[..room]);
                return Err(TransportError::TooLarge(limit));
            }
            whole.extend_from_slice(data);
            if expected > limit && whole.len() == limit {
                return Err(TransportError::TooLarge(limit));
            }
        }
    }
    Ok(())
}

/// Why a certificate is not accepted, in words where the library has a name alone. What `openssl req -x509` makes, unless
/// told otherwise, is an authority's.
pub(crate) fn certificate_reason(error: &rustls::CertificateError) -> String {
    let said = error.to_string();
    if said.contains("CaUsedAsEndEntity") {
        return "it is an authority's own (CA:TRUE), not a server's: make one with basicConstraints=CA:FALSE"
            .to_owned();
    }
    said
}

/// The cause that the others only wrap.
pub(crate) fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Finds what a person would want to know at the bottom of a chain of errors.
fn transport_error(error: &(dyn Error + 'static)) -> TransportError {
    let mut cause = error;
    loop {
        if let Some(rustls::Error::InvalidCertificate(reason)) = cause.downcast_ref() {
            return TransportError::Certificate(certificate_reason(reason));
        }
        if let Some(proxy) = cause.downcast_ref::<ProxyCredentials>() {
            return TransportError::ProxyCredentials(proxy.to_string());
        }
        if let Some(NoRoots(reason)) = cause.downcast_ref() {
            return TransportError::NoRoots(reason.clone());
        }
        let io = cause.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return TransportError::NoConnection;
        }
        // `io::Error` leaves out of `source` what it wraps.
        let wrapped = io
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn Error + 'static));
        match wrapped.or_else(|| cause.source()) {
            Some(next) => cause = next,
            None => return TransportError::Network(cause.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
