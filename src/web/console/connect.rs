//! Choosing what an account shall allow, and going to Google with it.

use std::{collections::BTreeSet, sync::Arc};

use askama::Template;
use axum::{Router, extract::State, routing::get};
use http::StatusCode;

use super::{
    asked::{Asked, Sent},
    form::Fields,
    labels::{Group, Offer, grouped},
    layout::{Layout, Tab},
    notice::Notice,
    refusal::Refusal,
    site::{Site, owner_of},
};
use crate::{
    broker::{AccountView, AgentState, AgentView, CapabilityState, ConnectTarget, names::going_by},
    id::{CapabilityKey, OwnerId, ProviderId},
    provider::Profile,
    session::Session,
    store::Health,
    text::sentence::sentence,
    web::answer::{Answer, html},
};

#[derive(Template)]
#[template(path = "web/console/connect.html")]
struct ConnectPage<'a> {
    layout: Layout<'a>,
    owner: String,
    /// The account that gets more permissions, or is connected again.
    account: Option<String>,
    integration: String,
    /// Another account, where the owner has one already.
    another: bool,
    reconnect: bool,
    /// The agent that asks.
    agent: Option<String>,
    granted: Vec<Offer>,
    groups: Vec<Group<Choice>>,
    /// Google's classes are among what is shown.
    has_classes: bool,
    problem: String,
    provider: String,
    provider_name: String,
}

#[derive(Template)]
#[template(path = "web/console/leaving.html")]
struct LeavingPage<'a> {
    layout: Layout<'a>,
    url: &'a str,
    /// Agents that would not know any more which account to use.
    agents_in_doubt: Vec<String>,
    provider_name: &'a str,
}

/// What can be ticked.
struct Choice {
    offer: Offer,
    ticked: bool,
    /// The agents that want it, and what they say of it.
    wanted: Vec<Wish>,
}

struct Wish {
    agent: String,
    description: String,
    optional: bool,
}

/// Whom and what a consent is for.
struct Subject {
    owner: OwnerId,
    existing: Option<AccountView>,
    another: bool,
    agent: Option<AgentView>,
    /// Where the consent is given.
    provider: Arc<Profile>,
}

impl Subject {
    fn target(&self) -> ConnectTarget {
        let field = &self.provider.account_field;
        let address = self
            .agent
            .as_ref()
            .and_then(|view| view.snapshot.manifest.account_in(field));
        match (&self.existing, address) {
            (Some(view), _) => ConnectTarget::Integration(view.record.id.clone()),
            (None, Some(address)) => ConnectTarget::Address(self.owner.clone(), address.to_owned()),
            (None, None) if self.another => ConnectTarget::Another(self.owner.clone()),
            (None, None) => ConnectTarget::Owner(self.owner.clone()),
        }
    }

    /// The account works no more, or belongs to another OAuth client than the one that is configured: everything that it
    /// allowed is asked for again.
    fn reconnects(&self) -> bool {
        self.existing.as_ref().is_some_and(|view| {
            let state = view.state();
            view.record.health != Health::Active
                || matches!(state, AgentState::ReconnectRequired | AgentState::Misconfigured)
        })
    }
}

/// Connects accounts, and asks for more permissions.
pub(super) struct Connect {
    site: Site,
}

