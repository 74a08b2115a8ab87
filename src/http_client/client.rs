//! One bounded request at a time.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout_at};
use url::Url;
use zeroize::Zeroizing;

use super::{
    connections::Connections,
    encoding,
    error::{TransportError, transport_error},
    limits::Limits,
    message::{Form, Repeat, Reply},
};
use crate::{
    clock::{SharedClock, SystemClock},
    http_client::proxy::Egress,
    secret::AccessToken,
};

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("token-broker/", env!("CARGO_PKG_VERSION")));
/// Where a proof stands.
const DPOP: HeaderName = HeaderName::from_static("dpop");
/// JSON as such.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

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
    pub(crate) fn with_clock(limits: Limits, egress: Egress, clock: SharedClock) -> Self {
        Self {
            limits,
            clock,
            connections: Connections::new(egress, limits.connect),
        }
    }

    /// Sends a form and reads an answer about tokens, which may break off: what it begins with may be a grant that
    /// nothing else holds.
    pub(crate) async fn post(&self, url: &Url, form: Form, repeat: Repeat) -> Result<Reply, TransportError> {
        self.post_proven(url, form, None, repeat).await
    }

    /// The same with a proof that its sender has a key (RFC 9449).
    pub(crate) async fn post_proven(
        &self,
        url: &Url,
        form: Form,
        proof: Option<HeaderValue>,
        repeat: Repeat,
    ) -> Result<Reply, TransportError> {
        let body = Bytes::from_owner(form.into_text());
        let mut request = request(Method::POST, url, body)?;
        if let Some(proof) = proof {
            request.headers_mut().insert(DPOP, proof);
        }
        self.send(request, repeat, self.limits.token_answer).await
    }

    /// Reads published keys.
    pub(crate) async fn get(&self, url: &Url) -> Result<Reply, TransportError> {
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

    /// Sends JSON, or nothing, with a bearer token and further headers. It may reach the server twice.
    pub(crate) async fn send_with(
        &self,
        (method, url): (Method, &Url),
        json: Zeroizing<Vec<u8>>,
        token: &AccessToken,
        further: HeaderMap,
    ) -> Result<Reply, TransportError> {
        let mut request = request(method, url, Bytes::from_owner(json))?;
        let headers = request.headers_mut();
        headers.extend(further);
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::AUTHORIZATION, bearer(token)?);
        let limit = self.limits.token_answer;
        self.send(request, Repeat::Harmless, limit).await?.whole()
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

#[cfg(test)]
mod tests;
