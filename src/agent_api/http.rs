//! HTTP on an agent's socket.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Method, Request, Response, header};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use zeroize::Zeroizing;

use super::{
    answer_cache::Form,
    body::{AgentBody, Events},
    google_compat::metadata,
    refusal::{Reason, Refusal},
    view_watch::ViewWatch,
    watch::{Change, End, Watch},
};
use crate::{
    agent_api::{
        answer::Answer,
        endpoint::{Endpoint, Server},
    },
    agent_view::{render::json, view::View},
    broker::{TokenGrant, TokenRequest},
    clock::{self, Moment},
    id::ProviderId,
    net::event_stream,
    provider::Providers,
};

/// How often an event stream says that it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What the JSON around a token takes.
const TOKEN_OVERHEAD: usize = 192;

/// A comment of an event stream.
const STILL_HERE: &[u8] = b": still here\n\n";

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Answers a request.
pub(crate) fn answer<B>(endpoint: &Arc<Endpoint>, request: &Request<B>) -> Answer {
    if metadata::is_meant(request) {
        return metadata::answer(&endpoint.server.desk(&endpoint.agent), request);
    }
    let route: fn(&Arc<Endpoint>, Option<&str>) -> Answer = match request.uri().path() {
        "/v1/token" => token,
        "/v1/env" => env,
        "/v1/status" => status,
        "/v1/view" => view,
        "/v1/watch" => watch,
        path => {
            let detail =
                format!("There is nothing at {path:?}; see /v1/token, /v1/env, /v1/status, /v1/watch.");
            return Answer::now(Refusal::new(Reason::NotFound, detail).into_http());
        }
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let detail = format!("{} is not allowed here, only GET and HEAD.", request.method());
        return Answer::now(Refusal::new(Reason::MethodNotAllowed, detail).into_http());
    }
    route(endpoint, request.uri().query().filter(|query| !query.is_empty()))
}

fn token(endpoint: &Arc<Endpoint>, query: Option<&str>) -> Answer {
    if query.is_none()
        && let Some(answer) = token_at_hand(endpoint)
    {
        return answer;
    }
    let providers = endpoint.server.broker.providers();
    let parsed = query.map_or_else(
        || Ok(TokenRequest::default()),
        |query| parse_query(query, providers),
    );
    let query = match parsed {
        Ok(query) => query,
        Err(refusal) => return Answer::now(refusal.into_http()),
    };
    let endpoint = Arc::clone(endpoint);
    Answer::Later(Box::pin(async move {
        match endpoint.obtain(&query).await {
            Ok(grant) => {
                let body = Bytes::from_owner(token_json(&grant, endpoint.server.moment()));
                respond(body.into(), JSON)
            }
            Err(refusal) => refusal.into_http(),
        }
    }))
}

/// The frequent answer. It looks at one clock, once.
fn token_at_hand(endpoint: &Endpoint) -> Option<Answer> {
    let server = &endpoint.server;
    let now = server.uptime();
    let grant = server.broker.issuer.current_at(&endpoint.agent, now)?;
    let render = || token_json(&grant, server.moment());
    let body = endpoint.answers.get(Form::Json, &grant, now, render);
    Some(Answer::now(respond(body.into(), JSON)))
}

impl Endpoint {
    /// A token from the broker.
    pub(crate) async fn obtain(&self, query: &TokenRequest) -> Result<TokenGrant, Refusal> {
        let Server { broker, holdings, .. } = &*self.server;
        holdings.obtain(broker, &self.agent, &self.holder, query).await
    }
}