impl Connect {
    pub(super) fn new(site: Site) -> Self {
        Self { site }
    }

    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/connect", get(choose).post(begin))
            .with_state(Arc::new(self))
    }

    fn subject(&self, session: &Session, form: &Fields) -> Result<Subject, Refusal> {
        let agent = match form.get("agent") {
            "" => None,
            name => Some(self.site.agent(session, name)?),
        };
        let existing = match form.get("integration") {
            "" => None,
            id => Some(self.site.account(session, id)?),
        };
        let named = match (&agent, &existing) {
            (Some(view), _) => Some(view.snapshot.manifest.owner.clone()),
            (None, Some(view)) => Some(view.record.owner.clone()),
            (None, None) => owner_of(session, form.get("owner"))?,
        };
        let owner = named.ok_or_else(|| {
            Notice::new("Whose account is it?")
                .says("Name the owner first: choose one on the page of the integrations.")
                .leads_to("integrations", "Back to the integrations")
        })?;
        if existing.as_ref().is_some_and(|view| {
            view.record.owner != owner || !self.site.broker.is_consented(&view.record.provider)
        }) {
            return Err(Refusal::NotFound);
        }
        let another = form.get("account") == "new";
        let provider = self.provider(form, existing.as_ref(), agent.as_ref())?;
        let existing = existing.or_else(|| {
            self.account_of(&owner, &provider, agent.as_ref())
                .filter(|_| !another)
        });
        Ok(Subject {
            owner,
            existing,
            another,
            agent,
            provider,
        })
    }

    /// Where the consent is given: where the account is, or as the form says, or where the agent needs its owner.
    fn provider(
        &self,
        form: &Fields,
        existing: Option<&AccountView>,
        agent: Option<&AgentView>,
    ) -> Result<Arc<Profile>, Refusal> {
        let broker = &self.site.broker;
        let named = form.get("provider");
        let provider = match existing {
            Some(view) => broker.providers().get(&view.record.provider),
            None if !named.is_empty() => broker.providers().named(named),
            None => agent
                .and_then(|agent| self.needed_by(agent))
                .map_or(Some(broker.providers().first()), |id| broker.providers().get(id)),
        };
        let provider = provider.filter(|provider| provider.consent().is_some());
        provider
            .map(|provider| provider.profile.clone())
            .ok_or(Refusal::NotFound)
    }

    /// The provider at which this agent needs its owner: where it cannot work otherwise, else where it lacks something,
    /// else where it has an account.
    fn needed_by<'a>(&'a self, agent: &'a AgentView) -> Option<&'a ProviderId> {
        let broker = &self.site.broker;
        let snapshot = &agent.snapshot;
        let consented = |lacks: bool| {
            let mut of_interest = snapshot
                .capabilities
                .iter()
                .filter(|status| !lacks || !status.granted);
            of_interest.find_map(|status| {
                let provider = broker.catalog().provider_of(&status.key);
                broker.is_consented(provider).then_some(provider)
            })
        };
        let awaited = snapshot.awaited.first().map(|consent| &consent.profile.id);
        awaited.or_else(|| consented(true)).or_else(|| consented(false))
    }

    /// The account that an agent uses, or the only one that its owner has at this provider.
    fn account_of(
        &self,
        owner: &OwnerId,
        provider: &Profile,
        agent: Option<&AgentView>,
    ) -> Option<AccountView> {
        let named = agent.and_then(|view| view.snapshot.manifest.account_in(&provider.account_field));
        let address = named.map(str::to_owned);
        let views = self.site.broker.accounts.accounts(Some(owner)).into_iter();
        let people = views.filter(|view| view.record.provider == provider.id);
        let mut views = match address {
            Some(address) => going_by(people, &address, |view| &view.record),
            None => people.collect(),
        };
        let only = views.pop()?;
        views.is_empty().then_some(only)
    }

    fn page<'a>(&'a self, session: &'a Session, subject: &Subject, problem: &str) -> ConnectPage<'a> {
        let granted: BTreeSet<&CapabilityKey> = subject
            .existing
            .iter()
            .flat_map(|view| &view.standings)
            .filter(|s| matches!(s.state, CapabilityState::Granted | CapabilityState::Satisfied))
            .map(|standing| &standing.key)
            .collect();
        let reconnect = subject.reconnects();
        let title = match (&subject.existing, reconnect) {
            (None, _) => &*format!("Connect {}", subject.provider.any_account),
            (Some(_), true) => "Connect the account again",
            (Some(_), false) => "Add permissions",
        };
        let offer = |key: &&CapabilityKey| Offer::of(&self.site.broker, key);
        let groups = self.groups(subject, &granted);
        let mut choices = groups.iter().flat_map(|group| &group.members);
        ConnectPage {
            layout: self.site.layout(Some(session), Tab::Integrations, title),
            owner: subject.owner.to_string(),
            account: subject.existing.as_ref().map(|view| view.record.account.clone()),
            integration: subject
                .existing
                .as_ref()
                .map(|view| view.record.id.to_string())
                .unwrap_or_default(),
            another: subject.another,
            reconnect,
            agent: subject
                .agent
                .as_ref()
                .map(|view| view.snapshot.manifest.agent.to_string()),
            granted: granted.iter().map(offer).collect(),
            has_classes: choices.any(|choice| choice.offer.class.is_some()),
            groups,
            problem: problem.to_owned(),
            provider: subject.provider.id.to_string(),
            provider_name: subject.provider.name.clone(),
        }
    }

    /// What can be asked for and was not granted yet, under its headings. What agents wait for is ticked; where one
    /// agent asks, what that one waits for.
    fn groups(&self, subject: &Subject, granted: &BTreeSet<&CapabilityKey>) -> Vec<Group<Choice>> {
        let agents = match &subject.agent {
            Some(_) => Vec::new(),
            None => self.site.broker.agent_list.agents(Some(&subject.owner)),
        };
        let existing = subject.existing.as_ref();
        let asking: Vec<&AgentView> = subject
            .agent
            .iter()
            .chain(&agents)
            .filter(|view| match view.snapshot.manifest.account_in(&subject.provider.account_field) {
                Some(_) => existing.is_some_and(|account| account.agents.contains(&view.snapshot.manifest.agent)),
                None => !subject.another,
            } || subject.agent.is_some())
            .collect();
        let open = self.site.broker.catalog().iter().filter(|capability| {
            capability.integration == subject.provider.id && !granted.contains(&capability.key)
        });
        grouped(open.map(|capability| {
            let wanted: Vec<Wish> = asking
                .iter()
                .filter_map(|view| wish(view, &capability.key))
                .collect();
            let choice = Choice {
                offer: Offer::new(capability),
                ticked: !wanted.is_empty(),
                wanted,
            };
            (capability.group.clone(), choice)
        }))
    }
}

