//! `POST /sts/v1/token`: where a library refreshes what it read in `adc.json`.
//!
//! The agent proves itself with the secret in that file, by HTTP Basic (RFC 6749, section 2.3.1), and gets what
//! its socket would give it.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{adc, metadata::token_json};
use crate::{
    broker::{AgentHandle, AgentState, Broker, ProblemCode, TokenQuery},
    budget::Peer,
    delivery::{
        body::AgentBody,
        refusal::{Reason, Refusal},
        tcp::{PeerAddress, TcpServer},
    },
    secret::AgentSecret,
};

const PATH: &str = "/sts/v1/token";
/// The largest form; a library's takes a hundred bytes.
const FORM_BYTES: usize = 16 * 1024;
/// How long a client may take over it.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves every agent's token to whoever has the agent's secret, until `shutdown`.
pub async fn serve(server: TcpServer, broker: Arc<Broker>, shutdown: CancellationToken) {
    let answer = move |request| {
        let broker = broker.clone();
        async move { answer(&broker, request).await }
    };
    server.serve("the agents' token endpoint", answer, shutdown).await;
}

async fn answer(broker: &Arc<Broker>, request: Request<Incoming>) -> Response<AgentBody> {
    match token(broker, request).await {
        Ok(body) => respond(StatusCode::OK, Bytes::from_owner(body).into()),
        Err(error) => error.response(),
    }
}

async fn token(broker: &Arc<Broker>, request: Request<Incoming>) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    if request.uri().path() != PATH {
        let description = format!("there is nothing here but {PATH}");
        return Err(TokenError::new(
            StatusCode::NOT_FOUND,
            "invalid_request",
            description,
        ));
    }
    if request.method() != Method::POST {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        return Err(TokenError::new(
            status,
            "invalid_request",
            "only POST is served here",
        ));
    }
    // Before the body is read, so that nobody else has anything read.
    let peer = request.extensions().get::<PeerAddress>();
    let from = peer.map(|peer| Peer::from(peer.0.ip()));
    let agent = authenticated(broker, request.headers(), from)?;
    let form = read_form(request.into_body()).await?;
    check_form(&form, &agent)?;
    let asked = broker.token(&agent, &TokenQuery::default()).await;
    if agent.is_removed() {
        return Err(Refusal::removed().into());
    }
    Ok(token_json(&asked.map_err(Refusal::from)?, broker.uptime()))
}

fn authenticated(
    broker: &Broker,
    headers: &HeaderMap,
    from: Option<Peer>,
) -> Result<Arc<AgentHandle>, TokenError> {
    let presented = headers.get(header::AUTHORIZATION).and_then(basic);
    let Some((name, secret)) = presented else {
        let description =
            "HTTP Basic authentication with the client_id and client_secret of adc.json is missing";
        return Err(TokenError::unauthenticated(description));
    };
    broker.authenticate(&name, &secret, from).ok_or_else(|| {
        TokenError::unauthenticated(
            "client_id or client_secret is wrong: read adc.json again, for an agent that was removed and added \
             again has another secret",
        )
    })
}

/// Name and password of HTTP Basic (RFC 7617). What adc.json holds needs no further decoding.
fn basic(header: &HeaderValue) -> Option<(String, AgentSecret)> {
    let (scheme, credentials) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(BASE64_STANDARD.decode(credentials.trim()).ok()?);
    let (name, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((name.to_owned(), AgentSecret::from(password)))
}

async fn read_form(body: Incoming) -> Result<Bytes, TokenError> {
    let unread = |description: &str| TokenError::new(StatusCode::BAD_REQUEST, "invalid_request", description);
    let read = Limited::new(body, FORM_BYTES).collect();
    match tokio::time::timeout(FORM_TIMEOUT, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(unread("the form is too large, or ended early")),
        Err(_) => Err(unread("the form takes too long to arrive")),
    }
}

fn check_form(form: &[u8], agent: &AgentHandle) -> Result<(), TokenError> {
    let bad = |code, description: &str| Err(TokenError::new(StatusCode::BAD_REQUEST, code, description));
    let field = |name: &str| {
        let mut fields = url::form_urlencoded::parse(form);
        fields.find(|(key, _)| key == name).map(|(_, value)| value)
    };
    match field("grant_type").as_deref() {
        Some("refresh_token") => {}
        Some(_) => return bad("unsupported_grant_type", "grant_type is refresh_token here"),
        None => return bad("invalid_request", "grant_type is missing"),
    }
    match field("refresh_token").as_deref() {
        Some(handle) if handle == adc::handle(agent.name()) => Ok(()),
        Some(_) => bad(
            "invalid_grant",
            "refresh_token is not the one of this agent's adc.json",
        ),
        None => bad("invalid_request", "refresh_token is missing"),
    }
}

/// An error of RFC 6749, section 5.2.
struct TokenError {
    status: StatusCode,
    error: &'static str,
    description: String,
    /// Where a person can fix it, as `error_uri`.
    uri: Option<String>,
    retry_after: Option<HeaderValue>,
}

impl TokenError {
    fn new(status: StatusCode, error: &'static str, description: impl Into<String>) -> Self {
        Self {
            status,
            error,
            description: description.into(),
            uri: None,
            retry_after: None,
        }
    }

    fn unauthenticated(description: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", description)
    }

    fn response(self) -> Response<AgentBody> {
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'a str,
            error_description: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            error_uri: Option<&'a str>,
        }
        let body = Body {
            error: self.error,
            error_description: self.description.chars().map(allowed).collect(),
            error_uri: self.uri.as_deref(),
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = respond(self.status, AgentBody::from(body));
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"token-broker\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, wait);
        }
        response
    }
}

/// What `error_description` may hold: visible ASCII and spaces, without quotes and backslashes.
fn allowed(c: char) -> char {
    match c {
        '"' => '\'',
        '\\' => '/',
        ' '..='~' => c,
        _ => '?',
    }
}

impl From<Refusal> for TokenError {
    /// The standard's codes are few: what the agent's state says goes before the sentence.
    fn from(refusal: Refusal) -> Self {
        let (status, error) = match refusal.reason {
            Reason::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            Reason::Broker(ProblemCode::State(AgentState::Active | AgentState::ProviderUnavailable)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
            }
            Reason::Broker(ProblemCode::RateLimited) => {
                (StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable")
            }
            Reason::Broker(ProblemCode::State(AgentState::Misconfigured)) => {
                (StatusCode::BAD_REQUEST, "unauthorized_client")
            }
            Reason::AgentRemoved => (StatusCode::UNAUTHORIZED, "invalid_client"),
            _ => (StatusCode::BAD_REQUEST, "invalid_grant"),
        };
        Self {
            retry_after: refusal.retry_after(),
            uri: refusal.action_url.clone(),
            ..Self::new(status, error, refusal.diagnosis())
        }
    }
}

fn respond(status: StatusCode, body: AgentBody) -> Response<AgentBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    // One request for each connection: they are rare, and none idles in a place that others need.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
