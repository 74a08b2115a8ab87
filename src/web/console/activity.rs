//! What happened: the audit trail as people read it, and the renewals of the last day as a chart.

use std::sync::Arc;

use askama::Template;
use axum::{Router, extract::State, routing::get};
use http::StatusCode;
use url::form_urlencoded::Serializer;

use super::{
    asked::Asked,
    audit_row::AuditRow,
    chart::Chart,
    form::Fields,
    labels::{Group, grouped},
    layout::{Layout, Tab},
    refusal::Refusal,
    site::{Site, owner_of},
    trail::{Chain, Trail, verifies},
};
use crate::{
    broker::names::going_by,
    id::{IntegrationId, OwnerId},
    store::{StoreError, TrailFilter, TrailPage, TrailPlace},
    text::sentence::sentence,
    web::answer::{Answer, html},
};

/// Lines on one page.
const LINES: u32 = 50;
/// Names that a field suggests at most.
const MOST_SUGGESTED: usize = 100;

#[derive(Template)]
#[template(path = "web/console/activity.html")]
struct ActivityPage<'a> {
    layout: Layout<'a>,
    owner: Option<String>,
    wanted: Wanted<'a>,
    choices: Choices,
    /// What is wrong with the filter.
    problem: String,
    rows: Vec<AuditRow>,
    older: Option<String>,
    newer: Option<String>,
    cut_short: bool,
    /// The page shows the present, and follows it.
    live: bool,
    chart: Chart,
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

/// Shows what happened.
pub(super) struct Activity {
    pub(super) site: Site,
    pub(super) trail: Trail,
}

impl Activity {
    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/activity", get(show))
            .with_state(Arc::new(self))
    }

    async fn page<'a>(
        &'a self,
        asked: &'a Asked,
        owner: Option<OwnerId>,
    ) -> Result<ActivityPage<'a>, StoreError> {
        let (broker, query) = (&self.site.broker, &asked.query);
        // What the viewer did a moment ago is there.
        broker.flush_audit().await;
        let place = place(query);
        let (page, problem) = match self.filter(query, owner.clone()) {
            Ok(filter) => (broker.store().trail(filter, place, LINES).await?, String::new()),
            Err(problem) => (TrailPage::default(), problem),
        };
        let chart = self.trail.day(owner.as_ref()).await?;
        let chain = self.trail.verified(asked).await?;
        let viewer = &asked.session.admission.viewer;
        let row = |line| AuditRow::new(broker, viewer, line);
        Ok(ActivityPage {
            layout: self.site.layout(Some(&asked.session), Tab::Activity, "Activity"),
            wanted: Wanted {
                agent: query.get("agent"),
                address: query.get("address"),
                capability: query.get("capability"),
            },
            choices: self.choices(owner.as_ref()),
            owner: owner.map(|owner| owner.to_string()),
            problem,
            rows: page.lines.iter().map(row).collect(),
            older: page.older.map(|line| again(query, "before", &line.to_string())),
            newer: page.newer.map(|line| again(query, "after", &line.to_string())),
            cut_short: page.cut_short,
            live: place == TrailPlace::Newest && !verifies(asked),
            chart,
            verify: again(query, "verify", "1"),
            chain,
        })
    }

    /// The filter that a query stands for, or what is wrong with it.
    fn filter(&self, query: &Fields, owner: Option<OwnerId>) -> Result<TrailFilter, String> {
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
        let accounts = self.site.broker.accounts.accounts(owner).into_iter();
        let found = going_by(accounts, address, |view| &view.record);
        let found: Vec<_> = found.into_iter().map(|view| view.record.id).collect();
        if found.is_empty() {
            return Err(format!("No account with the address {address} is connected."));
        }
        Ok(found)
    }

    fn choices(&self, owner: Option<&OwnerId>) -> Choices {
        let capabilities = grouped(self.site.broker.catalog().iter().map(|capability| {
            let member = (capability.key.to_string(), capability.title.clone());
            (capability.group.clone(), member)
        }));
        // Of everybody there are too many to choose from.
        let of_owner = owner.map(|owner| {
            let agents = self.site.broker.agent_list.agents(Some(owner)).into_iter();
            let accounts = self.site.broker.accounts.accounts(Some(owner)).into_iter();
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
}

/// The page.
async fn show(State(pages): State<Arc<Activity>>, asked: Asked) -> Result<Answer, Refusal> {
    let owner = owner_of(&asked.session, asked.query.get("owner"))?;
    let page = pages.page(&asked, owner).await;
    let page = page.map_err(|error| pages.trail.unreadable(&error))?;
    Ok(html(StatusCode::OK, page.render()))
}

fn place(query: &Fields) -> TrailPlace {
    let number = |name| query.get(name).parse().ok();
    match (number("before"), number("after")) {
        (Some(line), _) => TrailPlace::Before(line),
        (None, Some(line)) => TrailPlace::After(line),
        (None, None) => TrailPlace::Newest,
    }
}

/// The same query with another place in the trail, or with a wish.
fn again(query: &Fields, name: &str, value: &str) -> String {
    let mut fields = Serializer::new(String::new());
    for kept in ["owner", "agent", "address", "capability"] {
        let value = query.get(kept);
        if !value.is_empty() {
            fields.append_pair(kept, value);
        }
    }
    fields.append_pair(name, value).finish()
}
