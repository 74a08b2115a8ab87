//! Which address shows what.

use std::{fmt::Write, sync::Arc};

use bytes::Bytes;
use http::request::Parts;
use hyper::{
    Method, Request, StatusCode,
    body::Body,
    header::{HeaderMap, SET_COOKIE},
};
use jiff::Timestamp;

use super::{
    action,
    answer::{Answer, html, protect, redirect, text, typed, wrong_method},
    callback::{self, Ending},
    console::Console,
    figures::Figures,
    help,
    page::{Page, STYLE, STYLE_PATH, Tone},
    public_address::PublicAddress,
    risc,
};
use crate::{
    broker::{AgentState, Broker},
    google::risc::Receiver,
    health::Readiness,
    net::tls::ServedCertificate,
    session::Visit,
    telemetry::{Metrics, metrics::Gauges, stderr},
};

const LIVE: &str = "/healthz";
const READY: &str = "/readyz";
const METRICS: &str = "/metrics";
const PROBES: [&str; 3] = [LIVE, READY, METRICS];

/// What the pages show.
pub struct Web {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Its figures.
    pub metrics: Arc<Metrics>,
    /// What the daemon cannot do.
    pub readiness: Arc<Readiness>,
    /// How people reach the pages.
    pub address: PublicAddress,
    /// The console.
    pub console: Console,
    /// Takes security events at `/risc`, where that is configured.
    pub risc: Option<Receiver>,
    /// What sidecars are served with over TLS, where they are.
    pub certificate: Option<Arc<ServedCertificate>>,
    /// What `/metrics` said last.
    pub figures: Figures,
}

/// True for what is asked to find out how the daemon is. It is answered whatever else there is no room for.
pub(super) fn is_probe<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD) && PROBES.contains(&request.uri().path())
}

