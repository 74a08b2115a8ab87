//! `POST /sts/v1/token`: where a library refreshes what it read in `adc.json` or `adc-external.json`.
//!
//! The agent proves itself with the secret in that file and gets what its socket would give it. With `adc.json` the
//! library sends the secret by HTTP Basic (RFC 6749, section 2.3.1). With `adc-external.json` it asks
//! `/sts/v1/subject` for a subject token first, which is the secret again, and exchanges that one (RFC 8693).

use std::{borrow::Cow, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::metadata::token_json;
use crate::{
    agent_api::{
        body::{AgentBody, for_method},
        google_compat::wanted,
        holder::Holder,
        holding::Holdings,
        refusal::{Reason, Refusal},
    },
    agent_view::adc,
    broker::{AgentHandle, AgentState, Broker, ProblemCode},
    budget::Peer,
    net::tcp::{PeerAddress, TcpServer},
    secret::AgentSecret,
};

const PATH: &str = "/sts/v1/token";
const SUBJECT_PATH: &str = "/sts/v1/subject";
const REFRESH: &str = "refresh_token";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";
/// The largest form; a library's takes a hundred bytes.
const FORM_BYTES: usize = 16 * 1024;
/// The largest form of who has proven nothing yet: what a token exchange takes.
const UNPROVEN_FORM_BYTES: usize = 4 * 1024;
/// How long a client may take over it.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves every agent's token to whoever has the agent's secret, until `shutdown`.
pub async fn serve(
    server: TcpServer,
    broker: Arc<Broker>,
    holdings: Arc<Holdings>,
    shutdown: CancellationToken,
) {
    let answer = move |request| {
        let (broker, holdings) = (broker.clone(), holdings.clone());
        async move { answer(&broker, &holdings, request).await }
    };
    server.serve("the agents' token endpoint", answer, shutdown).await;
}

async fn answer(
    broker: &Arc<Broker>,
    holdings: &Holdings,
    request: Request<Incoming>,
) -> Response<AgentBody> {
    let method = request.method().clone();
    let answered = match (request.uri().path(), &method) {
        (PATH, &Method::POST) => token(broker, holdings, request).await.map(|body| (body, JSON)),
        (PATH, _) => Err(TokenError::wrong_method("POST")),
        (SUBJECT_PATH, &(Method::GET | Method::HEAD)) => {
            subject_token(&Gate::of(broker, &request), request.headers()).map(|body| (body, TEXT))
        }
        (SUBJECT_PATH, _) => Err(TokenError::wrong_method("GET")),
        _ => {
            let description = format!("there is nothing here but {PATH} and {SUBJECT_PATH}");
            let status = StatusCode::NOT_FOUND;
            Err(TokenError::new(status, "invalid_request", description))
        }
    };
    let response = match answered {
        Ok((body, kind)) => respond(StatusCode::OK, Bytes::from_owner(body).into(), kind),
        Err(error) => error.response(),
    };
    for_method(&method, response)
}

/// What a library exchanges: the name and secret that it sent, in one word.
fn subject_token(gate: &Gate<'_>, headers: &HeaderMap) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let presented = headers.get(header::AUTHORIZATION).and_then(basic);
    let presented = presented.ok_or_else(TokenError::no_secret)?;
    gate.authenticated(&presented)?;
    let credentials = adc::basic_credentials(&presented.name, &presented.secret);
    Ok(Zeroizing::new(credentials.as_bytes().to_vec()))
}

async fn token(
    broker: &Arc<Broker>,
    holdings: &Holdings,
    request: Request<Incoming>,
) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let gate = Gate::of(broker, &request);
    let presented = request.headers().get(header::AUTHORIZATION);
    // Before the body is read, so that nobody else has much of it read.
    let known = match presented {
        Some(presented) => {
            let presented = basic(presented).ok_or_else(TokenError::no_secret)?;
            Some(gate.authenticated(&presented)?)
        }
        None => None,
    };
    let most = if known.is_some() {
        FORM_BYTES
    } else {
        UNPROVEN_FORM_BYTES
    };
    let form = Form(read_form(request.into_body(), most).await?);
    let agent = form.authenticated(&gate, known)?;
    let grant = holdings
        .obtain(
            broker,
            &agent,
            &Holder::of(&agent),
            &wanted::token(broker, &agent),
        )
        .await?;
    let issued_type = (form.field("grant_type").as_deref() == Some(EXCHANGE)).then_some(ACCESS_TOKEN_TYPE);
    Ok(token_json(&grant, issued_type, broker.uptime()))
}