/// Reads the query of `/v1/token`.
pub(crate) fn parse_query(query: &str, providers: &Providers) -> Result<TokenRequest, Refusal> {
    let mut parsed = TokenRequest::default();
    let (mut min_ttl, mut integration, mut refresh) = (None, None, None);
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "capability" => parsed.capabilities.push(value.into_owned()),
            "min_ttl" if min_ttl.is_none() => {
                let seconds: u32 = value.parse().map_err(|_| {
                    Refusal::invalid(format!(
                        "min_ttl is a number of seconds such as 600, not {value:?}."
                    ))
                })?;
                min_ttl = Some(Duration::from_secs(seconds.into()));
            }
            "integration" if integration.is_none() => integration = Some(provider_named(&value, providers)?),
            "refresh" if refresh.is_none() => {
                let refused = || Refusal::invalid(format!("refresh is true or false, not {value:?}."));
                refresh = Some(value.parse().map_err(|_| refused())?);
            }
            "min_ttl" | "integration" | "refresh" => {
                return Err(Refusal::invalid(format!("{name} is given twice.")));
            }
            _ => {
                let detail = format!(
                    "There is no query parameter {name:?}; there are capability, min_ttl, refresh and integration."
                );
                return Err(Refusal::invalid(detail));
            }
        }
    }
    parsed.min_ttl = min_ttl.unwrap_or_default();
    parsed.integration = integration;
    parsed.refresh = refresh.unwrap_or_default();
    Ok(parsed)
}

/// Reads the key of a provider.
pub(crate) fn provider_named(name: &str, providers: &Providers) -> Result<ProviderId, Refusal> {
    let found = providers.named(name).map(|provider| provider.id().clone());
    found.ok_or_else(|| {
        let there = providers.names().join(" and ");
        Refusal::invalid(format!("There is no integration {name:?}; there are {there}."))
    })
}

/// The token as JSON.
fn token_json(grant: &TokenGrant, now: Moment) -> Zeroizing<Vec<u8>> {
    // Enough for the whole text: growing would copy the token about.
    let scopes: usize = grant
        .token
        .scopes
        .iter()
        .map(|scope| scope.as_str().len() + 1)
        .sum();
    let keys: usize = grant.capabilities.iter().map(|key| key.as_str().len() + 3).sum();
    let capacity = grant.token.access_token.expose().len() + scopes + keys + TOKEN_OVERHEAD;
    let mut body = Zeroizing::new(Vec::with_capacity(capacity));
    // Writing to memory does not fail, and neither does anything in the value.
    let _ = serde_json::to_writer(&mut *body, &TokenBody { grant, now });
    body
}

struct TokenBody<'a> {
    grant: &'a TokenGrant,
    now: Moment,
}

impl Serialize for TokenBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let token = &self.grant.token;
        let expires_in = token.remaining(self.now.uptime).unwrap_or_default().as_secs();
        let mut body = serializer.serialize_struct("Token", 6)?;
        body.serialize_field("access_token", token.access_token.expose())?;
        body.serialize_field("token_type", "Bearer")?;
        body.serialize_field("expires_at", &clock::rfc3339(self.now.wall_at(token.expires_at)))?;
        body.serialize_field("expires_in", &expires_in)?;
        body.serialize_field("scope", &Text(&token.scopes))?;
        body.serialize_field("capabilities", &*self.grant.capabilities)?;
        body.end()
    }
}

/// Serialized as it is displayed.
struct Text<'a, T>(&'a T);

impl<T: std::fmt::Display> Serialize for Text<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

fn env(endpoint: &Arc<Endpoint>, query: Option<&str>) -> Answer {
    shown(endpoint, query, |view, _| {
        respond(Bytes::from_owner(view.env()).into(), TEXT)
    })
}

fn status(endpoint: &Arc<Endpoint>, query: Option<&str>) -> Answer {
    shown(endpoint, query, |view, _| {
        whole(view.status_json().into_bytes(), JSON)
    })
}

/// All of it as one document, for sidecars.
fn view(endpoint: &Arc<Endpoint>, query: Option<&str>) -> Answer {
    shown(endpoint, query, |view, project_id| {
        let document = json(&view.document(Some(project_id)));
        respond(Bytes::from_owner(document).into(), JSON)
    })
}