/// The form.
async fn choose(State(pages): State<Arc<Connect>>, asked: Asked) -> Result<Answer, Refusal> {
    let subject = pages.subject(&asked.session, &asked.query)?;
    let page = pages.page(&asked.session, &subject, "");
    Ok(html(StatusCode::OK, page.render()))
}

/// Sends the browser to Google.
async fn begin(State(pages): State<Arc<Connect>>, Sent { session, form }: Sent) -> Result<Answer, Refusal> {
    let subject = pages.subject(&session, &form)?;
    let mut wanted: Vec<String> = form.all("capability").map(str::to_owned).collect();
    if wanted.is_empty()
        && subject.reconnects()
        && let Some(view) = &subject.existing
    {
        wanted = view.capabilities.iter().map(ToString::to_string).collect();
    }
    if wanted.is_empty() {
        let page = pages.page(&session, &subject, "Choose at least one permission.");
        return Ok(html(StatusCode::BAD_REQUEST, page.render()));
    }
    let connect = &pages.site.broker.connect;
    let begun = connect
        .begin_connect_in(session.id, &subject.target(), &wanted)
        .await;
    let begun = begun.map_err(|error| {
        Notice::new(format!("{} cannot be asked for this", subject.provider.name))
            .says(sentence(&error.to_string()))
            .leads_to("integrations", "Back to the integrations")
    })?;
    // Not a redirect: browsers hold those that follow a form to `form-action`, wherever Google leads on to.
    let page = LeavingPage {
        layout: pages.site.layout(
            Some(&session),
            Tab::Integrations,
            &format!("On to {}", subject.provider.name),
        ),
        url: begun.authorization_url.as_str(),
        agents_in_doubt: begun.agents_in_doubt.iter().map(ToString::to_string).collect(),
        provider_name: &subject.provider.name,
    };
    Ok(html(StatusCode::OK, page.render()))
}

fn wish(view: &AgentView, key: &CapabilityKey) -> Option<Wish> {
    let manifest = &view.snapshot.manifest;
    let requirement = manifest
        .integrations
        .iter()
        .find(|requirement| requirement.key == *key)?;
    Some(Wish {
        agent: manifest.agent.to_string(),
        description: requirement.description.clone(),
        optional: requirement.optional,
    })
}