/// Name and secret, as presented.
struct Credentials {
    name: String,
    secret: AgentSecret,
}

impl Credentials {
    /// From what stands in HTTP Basic (RFC 7617), and in a subject token.
    fn decoded(text: &str) -> Option<Self> {
        let decoded = Zeroizing::new(BASE64_STANDARD.decode(text.trim()).ok()?);
        let (name, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some(Self {
            name: name.to_owned(),
            secret: AgentSecret::from(password),
        })
    }
}

/// Who may pass.
struct Gate<'a> {
    broker: &'a Broker,
    /// Where the request came from, for what is noted of refusals.
    from: Option<Peer>,
}

impl<'a> Gate<'a> {
    fn of<B>(broker: &'a Broker, request: &Request<B>) -> Self {
        let peer = request.extensions().get::<PeerAddress>();
        Self {
            broker,
            from: peer.map(|peer| Peer::from(peer.0.ip())),
        }
    }

    /// The agent that name and secret are of.
    fn authenticated(&self, presented: &Credentials) -> Result<Arc<AgentHandle>, TokenError> {
        let Credentials { name, secret } = presented;
        let refused = || {
            TokenError::unauthenticated(
                "name or secret of the agent is wrong: read the credential file again, for an agent that was \
                 removed and added again has another secret",
            )
        };
        self.broker
            .authenticator
            .authenticate(name, secret, self.from)
            .ok_or_else(refused)
    }
}

/// HTTP Basic. What the credential files hold needs no further decoding.
fn basic(header: &HeaderValue) -> Option<Credentials> {
    let (scheme, credentials) = header.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("basic")
        .then(|| Credentials::decoded(credentials))?
}

async fn read_form(body: Incoming, most: usize) -> Result<Bytes, TokenError> {
    let unread = |description: &str| TokenError::new(StatusCode::BAD_REQUEST, "invalid_request", description);
    let read = Limited::new(body, most).collect();
    match tokio::time::timeout(FORM_TIMEOUT, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(unread("the form is too large, or ended early")),
        Err(_) => Err(unread("the form takes too long to arrive")),
    }
}

/// What was posted.
struct Form(Bytes);

impl Form {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut fields = url::form_urlencoded::parse(&self.0);
        fields.find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The agent that asks; `known` is the one that HTTP Basic told of.
    fn authenticated(
        &self,
        gate: &Gate<'_>,
        known: Option<Arc<AgentHandle>>,
    ) -> Result<Arc<AgentHandle>, TokenError> {
        let bad = |code, description: &str| TokenError::new(StatusCode::BAD_REQUEST, code, description);
        match self.field("grant_type").as_deref() {
            Some(REFRESH) => {
                let agent = known.ok_or_else(TokenError::no_secret)?;
                match self.field("refresh_token").as_deref() {
                    Some(handle) if handle == adc::handle(agent.name()) => Ok(agent),
                    Some(_) => Err(bad(
                        "invalid_grant",
                        "refresh_token is not the one of this agent's adc.json",
                    )),
                    None => Err(bad("invalid_request", "refresh_token is missing")),
                }
            }
            Some(EXCHANGE) => {
                let subject = self
                    .field("subject_token")
                    .and_then(|text| Credentials::decoded(&text));
                let subject = subject.ok_or_else(TokenError::no_secret)?;
                let agent = gate.authenticated(&subject)?;
                match known {
                    Some(known) if known.name() != agent.name() => Err(bad(
                        "invalid_grant",
                        "subject_token is another agent's than the one that authenticated",
                    )),
                    _ => Ok(agent),
                }
            }
            Some(_) => {
                let description = "grant_type is refresh_token or token-exchange here";
                Err(bad("unsupported_grant_type", description))
            }
            None => Err(bad("invalid_request", "grant_type is missing")),
        }
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

    fn wrong_method(allowed: &str) -> Self {
        let description = format!("only {allowed} is served here");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", description)
    }

    fn no_secret() -> Self {
        Self::unauthenticated("name and secret of the agent's credential file are missing")
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
        let mut response = respond(self.status, AgentBody::from(body), JSON);
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

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

fn respond(status: StatusCode, body: AgentBody, kind: HeaderValue) -> Response<AgentBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    // One request for each connection: they are rare, and none idles in a place that others need.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
