//! For the operator: whether all is well, and what to look at where it is not.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{Router, extract::State, routing::get};
use http::StatusCode;
use jiff::Timestamp;

use super::{
    asked::Asked,
    chart::Chart,
    labels::{self, Moment, Mood, moment},
    layout::{Layout, Tab},
    refusal::Refusal,
    site::Site,
    trail::{Chain, Trail},
};
use crate::{
    broker::{AgentState, Broker},
    config::InForce,
    health::Readiness,
    session::Viewer,
    store::{DatabaseFacts, StoreError, TrailSize},
    telemetry::{Metrics, metrics::TimingSummary},
    text::{self, sentence::capitalized},
    web::answer::{Answer, html},
};

/// Entries of one list at most.
const MOST: usize = 50;

/// What the daemon says about itself.
pub struct HealthFacts {
    /// Its figures.
    pub metrics: Arc<Metrics>,
    /// What it cannot do.
    pub readiness: Arc<Readiness>,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// What the configuration was warned about.
    pub warnings: Vec<String>,
    /// What the daemon was started with.
    pub in_force: Arc<InForce>,
}

#[derive(Template)]
#[template(path = "web/console/health.html")]
struct HealthPage<'a> {
    layout: Layout<'a>,
    concerns: Vec<Concern>,
    since: Moment,
    waiting: usize,
    next: Option<Moment>,
    chart: Chart,
    /// Who gives tokens, where a sentence begins and elsewhere.
    providers: (String, String),
    outcomes: Vec<(String, u64)>,
    times: Vec<AnswerTime>,
    agents: Vec<(Mood, String, usize)>,
    accounts: Vec<(Mood, String, usize)>,
    skew: String,
    database: DatabaseFacts,
    size: String,
    trail_size: String,
    chain: Option<Chain>,
}

/// Something that somebody has to look at.
struct Concern {
    title: String,
    /// What is wrong, one sentence each.
    sentences: Vec<String>,
    /// How many more there are.
    more: usize,
}

/// How long Google took for one kind of request.
struct AnswerTime {
    operation: &'static str,
    count: u64,
    mean: String,
    half: String,
    most: String,
}

impl AnswerTime {
    fn new((operation, summary): (&'static str, TimingSummary)) -> Self {
        let within = |bound: Option<Duration>| {
            bound.map_or_else(
                || "more than 40 s".to_owned(),
                |bound| format!("≤ {}", short(bound)),
            )
        };
        Self {
            operation: match operation {
                "refresh" => "Renewal for a person’s account",
                "assertion" => "Renewal for a service account",
                other => other,
            },
            count: summary.count,
            mean: short(summary.mean),
            half: within(summary.half),
            most: within(summary.most),
        }
    }
}

/// Shows how the daemon is.
pub(super) struct Health {
    pub(super) site: Site,
    pub(super) trail: Trail,
    pub(super) facts: HealthFacts,
}

impl Health {
    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/health", get(show))
            .with_state(Arc::new(self))
    }

    async fn page<'a>(&'a self, asked: &'a Asked) -> Result<HealthPage<'a>, StoreError> {
        let (broker, store) = (&self.site.broker, self.site.broker.store());
        let chart = self.trail.day(None).await?;
        let chain = self.trail.verified(asked).await?;
        let database = store.facts().await?;
        let changes = self.facts.in_force.look_for_changes().await;
        let metrics = &self.facts.metrics;
        let outcomes = metrics.renewal_outcomes().into_iter();
        let times = metrics.provider_times().into_iter();
        let provider = broker.providers().common_name();
        let in_words = |(state, count)| {
            let (mood, words) = labels::state(state, provider);
            (mood, words, count)
        };
        Ok(HealthPage {
            layout: self.site.layout(Some(&asked.session), Tab::Health, "Health"),
            concerns: self.concerns(chain.as_ref(), changes),
            providers: (capitalized(provider), provider.to_owned()),
            since: moment(self.facts.started_at),
            waiting: broker.renewals_waiting(),
            next: broker
                .next_renewal()
                .map(|at| moment(broker.moment().wall_at(at))),
            chart,
            outcomes: outcomes
                .map(|(kind, count)| (outcome(kind, provider), count))
                .collect(),
            times: times.map(AnswerTime::new).collect(),
            agents: counted(broker.agent_list.agents_by_state())
                .map(in_words)
                .collect(),
            accounts: counted(self.accounts_by_state()).map(in_words).collect(),
            skew: skew(broker.clock_skew().as_secs(), provider),
            size: text::size(database.bytes),
            trail_size: trail_size(store.trail_size().await?),
            database,
            chain,
        })
    }

    fn accounts_by_state(&self) -> Vec<(AgentState, usize)> {
        let states = self.site.broker.accounts.account_states();
        let count = |state| states.iter().filter(|found| **found == state).count();
        AgentState::ALL
            .into_iter()
            .map(|state| (state, count(state)))
            .collect()
    }

