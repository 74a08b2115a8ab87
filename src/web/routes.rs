//! Which address shows what.

use std::{fmt::Write, sync::Arc};

use bytes::Bytes;
use http::request::Parts;
use hyper::{Method, Request, StatusCode, body::Body};

use super::{
    action,
    answer::{Answer, html, protect, redirect, text, typed, wrong_method},
    callback::{self, Ending},
    console::Console,
    help,
    page::{Page, STYLE, STYLE_PATH, Tone},
    risc,
};
use crate::{
    broker::{AgentState, Broker},
    clock,
    google::risc::Receiver,
    health::Readiness,
    telemetry::{Metrics, metrics::Gauges, stderr},
};

/// What the pages show.
pub struct Web {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Its figures.
    pub metrics: Arc<Metrics>,
    /// What the daemon cannot do.
    pub readiness: Arc<Readiness>,
    /// The console.
    pub console: Console,
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
        let mut answer = if Console::serves(request.uri().path()) {
            self.console.answer(request).await
        } else if let Some(receiver) = receiver {
            if *request.method() == Method::POST {
                risc::receive(&self.broker, receiver, &self.metrics, request.into_body()).await
            } else {
                wrong_method("POST")
            }
        } else if matches!(*request.method(), Method::GET | Method::HEAD) {
            let (parts, _) = request.into_parts();
            self.get(&parts).await
        } else {
            wrong_method("GET, HEAD")
        };
        protect(&mut answer);
        answer
    }

    async fn get(&self, request: &Parts) -> Answer {
        let (path, query) = (request.uri.path(), request.uri.query().unwrap_or_default());
        match path {
            "/" => redirect(&self.console.address("integrations")),
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.ready(),
            "/metrics" => self.metrics(),
            "/oauth/callback" => {
                let session = self.console.session(request);
                match callback::callback(&self.broker, session.as_ref(), query).await {
                    Ending::Page(status, page) => show(status, &page),
                    Ending::Redirect(url) => redirect(&url),
                    Ending::Console(account) => redirect(&self.console.connected(&account)),
                }
            }
            STYLE_PATH => typed(StatusCode::OK, "text/css; charset=utf-8", STYLE),
            _ if help::serves(path) => help::answer(path),
            _ => match path
                .strip_prefix("/agents/")
                .and_then(|name| self.agent(request, name))
            {
                Some(answer) => answer,
                None => show(
                    StatusCode::NOT_FOUND,
                    &Page::new(Tone::Bad, "There is no such page")
                        .says("The address is wrong, or the agent is gone."),
                ),
            },
        }
    }

    /// An agent's page: in the console for who is signed in there and may see it.
    fn agent(&self, request: &Parts, name: &str) -> Option<Answer> {
        let agent = self.broker.agent(&name.parse().ok()?)?;
        let session = self.console.session(request);
        let owner = &agent.snapshot.manifest.owner;
        if session.is_some_and(|session| session.admission.viewer.may_see(owner)) {
            return Some(redirect(&self.console.address(&format!("agents/{name}"))));
        }
        Some(show(StatusCode::OK, &action::page(&self.broker, &agent)))
    }

    /// Whether this daemon can do its work, and what it cannot do. Whether it lives is `/healthz`.
    fn ready(&self) -> Answer {
        let unmet = self.readiness.unmet();
        if unmet.is_empty() {
            return text(StatusCode::OK, "ready\n");
        }
        let mut reasons = String::new();
        for unmet in unmet {
            let _ = writeln!(reasons, "not ready: {}", unmet.sentence);
        }
        text(StatusCode::SERVICE_UNAVAILABLE, &reasons)
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
            ready: self.readiness.is_ready().into(),
            log_lines_dropped: stderr::dropped(),
            agents_short_of_token: count(self.broker.agents_short_of_token()),
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
    html(status, page.html())
}