impl Web {
    /// Answers one request.
    pub(super) async fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (mut request, body) = request.into_parts();
        // Before the request's first line is changed, which may name a host.
        let refusal = self.address.refuse(&request);
        if let Some(path) = self
            .address
            .strip(&request.uri)
            .filter(|_| !is_page(request.uri.path()))
        {
            request.uri = path;
        }
        let mut answer = match self.probe(&request) {
            Some(answer) => answer,
            None => match refusal {
                Some(refusal) => refusal,
                None if is_ahead(&request.headers) => not_ahead(),
                None => self.page(request, body).await,
            },
        };
        protect(&mut answer);
        answer
    }

    /// What is asked by whatever name or address the asker has for this machine, and tells nobody's secrets.
    fn probe(&self, request: &Parts) -> Option<Answer> {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return None;
        }
        Some(match request.uri.path() {
            LIVE => text(StatusCode::OK, "ok\n"),
            READY => self.ready(),
            METRICS => self.metrics(),
            _ => return None,
        })
    }

    async fn page<B>(&self, request: Parts, body: B) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let receiver = self.risc.as_ref().filter(|_| request.uri.path() == "/risc");
        if Console::serves(request.uri.path()) {
            self.console.answer(Request::from_parts(request, body)).await
        } else if let Some(receiver) = receiver {
            if request.method == Method::POST {
                risc::receive(&self.broker, receiver, &self.metrics, body).await
            } else {
                wrong_method("POST")
            }
        } else if matches!(request.method, Method::GET | Method::HEAD) {
            self.get(&request).await
        } else {
            wrong_method("GET, HEAD")
        }
    }

    async fn get(&self, request: &Parts) -> Answer {
        let path = request.uri.path();
        match path {
            "/" => redirect(&self.console.address("integrations")),
            callback::PATH => self.callback(request).await,
            STYLE_PATH => typed(StatusCode::OK, "text/css; charset=utf-8", STYLE),
            _ if help::serves(path) => help::answer(path),
            _ => match path
                .strip_prefix("/agents/")
                .and_then(|name| self.agent(request, name))
            {
                Some(answer) => answer,
                None => self.show(
                    StatusCode::NOT_FOUND,
                    &Page::new(Tone::Bad, "There is no such page")
                        .says("The address is wrong, or the agent is gone."),
                ),
            },
        }
    }

    /// Only a browser that shows it to a person ends a consent: neither HEAD, which link checkers send, nor one that
    /// fetches ahead.
    async fn callback(&self, request: &Parts) -> Answer {
        if request.method == Method::HEAD {
            return html(StatusCode::OK, Ok(String::new()));
        }
        let session = self.console.session(request);
        let (browser, cookie) = self.console.browser(request);
        let query = request.uri.query().unwrap_or_default();
        let visit = Visit {
            session: session.as_ref(),
            browser,
        };
        let (ending, ended) = callback::callback(&self.broker, &visit, query).await;
        let mut answer = match ending {
            Ending::Page(status, page) => self.show(status, &page),
            Ending::Redirect(url) => redirect(&url),
            Ending::Console(account) => redirect(&self.console.connected(&account)),
        };
        if let Some(cookie) = cookie.filter(|_| ended) {
            answer.headers_mut().insert(SET_COOKIE, cookie);
        }
        answer
    }

    /// An agent's page: in the console for who is signed in there and may see it.
    fn agent(&self, request: &Parts, name: &str) -> Option<Answer> {
        let agent = self.broker.agent_list.agent(&name.parse().ok()?)?;
        let session = self.console.session(request);
        let owner = &agent.snapshot.manifest.owner;
        if session.is_some_and(|session| session.admission.viewer.may_see(owner)) {
            return Some(redirect(&self.console.address(&format!("agents/{name}"))));
        }
        Some(self.show(StatusCode::OK, &action::page(&self.broker, &agent)))
    }

    fn show(&self, status: StatusCode, page: &Page) -> Answer {
        html(status, page.html(self.address.prefix()))
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
        let make = || self.metrics.render(&self.gauges());
        match self.figures.at(self.broker.uptime(), make) {
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
        let integrations = self.broker.accounts.account_states();
        let in_state = |state: AgentState| count(integrations.iter().filter(|s| **s == state).count());
        let next = self
            .broker
            .next_renewal()
            .and_then(|at| self.broker.uptime().until(at));
        let handles = self.broker.agent_list.handles();
        Gauges {
            ready: self.readiness.is_ready().into(),
            log_lines_dropped: stderr::dropped(),
            agents_short_of_token: count(self.broker.agent_list.agents_short_of_token()),
            agents: self
                .broker
                .agent_list
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
            certificate_end: self
                .certificate
                .as_ref()
                .and_then(|certificate| certificate.ends_at())
                .map(Timestamp::as_second),
            clock_skew: self.broker.clock_skew().as_secs(),
            next_renewal: next.map_or(0, |wait| i64::try_from(wait.as_secs()).unwrap_or(i64::MAX)),
        }
    }
}

/// True for the first part of an address that leads to a page of ours.
fn is_page(path: &str) -> bool {
    Console::serves(path) || help::serves(path) || path.starts_with("/agents/") || path == callback::PATH
}

/// True where nobody looks at the answer yet, or ever: the browser fetches what a person may want next.
fn is_ahead(headers: &HeaderMap) -> bool {
    // The first is the Fetch standard's; the others came before it, from WebKit and from Gecko.
    ["sec-purpose", "purpose", "x-purpose", "x-moz"]
        .iter()
        .any(|name| {
            let values = headers.get_all(*name).iter();
            values
                .filter_map(|value| value.to_str().ok())
                .map(str::to_ascii_lowercase)
                .any(|value| {
                    ["prefetch", "prerender", "preview"]
                        .iter()
                        .any(|word| value.contains(word))
                })
        })
}

/// A failure is not kept by the browser: it asks again when the person comes.
fn not_ahead() -> Answer {
    text(
        StatusCode::SERVICE_UNAVAILABLE,
        "pages are shown to people, and not fetched ahead of them\n",
    )
}
