//! What happened: the audit trail as people read it, and the renewals of the last day as a picture.

use std::time::Duration;

use askama::Template;
use http::StatusCode;
use jiff::Timestamp;
use url::form_urlencoded::Serializer;

use super::{
    Answer, Asked, Console, Frame, Message, Refusal, Session, Tab,
    deed::Deed,
    form::Form,
    html,
    picture::Picture,
    sentence,
    words::{Group, grouped},
};
use crate::{
    broker::names::going_by,
    clock,
    id::{IntegrationId, OwnerId},
    session::Viewer,
    store::{StoreError, TrailFilter, TrailPlace},
    telemetry::audit::ChainReport,
};

/// Lines on one page.
const LINES: u32 = 50;
/// Names that a field suggests at most.
const MOST_SUGGESTED: usize = 100;
const HOUR: Duration = Duration::from_secs(3600);
/// Hours in the picture.
pub(super) const HOURS: u32 = 24;

#[derive(Template)]
#[template(path = "web/console/activity.html")]
struct ActivityPage<'a> {
    frame: Frame<'a>,
    owner: Option<String>,
    wanted: Wanted<'a>,
    choices: Choices,
    /// What is wrong with the filter.
    problem: String,
    deeds: Vec<Deed>,
    older: Option<String>,
    newer: Option<String>,
    cut_short: bool,
    /// The page shows the present, and follows it.
    live: bool,
    picture: Picture,
    verify: String,
    chain: Option<Chain>,
}

/// What the form says.
struct Wanted<'a> {
    agent: &'a str,
    address: &'a str,
    capability: &'a str,
}

impl Wanted<'_> {
    fn is_everything(&self) -> bool {
        self.agent.is_empty() && self.address.is_empty() && self.capability.is_empty()
    }
}

/// What the form offers.
struct Choices {
    agents: Vec<String>,
    addresses: Vec<String>,
    /// Key and title.
    capabilities: Vec<Group<(String, String)>>,
}

/// What a verification of the chain found, in words.
pub(super) struct Chain {
    pub(super) whole: bool,
    pub(super) words: String,
}

impl From<ChainReport> for Chain {
    fn from(report: ChainReport) -> Self {
        let lines = match report.lines {
            1 => "1 line".to_owned(),
            n => format!("{n} lines"),
        };
        match report.problem {
            None => Self {
                whole: true,
                words: format!("All {lines} follow from each other: nothing was changed or taken out."),
            },
            Some(problem) => Self {
                whole: false,
                words: format!("Somebody changed this record outside token-broker: {problem}."),
            },
        }
    }
}

impl Console {
    /// The page.
    pub(super) async fn activity(&self, asked: &Asked<'_>) -> Result<Answer, Refusal> {
        let owner = Self::owner_of(asked.session, asked.query.get("owner"))?;
        match self.activity_page(asked, owner).await {
            Ok(page) => Ok(html(StatusCode::OK, page.render())),
            Err(error) => Ok(self.unreadable(asked.session, &error)),
        }
    }

