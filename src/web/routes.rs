//! Which address shows what.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Body,
    header::{self, HeaderValue},
};

use super::{
    action,
    callback::{self, Ending},
    help,
    page::{Page, STYLE, STYLE_PATH, Tone},
    risc,
};
use crate::{
    broker::{AgentState, Broker},
    clock,
    google::risc::Receiver,
    telemetry::{Metrics, metrics::Gauges},
};

/// An answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// Whether every agent has its files and the sockets answer.
#[derive(Debug, Default)]
pub struct Readiness(AtomicBool);

impl Readiness {
    /// Says so, or takes it back.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether it is so.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What the pages show.
pub struct Web {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Its figures.
    pub metrics: Arc<Metrics>,
    /// Whether the daemon is ready.
    pub readiness: Arc<Readiness>,
    /// Takes security events at `/risc`, where that is configured.
    pub risc: Option<Receiver>,
}

impl Web {
    /// Answers one request.
    pub(super) async fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let receiver = self.risc.as_ref().filter(|_| request.uri().path() == "/risc");
        let mut answer = if let Some(receiver) = receiver {
            if *request.method() == Method::POST {
                risc::receive(&self.broker, receiver, &self.metrics, request.into_body()).await
            } else {
                wrong_method("POST", "only POST is served here\n")
            }
        } else if matches!(*request.method(), Method::GET | Method::HEAD) {
            self.get(request.uri().path(), request.uri().query().unwrap_or_default())
                .await
        } else {
            wrong_method("GET, HEAD", "only GET and HEAD are served here\n")
        };
        protect(&mut answer);
        answer
    }

    async fn get(&self, path: &str, query: &str) -> Answer {
        match path {
            "/" => show(StatusCode::OK, &self.welcome()),
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" if self.readiness.get() => text(StatusCode::OK, "ready\n"),
            "/readyz" => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: agents' files are not all written\n",
            ),
            "/metrics" => self.metrics(),
            "/oauth/callback" => match callback::callback(&self.broker, query).await {
                Ending::Page(status, page) => show(status, &page),
                Ending::Redirect(url) => redirect(&url),
            },
            STYLE_PATH => typed(StatusCode::OK, "text/css; charset=utf-8", STYLE.to_owned()),
            _ if help::serves(path) => help::answer(path),
            _ => match path
                .strip_prefix("/agents/")
                .and_then(|name| action::page(&self.broker, name))
            {
                Some(page) => show(StatusCode::OK, &page),
                None => show(
                    StatusCode::NOT_FOUND,
                    &Page::new(Tone::Bad, "There is no such page")
                        .says("The address is wrong, or the agent is gone."),
                ),
            },
        }
    }

    fn welcome(&self) -> Page {
        let agents: usize = self.broker.agents_by_state().iter().map(|(_, count)| count).sum();
        Page::new(Tone::Calm, "token-broker")
            .says("This daemon keeps agents supplied with short-lived Google access tokens.")
            .says(format!(
                "{agents} agents, {} connected accounts.",
                self.broker.account_count()
            ))
            .closes("`token-broker status` on this machine shows more.")
    }

    fn metrics(&self) -> Answer {
        match self.metrics.render(&self.gauges()) {
            Ok(figures) => typed(
                StatusCode::OK,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                figures,
            ),
            Err(_) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the figures cannot be written\n",
            ),
        }
    }

    fn gauges(&self) -> Gauges {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let integrations = self.broker.account_states();
        let in_state = |state: AgentState| count(integrations.iter().filter(|s| **s == state).count());
        let next = self
            .broker
            .next_renewal()
            .and_then(|at| clock::remaining(self.broker.now(), at));
        let handles = self.broker.handles();
        Gauges {
            agents: self
                .broker
                .agents_by_state()
                .into_iter()
                .map(|(s, n)| (s.as_str(), count(n)))
                .collect(),
            integrations: AgentState::ALL
                .into_iter()
                .map(|s| (s.as_str(), in_state(s)))
                .collect(),
            renewals_waiting: count(self.broker.renewals_waiting()),
            delivery_problems: count(handles.iter().filter(|h| h.delivery_problem().is_some()).count()),
            clock_skew: self.broker.clock_skew().as_secs(),
            next_renewal: next.map_or(0, |wait| i64::try_from(wait.as_secs()).unwrap_or(i64::MAX)),
        }
    }
}

fn show(status: StatusCode, page: &Page) -> Answer {
    match page.html() {
        Ok(html) => typed(status, "text/html; charset=utf-8", html),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the page cannot be shown\n"),
    }
}

fn wrong_method(allowed: &'static str, sentence: &str) -> Answer {
    let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, sentence);
    refused
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allowed));
    refused
}

pub(super) fn text(status: StatusCode, body: &str) -> Answer {
    typed(status, "text/plain; charset=utf-8", body.to_owned())
}

pub(super) fn typed(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

fn redirect(url: &str) -> Answer {
    let mut answer = text(StatusCode::SEE_OTHER, "");
    match HeaderValue::from_str(url) {
        Ok(location) => {
            answer.headers_mut().insert(header::LOCATION, location);
            answer
        }
        Err(_) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the return address cannot be sent\n",
        ),
    }
}

/// No script, no frame, no referrer: the callback's address holds a code.
fn protect(answer: &mut Answer) {
    let headers = answer.headers_mut();
    let policy =
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}
