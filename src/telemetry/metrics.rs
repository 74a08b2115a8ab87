//! Figures for Prometheus. No label holds a secret, an owner or an agent's name: labels are few and fixed.

use std::{fmt, sync::atomic::Ordering, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Metric, Registry, Unit},
};

use super::timing::Timing;
pub use super::timing::TimingSummary;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Listener {
    listener: &'static str,
}

/// What the provider is asked for: a token for a refresh token, and one for a service account's assertion.
const OPERATIONS: [&str; 2] = ["refresh", "assertion"];
/// How a renewal ends.
const OUTCOMES: [&str; 5] = ["ok", "retry", "reconnect", "operator", "permission"];

/// What is so at the moment of a scrape.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    /// 1 while the daemon is ready, else 0.
    pub ready: i64,
    /// Agents that could have a token and have none.
    pub agents_short_of_token: i64,
    /// Agents, by state.
    pub agents: Vec<(&'static str, i64)>,
    /// Accounts, by state.
    pub integrations: Vec<(&'static str, i64)>,
    /// Lines of the log that were dropped since the start.
    pub log_lines_dropped: u64,
    /// Renewals that wait for their moment.
    pub renewals_waiting: i64,
    /// Agents whose directory could not be written.
    pub delivery_problems: i64,
    /// When the certificates that are served end, in seconds of the Unix time, by listener.
    pub certificate_ends: Vec<(&'static str, i64)>,
    /// Seconds that the provider's clock is ahead.
    pub clock_skew: i64,
    /// Seconds until the next renewal.
    pub next_renewal: i64,
}

/// All figures of the daemon.
pub struct Metrics {
    registry: Registry,
    renewals: Family<Outcome, Counter>,
    provider: Family<Operation, Timing>,
    audit_failures: Counter,
    audit_lines_lost: Counter,
    log_lines_dropped: Counter,
    security_events: Family<Outcome, Counter>,
    agents: Family<State, Gauge>,
    integrations: Family<State, Gauge>,
    ready: Gauge,
    agents_short_of_token: Gauge,
    renewals_waiting: Gauge,
    delivery_problems: Gauge,
    certificate_end: Family<Listener, Gauge>,
    clock_skew: Gauge,
    next_renewal: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("token_broker");
        let all = &mut registry;
        Self {
            renewals: register(all, "renewals", "Renewals, by outcome"),
            provider: timed(
                all,
                "provider_request_duration",
                "How long the provider took to answer",
            ),
            audit_failures: register(
                all,
                "audit_write_failures",
                "Writes of the audit trail that failed",
            ),
            audit_lines_lost: register(
                all,
                "audit_lines_lost",
                "Lines of the audit trail that were lost while it could not be written; a line of it tells how many",
            ),
            log_lines_dropped: register(
                all,
                "log_lines_dropped",
                "Lines of the log that were dropped, because nobody read it",
            ),
            security_events: register(
                all,
                "security_events",
                "Security events that were pushed, by outcome",
            ),
            agents: register(all, "agents", "Agents, by state"),
            integrations: register(all, "integrations", "Connected accounts, by state"),
            ready: register(all, "ready", "1 while the daemon is ready, else 0"),
            agents_short_of_token: register(
                all,
                "agents_short_of_token",
                "Agents that lack a token although their owners have nothing to do for it, whichever provider's it is",
            ),
            renewals_waiting: register(all, "renewals_waiting", "Renewals that wait for their moment"),
            delivery_problems: register(
                all,
                "delivery_problems",
                "Agents whose directory could not be written",
            ),
            certificate_end: register(
                all,
                "certificate_end_timestamp_seconds",
                "When the certificate that is served ends, by listener",
            ),
            clock_skew: register(
                all,
                "clock_skew_seconds",
                "How far the provider's clock is ahead of this one",
            ),
            next_renewal: register(all, "next_renewal_seconds", "Seconds until the next renewal"),
            registry: with_version(registry),
        }
    }
}

/// A figure under its name.
fn register<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// One that counts seconds, which its name says.
fn timed<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

/// The version that runs, as the last of all.
fn with_version(mut registry: Registry) -> Registry {
    let build = prometheus_client::metrics::info::Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The running version", build);
    registry
}

impl Metrics {
    /// A renewal ended: `ok`, `retry`, `reconnect`, `operator` or `permission`.
    pub fn renewal(&self, outcome: &'static str) {
        self.renewals.get_or_create(&Outcome { outcome }).inc();
    }

    /// The provider answered, or did not, after this long.
    pub fn provider_request(&self, operation: &'static str, took: Duration) {
        self.provider
            .get_or_create(&Operation { operation })
            .observe(took);
    }

    /// How long the provider took so far, for each operation that it was asked for.
    pub fn provider_times(&self) -> Vec<(&'static str, TimingSummary)> {
        let summary = |operation| self.provider.get(&Operation { operation })?.summary();
        let times = OPERATIONS.into_iter();
        times
            .filter_map(|operation| Some((operation, summary(operation)?)))
            .collect()
    }

    /// How often renewals ended in each way so far.
    pub fn renewal_outcomes(&self) -> Vec<(&'static str, u64)> {
        let count = |outcome| Some(self.renewals.get(&Outcome { outcome })?.get());
        let outcomes = OUTCOMES.into_iter();
        outcomes
            .map(|outcome| (outcome, count(outcome).unwrap_or_default()))
            .collect()
    }

    /// A line of the audit trail found no place among those that wait to be written.
    pub fn audit_line_lost(&self) {
        self.audit_lines_lost.inc();
    }

    /// A write of the audit trail failed.
    pub fn audit_failure(&self) {
        self.audit_failures.inc();
    }

    /// A security event was pushed: `new`, `repeated`, `unavailable`, or what is wrong with it.
    pub fn security_event(&self, outcome: &'static str) {
        self.security_events.get_or_create(&Outcome { outcome }).inc();
    }

    /// Everything in the `OpenMetrics` text format, with `gauges` as they are now.
    pub fn render(&self, gauges: &Gauges) -> Result<String, fmt::Error> {
        for &(state, count) in &gauges.agents {
            self.agents.get_or_create(&State { state }).set(count);
        }
        for &(state, count) in &gauges.integrations {
            self.integrations.get_or_create(&State { state }).set(count);
        }
        let dropped = gauges.log_lines_dropped;
        self.log_lines_dropped.inner().store(dropped, Ordering::Relaxed);
        self.ready.set(gauges.ready);
        self.agents_short_of_token.set(gauges.agents_short_of_token);
        self.renewals_waiting.set(gauges.renewals_waiting);
        self.delivery_problems.set(gauges.delivery_problems);
        for &(listener, end) in &gauges.certificate_ends {
            self.certificate_end
                .get_or_create(&Listener { listener })
                .set(end);
        }
        self.clock_skew.set(gauges.clock_skew);
        self.next_renewal.set(gauges.next_renewal);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_what_was_counted() {
        let metrics = Metrics::default();
        metrics.renewal("ok");
        metrics.provider_request("refresh", Duration::from_millis(30));
        let gauges = Gauges {
            agents: vec![("active", 2)],
            clock_skew: -3,
            certificate_ends: vec![("remote", 1_800_000_000)],
            ..Gauges::default()
        };
        let text = metrics.render(&gauges).unwrap();
        for line in [
            "token_broker_renewals_total{outcome=\"ok\"} 1",
            "token_broker_agents{state=\"active\"} 2",
            "token_broker_clock_skew_seconds -3",
            "token_broker_certificate_end_timestamp_seconds{listener=\"remote\"} 1800000000",
            "token_broker_provider_request_duration_seconds_count{operation=\"refresh\"} 1",
            "token_broker_provider_request_duration_seconds_bucket{le=\"0.02\",operation=\"refresh\"} 0",
            "token_broker_provider_request_duration_seconds_bucket{le=\"0.04\",operation=\"refresh\"} 1",
            "token_broker_provider_request_duration_seconds_bucket{le=\"+Inf\",operation=\"refresh\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn what_was_counted_can_be_read() {
        let metrics = Metrics::default();
        assert_eq!(metrics.provider_times(), []);
        metrics.provider_request("assertion", Duration::from_millis(30));
        metrics.renewal("reconnect");
        let times = metrics.provider_times();
        assert_eq!((times.len(), times[0].0, times[0].1.count), (1, "assertion", 1));
        let outcomes = metrics.renewal_outcomes();
        assert_eq!(
            outcomes,
            [
                ("ok", 0),
                ("retry", 0),
                ("reconnect", 1),
                ("operator", 0),
                ("permission", 0)
            ]
        );
    }
}
