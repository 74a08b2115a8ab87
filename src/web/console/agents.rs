//! The agents: what each declared, what it has, and what it lacks.

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use http::StatusCode;

use super::{
    asked::{Asked, Named, Sent},
    labels::{self, Moment, Mood, Offer, moment},
    layout::{Layout, Tab},
    notice::Notice,
    refusal::Refusal,
    site::{Site, owner_of},
};
use crate::{
    broker::{AgentSnapshot, AgentState, AgentView, CapabilityState, CapabilityStatus},
    session::{Admission, INVITATION_LIFE, Sessions, Viewer},
    telemetry::audit::Actor,
    text::sentence::{capitalized, sentence},
    web::answer::{Answer, html},
};

/// Agents on one page at most.
const MOST: usize = 100;

#[derive(Template)]
#[template(path = "web/console/agents.html")]
struct AgentsPage<'a> {
    layout: Layout<'a>,
    owner: Option<String>,
    rows: Vec<Row>,
    /// The name to go on after, where there are more.
    next: Option<String>,
}

struct Row {
    name: String,
    owner: String,
    mood: Mood,
    state: String,
    message: String,
    help: Option<String>,
    /// What it lacks.
    lacks: Vec<String>,
}

#[derive(Template)]
#[template(path = "web/console/agent.html")]
struct AgentPage<'a> {
    layout: Layout<'a>,
    name: String,
    owner: String,
    mood: Mood,
    state: String,
    message: String,
    help: Option<String>,
    /// What each of its accounts is called, and its address.
    accounts: Vec<(String, String)>,
    requirements: Vec<Need>,
    /// The owner can put it right by a consent.
    owner_can_act: bool,
    reconnect: bool,
    expires: Option<Moment>,
    renewal: Option<Moment>,
    last_used: Option<Moment>,
    problem: String,
}

/// One thing that the agent declared.
struct Need {
    offer: Offer,
    description: String,
    optional: bool,
    mood: Mood,
    state: String,
}

#[derive(Template)]
#[template(path = "web/console/invited.html")]
struct InvitedPage<'a> {
    layout: Layout<'a>,
    agent: String,
    owner: String,
    url: String,
    until: Moment,
}

/// What there is to say besides the state. What an agent lacks stands in its list, in words that people use.
fn message(snapshot: &AgentSnapshot) -> String {
    match snapshot.state {
        AgentState::NotConnected | AgentState::PermissionMissing => String::new(),
        _ => snapshot.message.clone(),
    }
}

impl Row {
    fn new(site: &Site, view: &AgentView) -> Self {
        let snapshot = &view.snapshot;
        let (mood, state) = labels::state(snapshot.state, snapshot.provider_name());
        let lacking = snapshot.capabilities.iter().filter(|status| !status.granted);
        Self {
            name: snapshot.manifest.agent.to_string(),
            owner: snapshot.manifest.owner.to_string(),
            mood,
            state,
            message: message(snapshot),
            help: site.paths.explanation(snapshot.state),
            lacks: lacking
                .map(|status| Offer::of(&site.broker, &status.key).title)
                .collect(),
        }
    }
}

/// Shows the agents.
pub(super) struct Agents {
    pub(super) site: Site,
    pub(super) sessions: Arc<Sessions>,
}