    /// What somebody has to look at; empty when all is well.
    fn concerns(&self, chain: Option<&Chain>, changes: Vec<String>) -> Vec<Concern> {
        let broker = &self.site.broker;
        let changed = chain.filter(|chain| !chain.whole);
        let provider = broker.providers().common_name();
        let untold = format!(
            "{} was not told yet of what was disconnected",
            capitalized(provider)
        );
        let unmet = self.facts.readiness.unmet();
        let wrong_clock = match broker.clock_skew().as_secs() {
            0 => None,
            seconds => Some(format!("{} Set it by NTP.", skew(seconds, provider))),
        };
        [
            (
                "This daemon is not ready",
                unmet.into_iter().map(|unmet| unmet.sentence).collect(),
            ),
            (
                "The record of what happened was changed",
                changed.map(|chain| chain.words.clone()).into_iter().collect(),
            ),
            ("Agents that need the operator", stuck(broker)),
            ("Agents whose files cannot be written", undelivered(broker)),
            (
                "Manifests that are not followed",
                broker.agents.manifest_problems(),
            ),
            ("Records that are not used", broker.unusable.unusable_records()),
            ("The clock is wrong", wrong_clock.into_iter().collect()),
            (untold.as_str(), revocations(broker)),
            ("The configuration on disk is not in force", changes),
            ("Warnings about the configuration", self.facts.warnings.clone()),
        ]
        .into_iter()
        .filter_map(|(title, sentences)| Concern::new(title.to_owned(), sentences))
        .collect()
    }
}

/// The page, which is the operator's alone.
async fn show(State(pages): State<Arc<Health>>, asked: Asked) -> Result<Answer, Refusal> {
    if asked.session.admission.viewer != Viewer::Operator {
        return Err(Refusal::NotFound);
    }
    let page = pages.page(&asked).await;
    let page = page.map_err(|error| pages.trail.unreadable(&error))?;
    Ok(html(StatusCode::OK, page.render()))
}

/// Agents that nobody but the operator can help.
fn stuck(broker: &Broker) -> Vec<String> {
    let handles = broker.agent_list.handles();
    let stuck = handles.iter().filter_map(|handle| {
        let snapshot = handle.snapshot();
        (snapshot.state == AgentState::Misconfigured)
            .then(|| format!("{}: {}", handle.name(), snapshot.message))
    });
    stuck.collect()
}

/// Agents whose files are not as they should be.
fn undelivered(broker: &Broker) -> Vec<String> {
    let handles = broker.agent_list.handles();
    let problems = handles.iter().filter_map(|handle| {
        let problem = handle.delivery_problem()?;
        Some(format!("{}: {problem}", handle.name()))
    });
    problems.collect()
}

/// What Google was not told of yet.
fn revocations(broker: &Broker) -> Vec<String> {
    let pending = broker.revocations.pending_revocations();
    let sentences = pending.iter().map(|pending| {
        let record = &pending.record;
        let tried = moment(broker.moment().wall_at(pending.retry_at)).words;
        let why = match pending.message().as_str() {
            "" => String::new(),
            message => format!(": {message}"),
        };
        format!(
            "{} of {}{why}. It is tried again on {tried}.",
            record.account, record.owner
        )
    });
    sentences.collect()
}

impl Concern {
    fn new(title: String, mut sentences: Vec<String>) -> Option<Self> {
        let more = sentences.len().saturating_sub(MOST);
        sentences.truncate(MOST);
        (!sentences.is_empty()).then_some(Self {
            title,
            sentences,
            more,
        })
    }
}

/// The states that there are any of.
fn counted(states: Vec<(AgentState, usize)>) -> impl Iterator<Item = (AgentState, usize)> {
    states.into_iter().filter(|(_, count)| *count > 0)
}

/// How renewals ended, in words: by who can put it right.
fn outcome(kind: &str, provider: &str) -> String {
    let words = match kind {
        "ok" => "Renewed",
        "retry" => {
            return format!(
                "{} did not answer as it should: tried again",
                capitalized(provider)
            );
        }
        "reconnect" => "The owner has to connect again",
        "operator" => "The operator has to act",
        "permission" => "A permission is missing",
        other => other,
    };
    words.to_owned()
}

fn skew(seconds: i64, provider: &str) -> String {
    match seconds {
        0 => format!("It agrees with {provider}’s."),
        1.. => format!("It is {seconds} s behind {provider}’s."),
        _ => format!("It is {} s ahead of {provider}’s.", seconds.unsigned_abs()),
    }
}

/// What the record takes, and may take.
fn trail_size(size: TrailSize) -> String {
    let bytes = text::size(size.bytes);
    match size.limit {
        Some(limit) => format!("{bytes} of {} at most", text::size(limit.bytes)),
        None => bytes,
    }
}

/// A short time, to two digits or so.
fn short(time: Duration) -> String {
    let millis = time.as_millis();
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..10_000 => format!("{:.1} s", time.as_secs_f64()),
        _ => format!("{:.0} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(short(Duration::from_micros(78_500)), "78 ms");
        assert_eq!(short(Duration::from_millis(1280)), "1.3 s");
        assert_eq!(short(Duration::from_millis(20_480)), "20 s");
        assert_eq!(skew(-7, "Google"), "It is 7 s ahead of Google’s.");
    }
}