    async fn activity_page<'a>(
        &'a self,
        asked: &'a Asked<'_>,
        owner: Option<OwnerId>,
    ) -> Result<ActivityPage<'a>, StoreError> {
        let query = &asked.query;
        // What the viewer did a moment ago is there.
        self.broker.flush_audit().await;
        let place = place(query);
        let (page, problem) = match self.filter(query, owner.clone()) {
            Ok(filter) => {
                let page = self.broker.store().trail(filter, place, LINES).await?;
                (page, String::new())
            }
            Err(problem) => (crate::store::TrailPage::default(), problem),
        };
        let hours = self
            .broker
            .store()
            .renewals(owner.as_ref(), last_day(self.broker.now()), HOURS)
            .await?;
        let verifies = Self::verifies(asked);
        let chain = if verifies {
            Some(self.broker.store().verify_audit(None).await?.into())
        } else {
            None
        };
        let viewer = &asked.session.admission.viewer;
        let deed = |line| Deed::new(&self.broker, viewer, line);
        Ok(ActivityPage {
            frame: self.frame(Some(asked.session), Tab::Activity, "Activity"),
            wanted: Wanted {
                agent: query.get("agent"),
                address: query.get("address"),
                capability: query.get("capability"),
            },
            choices: self.choices(owner.as_ref()),
            owner: owner.map(|owner| owner.to_string()),
            problem,
            deeds: page.lines.iter().map(deed).collect(),
            older: page.older.map(|line| again(query, "before", &line.to_string())),
            newer: page.newer.map(|line| again(query, "after", &line.to_string())),
            cut_short: page.cut_short,
            live: place == TrailPlace::Newest && !verifies,
            picture: Picture::new(&hours),
            verify: again(query, "verify", "1"),
            chain,
        })
    }

    /// The filter that a query stands for, or what is wrong with it.
    fn filter(&self, query: &Form, owner: Option<OwnerId>) -> Result<TrailFilter, String> {
        let wrong = |error: &dyn std::fmt::Display| sentence(&error.to_string());
        let (agent, capability) = (query.get("agent"), query.get("capability"));
        let mut filter = TrailFilter {
            integrations: self.integrations_at(query.get("address"), owner.as_ref())?,
            owner,
            ..TrailFilter::default()
        };
        if !agent.is_empty() {
            filter.agent = Some(agent.parse().map_err(|error| wrong(&error))?);
        }
        if !capability.is_empty() {
            filter.capability = Some(capability.parse().map_err(|error| wrong(&error))?);
        }
        Ok(filter)
    }

    /// The accounts of this address, or the one of this id, which may be gone. Whose lines are shown is for the
    /// filter's owner to say.
    fn integrations_at(&self, address: &str, owner: Option<&OwnerId>) -> Result<Vec<IntegrationId>, String> {
        if address.is_empty() {
            return Ok(Vec::new());
        }
        if let Ok(id) = address.parse() {
            return Ok(vec![id]);
        }
        let accounts = self.broker.accounts.accounts(owner).into_iter();
        let found = going_by(accounts, address, |view| &view.record);
        let found: Vec<_> = found.into_iter().map(|view| view.record.id).collect();
        if found.is_empty() {
            return Err(format!("No account with the address {address} is connected."));
        }
        Ok(found)
    }

    fn choices(&self, owner: Option<&OwnerId>) -> Choices {
        let capabilities = grouped(self.broker.catalog().iter().map(|capability| {
            let member = (capability.key.to_string(), capability.title.clone());
            (capability.group.clone(), member)
        }));
        // Of everybody there are too many to choose from.
        let of_owner = owner.map(|owner| {
            let agents = self.broker.agent_list.agents(Some(owner)).into_iter();
            let accounts = self.broker.accounts.accounts(Some(owner)).into_iter();
            (
                agents
                    .take(MOST_SUGGESTED)
                    .map(|view| view.snapshot.manifest.agent.to_string())
                    .collect(),
                accounts
                    .take(MOST_SUGGESTED)
                    .map(|view| view.record.account)
                    .collect(),
            )
        });
        let (agents, addresses) = of_owner.unwrap_or_default();
        Choices {
            agents,
            addresses,
            capabilities,
        }
    }

    /// Whether the operator wants the chain verified now. It is read from end to end for that, so not everybody may
    /// ask for it.
    pub(super) fn verifies(asked: &Asked<'_>) -> bool {
        asked.session.admission.viewer == Viewer::Operator && asked.query.get("verify") == "1"
    }

    /// The record cannot be read.
    pub(super) fn unreadable(&self, session: &Session, error: &StoreError) -> Answer {
        self.unreadable.count(error);
        let message = Message::new("This cannot be shown now")
            .says("The record of what happened could not be read. Whoever runs this machine finds the reason in the log.");
        self.show_message(StatusCode::SERVICE_UNAVAILABLE, Some(session), message)
    }
}

fn place(query: &Form) -> TrailPlace {
    let number = |name| query.get(name).parse().ok();
    match (number("before"), number("after")) {
        (Some(line), _) => TrailPlace::Before(line),
        (None, Some(line)) => TrailPlace::After(line),
        (None, None) => TrailPlace::Newest,
    }
}

/// The same query with another place in the trail, or with a wish.
fn again(query: &Form, name: &str, value: &str) -> String {
    let mut fields = Serializer::new(String::new());
    for kept in ["owner", "agent", "address", "capability"] {
        let value = query.get(kept);
        if !value.is_empty() {
            fields.append_pair(kept, value);
        }
    }
    fields.append_pair(name, value).finish()
}

/// When the last [`HOURS`] whole hours begin, the present one included.
pub(super) fn last_day(now: Timestamp) -> Timestamp {
    let hour = i64::try_from(HOUR.as_secs()).unwrap_or(i64::MAX);
    let begun = now.as_second().rem_euclid(hour);
    let this_hour = Timestamp::from_second(now.as_second() - begun).unwrap_or(now);
    clock::before(this_hour, HOUR * (HOURS - 1))
}
