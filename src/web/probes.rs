//! How the daemon is, for whoever looks after it: `/healthz`, `/readyz` and `/metrics`.

use std::{fmt::Write, sync::Arc};

use axum::{Router, extract::State, routing::get};
use hyper::{Method, Request, StatusCode};

use super::answer::{Answer, text, typed};
use crate::{
    broker::{AgentState, Broker},
    health::Readiness,
    net::tls::ServedCertificates,
    telemetry::{Metrics, figures::Figures, metrics::Gauges, stderr},
};

const LIVE: &str = "/healthz";
const READY: &str = "/readyz";
const METRICS: &str = "/metrics";
const PROBES: [&str; 3] = [LIVE, READY, METRICS];

/// True for what is asked to find out how the daemon is. It is answered whatever else there is no room for, by whatever
/// name or address the asker has for this machine, and tells nobody's secrets.
pub(super) fn is_probe<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD) && PROBES.contains(&request.uri().path())
}

/// What is answered while a start waits for something.
pub(super) fn of_start<B>(request: &Request<B>, waits_for: &str) -> Answer {
    if request.uri().path() == LIVE {
        return text(StatusCode::OK, "ok\n");
    }
    let mut answer = text(
        StatusCode::SERVICE_UNAVAILABLE,
        &format!("the daemon is starting: {waits_for}\n"),
    );
    let retry = http::HeaderValue::from_static("5");
    answer.headers_mut().insert(http::header::RETRY_AFTER, retry);
    answer
}

/// Answers them.
pub(super) struct Probes {
    pub(super) broker: Arc<Broker>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Arc<Readiness>,
    /// What is served with over TLS, where something is.
    pub(super) certificates: ServedCertificates,
    /// What `/metrics` said last.
    pub(super) figures: Figures,
}

impl Probes {
    pub(super) fn routes(self) -> Router {
        Router::new()
            .route(LIVE, get(|| async { text(StatusCode::OK, "ok\n") }))
            .route(READY, get(ready))
            .route(METRICS, get(metrics))
            .with_state(Arc::new(self))
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
            certificate_ends: self
                .certificates
                .all()
                .filter_map(|(listener, served)| Some((listener, served.ends_at()?.as_second())))
                .collect(),
            clock_skew: self.broker.clock_skew().as_secs(),
            next_renewal: next.map_or(0, |wait| i64::try_from(wait.as_secs()).unwrap_or(i64::MAX)),
        }
    }
}

/// Whether this daemon can do its work, and what it cannot do. Whether it lives is `/healthz`.
async fn ready(State(probes): State<Arc<Probes>>) -> Answer {
    let unmet = probes.readiness.unmet();
    if unmet.is_empty() {
        return text(StatusCode::OK, "ready\n");
    }
    let mut reasons = String::new();
    for unmet in unmet {
        let _ = writeln!(reasons, "not ready: {}", unmet.sentence);
    }
    text(StatusCode::SERVICE_UNAVAILABLE, &reasons)
}

async fn metrics(State(probes): State<Arc<Probes>>) -> Answer {
    let make = || probes.metrics.render(&probes.gauges());
    match probes.figures.at(probes.broker.uptime(), make) {
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