fn shown(
    endpoint: &Arc<Endpoint>,
    query: Option<&str>,
    show: fn(&View<'_>, &str) -> Response<AgentBody>,
) -> Answer {
    if let Some(query) = query {
        return unexpected(query);
    }
    let snapshot = endpoint.agent.snapshot();
    let view = View::new(&snapshot, endpoint.server.moment());
    Answer::now(show(&view, endpoint.server.project_id()))
}

/// What a stream of `/v1/watch` tells of.
enum Watched {
    /// The tokens of this provider, `None` for the main one, and the agent's status.
    Token(Option<ProviderId>),
    /// That any of what `/v1/view` shows is another.
    View,
}

fn watch(endpoint: &Arc<Endpoint>, query: Option<&str>) -> Answer {
    let providers = endpoint.server.broker.providers();
    let watched = query.map_or(Ok(Watched::Token(None)), |query| watched(query, providers));
    let events = watched.and_then(|watched| match watched {
        Watched::Token(provider) => Watch::begin(endpoint, provider).map(token_events),
        Watched::View => ViewWatch::begin(endpoint).map(view_events),
    });
    let events = match events {
        Ok(events) => events,
        Err(refusal) => return Answer::now(refusal.into_http()),
    };
    let mut response = Response::new(AgentBody::Events(events));
    event_stream::mark(response.headers_mut());
    Answer::now(response)
}

fn token_events(watch: Watch) -> Events {
    Box::pin(stream::unfold(watch, |mut watch| async move {
        let text = match tokio::time::timeout(KEEP_ALIVE, watch.next()).await {
            Ok(Ok(Change::Token(grant))) => watch.tell(Form::Event, &grant, |now| {
                event("token", &token_json(&grant, now))
            }),
            Ok(Ok(Change::Status(snapshot))) => {
                let status = View::new(&snapshot, watch.now()).status();
                Bytes::from_owner(event("state", &serde_json::to_vec(&status).unwrap_or_default()))
            }
            Ok(Err(End::Removed | End::Stopping)) => return None,
            Err(_) => Bytes::from_static(STILL_HERE),
        };
        Some((text, watch))
    }))
}

/// Tells that there is another view, and at the end whether the agent was removed: who comes by its socket finds none then, as
/// while the daemon does not run.
fn view_events(watch: ViewWatch) -> Events {
    Box::pin(stream::unfold(Some(watch), |watch| async move {
        let mut watch = watch?;
        Some(match tokio::time::timeout(KEEP_ALIVE, watch.changed()).await {
            Ok(Ok(())) => (Bytes::from_owner(event("view", b"{}")), Some(watch)),
            Ok(Err(End::Removed)) => {
                let problem = Refusal::removed().problem_details();
                (Bytes::from_owner(event("removed", &problem)), None)
            }
            Ok(Err(End::Stopping)) => return None,
            Err(_) => (Bytes::from_static(STILL_HERE), Some(watch)),
        })
    }))
}

/// Reads the query of `/v1/watch`.
fn watched(query: &str, providers: &Providers) -> Result<Watched, Refusal> {
    let mut parameters = url::form_urlencoded::parse(query.as_bytes());
    match (parameters.next(), parameters.next()) {
        (Some((name, value)), None) if name == "integration" => {
            provider_named(&value, providers).map(|provider| Watched::Token(Some(provider)))
        }
        (Some((name, value)), None) if name == "view" => match &*value {
            "true" => Ok(Watched::View),
            "false" => Ok(Watched::Token(None)),
            _ => Err(Refusal::invalid(format!("view is true or false, not {value:?}."))),
        },
        (first, second) => {
            let (name, _) = second.or(first).unwrap_or_default();
            let detail = format!("There is no query parameter {name:?}; there is integration or view, once.");
            Err(Refusal::invalid(detail))
        }
    }
}

/// In memory of the right size from the beginning: growing would copy the token about.
fn event(name: &str, data: &[u8]) -> Zeroizing<Vec<u8>> {
    [b"event: ", name.as_bytes(), b"\ndata: ", data, b"\n\n"]
        .concat()
        .into()
}

fn unexpected(query: &str) -> Answer {
    let name = url::form_urlencoded::parse(query.as_bytes()).next();
    let name = name.map(|(name, _)| name).unwrap_or_default();
    let detail = format!("There is no query parameter {name:?}; this path takes none.");
    Answer::now(Refusal::invalid(detail).into_http())
}

fn whole(body: Vec<u8>, kind: HeaderValue) -> Response<AgentBody> {
    respond(AgentBody::from(body), kind)
}

fn respond(body: AgentBody, kind: HeaderValue) -> Response<AgentBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    response
}