impl Agents {
    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/agents", get(list))
            .route("/agents/{name}", get(show))
            .route("/agents/{name}/invite", post(invite_owner))
            .with_state(Arc::new(self))
    }

    fn page<'a>(&'a self, asked: &'a Asked, view: &AgentView) -> AgentPage<'a> {
        let broker = &self.site.broker;
        let snapshot = &view.snapshot;
        let manifest = &snapshot.manifest;
        let (mood, state) = labels::state(snapshot.state, snapshot.provider_name());
        let needs = snapshot.capabilities.iter().zip(&manifest.integrations);
        let awaited = snapshot.awaited.first();
        let consent_helps = snapshot
            .capabilities
            .iter()
            .any(|status| !status.granted && broker.is_consented(broker.catalog().provider_of(&status.key)));
        let now = broker.moment();
        let accounts = snapshot.credentials.iter().filter_map(|view| {
            let address = view.account.as_deref()?;
            Some((capitalized(&view.profile.account), address.to_owned()))
        });
        AgentPage {
            layout: self
                .site
                .layout(Some(&asked.session), Tab::Agents, manifest.agent.as_str()),
            name: manifest.agent.to_string(),
            owner: manifest.owner.to_string(),
            mood,
            state,
            message: message(snapshot),
            help: self.site.paths.explanation(snapshot.state),
            accounts: accounts.collect(),
            requirements: needs
                .map(|(status, requirement)| self.need(status, &requirement.description))
                .collect(),
            owner_can_act: awaited.is_some() || consent_helps,
            reconnect: awaited.is_some_and(|consent| consent.again),
            expires: snapshot.first_end(now.uptime).map(|end| moment(now.wall_at(end))),
            renewal: view.next_renewal.map(moment),
            last_used: view.last_used.map(moment),
            problem: view.delivery_problem.clone().unwrap_or_default(),
        }
    }

    fn need(&self, status: &CapabilityStatus, description: &str) -> Need {
        let (mood, state) = match (status.state(), &status.satisfied_by) {
            (CapabilityState::Satisfied, Some(wider)) => (Mood::Good, format!("allowed, as part of {wider}")),
            (CapabilityState::Granted | CapabilityState::Satisfied, _) => (Mood::Good, "allowed".to_owned()),
            (CapabilityState::Declined, _) => (Mood::Waiting, "not ticked when it was asked for".to_owned()),
            (CapabilityState::Missing, _) => (Mood::Waiting, "not allowed yet".to_owned()),
        };
        Need {
            offer: Offer::of(&self.site.broker, &status.key),
            description: description.to_owned(),
            optional: status.optional,
            mood,
            state,
        }
    }
}

/// The list.
async fn list(State(pages): State<Arc<Agents>>, asked: Asked) -> Result<Answer, Refusal> {
    let site = &pages.site;
    let owner = owner_of(&asked.session, asked.query.get("owner"))?;
    let after = asked.query.get("after");
    let views = site.broker.agent_list.agents(owner.as_ref());
    let later = |view: &&AgentView| view.snapshot.manifest.agent.as_str() > after;
    let mut rest = views.iter().filter(later);
    let rows: Vec<Row> = rest
        .by_ref()
        .take(MOST)
        .map(|view| Row::new(site, view))
        .collect();
    let next = rest.next().and(rows.last()).map(|row| row.name.clone());
    let page = AgentsPage {
        layout: site.layout(Some(&asked.session), Tab::Agents, "Agents"),
        owner: owner.map(|owner| owner.to_string()),
        rows,
        next,
    };
    Ok(html(StatusCode::OK, page.render()))
}

/// One of them.
async fn show(State(pages): State<Arc<Agents>>, Named(name): Named, asked: Asked) -> Result<Answer, Refusal> {
    let view = pages.site.agent(&asked.session, &name)?;
    Ok(html(StatusCode::OK, pages.page(&asked, &view).render()))
}

/// A link for an agent's owner, which the operator hands on.
async fn invite_owner(
    State(pages): State<Arc<Agents>>,
    Named(name): Named,
    Sent { session, .. }: Sent,
) -> Result<Answer, Refusal> {
    if session.admission.viewer != Viewer::Operator {
        return Err(Refusal::NotFound);
    }
    let view = pages.site.agent(&session, &name)?;
    let manifest = &view.snapshot.manifest;
    let admission = Admission {
        viewer: Viewer::Owner(manifest.owner.clone()),
        actor: Actor::Person(manifest.owner.to_string()),
        return_url: None,
    };
    let (journal, actor) = (&pages.site.broker.journal, session.admission.actor.clone());
    let first_page = format!("agents/{name}");
    let invitation = journal.invite(&pages.sessions, actor, admission, INVITATION_LIFE, &first_page);
    let invitation = invitation
        .map_err(|error| Notice::new("No link can be made now").says(sentence(&error.to_string())))?;
    let page = InvitedPage {
        layout: pages
            .site
            .layout(Some(&session), Tab::Agents, &format!("Ask {}", manifest.owner)),
        agent: name,
        owner: manifest.owner.to_string(),
        url: invitation.url,
        until: moment(invitation.expires_at),
    };
    Ok(html(StatusCode::OK, page.render()))
}
