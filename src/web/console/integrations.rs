//! The accounts: what is connected, what it may do, and what wants doing.

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
    site::{Site, asker, owner_of},
};
use crate::{
    broker::{
        AccountRef, AccountView, AgentState, CapabilityStanding, CapabilityState, GrantBinding,
        PendingRevocation,
    },
    id::OwnerId,
    store::Health,
    text::sentence::{capitalized, sentence},
    web::answer::{Answer, html, redirect},
};

/// Accounts on one page at most; the operator names an owner to see the others.
const MOST: usize = 100;

#[derive(Template)]
#[template(path = "web/console/integrations.html")]
struct IntegrationsPage<'a> {
    layout: Layout<'a>,
    owner: Option<String>,
    cards: Vec<Card>,
    /// Accounts beyond those that are shown.
    more: usize,
    /// Agents that wait for a first account.
    waiting: Vec<String>,
    pending: Vec<Pending>,
    ways: Vec<Way>,
}

/// A provider that accounts can be connected at.
struct Way {
    id: String,
    /// One of its accounts that is not known yet: `a Google account`.
    any: String,
    account: String,
}

/// One account.
struct Card {
    id: String,
    owner: String,
    address: String,
    /// The addresses that it had before, and the agents whose manifests name it by one.
    former: Vec<String>,
    by_former: Vec<String>,
    acts_for: Option<String>,
    /// What kind of account it is, as a heading.
    kind: String,
    is_service_account: bool,
    /// Whether its grant is bound to a key, where there is something to say of it.
    binding: &'static str,
    mood: Mood,
    state: String,
    message: String,
    /// The page that explains the state.
    help: Option<String>,
    needs_reconnect: bool,
    /// It ends by itself, soon.
    ends_soon: bool,
    /// When its grant ends by itself.
    ends: Option<Moment>,
    since: Moment,
    allowed: Vec<Line>,
    missing: Vec<Line>,
    agents: Vec<String>,
}

/// One capability of an account.
struct Line {
    offer: Offer,
    note: String,
}

/// An account that Google was not told of yet.
struct Pending {
    address: String,
    message: String,
    /// Where it is to be revoked, as a sentence begins.
    at: String,
}

/// What kind of account it is, as a heading.
fn kind(site: &Site, view: &AccountView) -> String {
    let provider = site.broker.providers().get(&view.record.provider);
    match provider.map(|provider| &provider.profile) {
        Some(profile) if view.keyed => format!("{} Service Account", profile.name),
        Some(profile) => format!("{} Account", profile.name),
        None => view.record.provider.to_string(),
    }
}

/// The providers that accounts can be connected at, the first in front.
fn ways(site: &Site) -> Vec<Way> {
    let consented = site
        .broker
        .providers()
        .iter()
        .filter(|provider| provider.consent().is_some());
    consented
        .map(|provider| Way {
            id: provider.id().to_string(),
            any: provider.profile.any_account.clone(),
            account: provider.profile.account.clone(),
        })
        .collect()
}

impl Card {
    fn new(site: &Site, view: &AccountView) -> Self {
        let record = &view.record;
        let is_service_account = view.keyed;
        let at = site.broker.providers().name_of(&record.provider);
        let (mood, state) = labels::state(view.state(), &at);
        let line = |standing: &CapabilityStanding| Line {
            offer: Offer::of(&site.broker, &standing.key),
            note: note(standing, &at),
        };
        let stand = |wanted: [CapabilityState; 2]| {
            let standings = view.standings.iter();
            standings.filter(move |standing| wanted.contains(&standing.state))
        };
        let allowed = stand([CapabilityState::Granted, CapabilityState::Satisfied]);
        let missing = stand([CapabilityState::Missing, CapabilityState::Declined]);
        Self {
            id: record.id.to_string(),
            owner: record.owner.to_string(),
            address: record.account.clone(),
            former: record.former.to_vec(),
            by_former: view.agents_by_former.iter().map(ToString::to_string).collect(),
            acts_for: Some(record.subject.clone())
                .filter(|subject| is_service_account && *subject != record.account),
            kind: kind(site, view),
            is_service_account,
            binding: bound(view.binding),
            mood,
            state,
            message: view.message().to_owned(),
            help: site.paths.explanation(view.state()),
            needs_reconnect: !is_service_account
                && (record.health != Health::Active
                    || matches!(view.state(), AgentState::ReconnectRequired | AgentState::Revoked)),
            ends_soon: view.ends_soon,
            ends: record.grant_expires_at.map(moment),
            since: moment(record.connected_at),
            allowed: allowed.map(line).collect(),
            missing: missing.map(line).collect(),
            agents: view.agents.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What there is to say of how a grant is bound.
fn bound(binding: Option<GrantBinding>) -> &'static str {
    match binding {
        Some(GrantBinding::Bound) => {
            "What you allowed is bound to a key of this program (DPoP): nobody can use it without."
        }
        Some(GrantBinding::Unbound { would_bind: true }) => {
            "What you allowed is not bound to a key (DPoP). Connect the account again to bind it."
        }
        Some(GrantBinding::Unbound { would_bind: false }) | None => "",
    }
}

fn note(standing: &CapabilityStanding, provider: &str) -> String {
    let agents = |verb: &str| match standing.agents.as_slice() {
        [] => String::new(),
        [one] => format!("{one} {verb}s for it"),
        several => {
            let names: Vec<&str> = several.iter().map(crate::id::AgentName::as_str).collect();
            format!("{} {verb} for it", names.join(", "))
        }
    };
    if !standing.lacking.is_empty() {
        let names: Vec<&str> = standing
            .lacking
            .iter()
            .map(crate::id::AgentName::as_str)
            .collect();
        return format!(
            "allowed, but {provider} gave {} a token without it",
            names.join(", ")
        );
    }
    match (standing.state, &standing.satisfied_by) {
        (CapabilityState::Satisfied, Some(wider)) => format!("part of {wider}"),
        (CapabilityState::Declined, _) => {
            let waiting = agents("wait");
            let comma = if waiting.is_empty() { "" } else { "; " };
            format!("you did not tick it when you were asked{comma}{waiting}")
        }
        (CapabilityState::Missing, _) => agents("wait"),
        _ => String::new(),
    }
}

/// Shows the accounts.
pub(super) struct Integrations {
    site: Site,
}

impl Integrations {
    pub(super) fn new(site: Site) -> Self {
        Self { site }
    }

    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/integrations", get(show))
            .route("/integrations/{id}/check", post(check))
            .with_state(Arc::new(self))
    }

    fn page<'a>(&'a self, asked: &'a Asked, owner: Option<OwnerId>) -> IntegrationsPage<'a> {
        let broker = &self.site.broker;
        let views = broker.accounts.accounts(owner.as_ref());
        let more = views.len().saturating_sub(MOST);
        let pending = |pending: &PendingRevocation| Pending {
            address: pending.record.account.clone(),
            at: broker.providers().name_of_binding(&pending.record.issuer_binding),
            message: pending.message(),
        };
        let pending = broker
            .revocations
            .pending_revocations()
            .iter()
            .filter(|revocation| {
                owner
                    .as_ref()
                    .is_none_or(|owner| revocation.record.owner == *owner)
            })
            .map(pending)
            .collect();
        let waiting = match &owner {
            Some(owner) => self.waiting_agents(owner),
            None => Vec::new(),
        };
        let layout = self
            .site
            .layout(Some(&asked.session), Tab::Integrations, "Integrations")
            .tells(self.news(asked, &views));
        IntegrationsPage {
            layout,
            owner: owner.map(|owner| owner.to_string()),
            cards: views
                .iter()
                .take(MOST)
                .map(|view| Card::new(&self.site, view))
                .collect(),
            more,
            waiting,
            ways: ways(&self.site),
            pending,
        }
    }

    /// Agents of an owner that have no account to work with.
    fn waiting_agents(&self, owner: &OwnerId) -> Vec<String> {
        let agents = self.site.broker.agent_list.agents(Some(owner));
        agents
            .iter()
            .filter(|view| view.snapshot.state == AgentState::NotConnected)
            .map(|view| view.snapshot.manifest.agent.to_string())
            .collect()
    }

    /// What was done before the browser came here, by its code in the address.
    fn news(&self, asked: &Asked, views: &[AccountView]) -> (Mood, String) {
        let account = asked.query.get("account");
        let view = views.iter().find(|view| view.record.id.as_str() == account);
        let providers = self.site.broker.providers();
        let at = |view: &AccountView| providers.name_of(&view.record.provider);
        match (asked.query.get("done"), view) {
            ("connected", Some(view)) => self.connected_news(view),
            ("checked", Some(view)) => match view.state() {
                AgentState::Active => (
                    Mood::Good,
                    format!("{} says that {} still works.", at(view), view.record.account),
                ),
                // The card says the rest.
                state => {
                    let (mood, words) = labels::state(state, &at(view));
                    (
                        mood,
                        format!("{}: {}.", view.record.account, words.to_lowercase()),
                    )
                }
            },
            ("key", Some(view)) => (
                Mood::Good,
                format!("{} is ready. Share files with this address.", view.record.account),
            ),
            ("disconnected", None) => (
                Mood::Good,
                "Disconnected. No agent has access any more.".to_owned(),
            ),
            ("problem", None) => (
                Mood::Waiting,
                format!(
                    "Disconnected here, and no agent has access any more. {} could not be told yet; that is tried again.",
                    capitalized(providers.common_name())
                ),
            ),
            _ => (Mood::Good, String::new()),
        }
    }

    fn connected_news(&self, view: &AccountView) -> (Mood, String) {
        let address = &view.record.account;
        let declined = view
            .standings
            .iter()
            .filter(|s| s.state == CapabilityState::Declined);
        let declined: Vec<_> = declined
            .map(|standing| Offer::of(&self.site.broker, &standing.key).title)
            .collect();
        if declined.is_empty() {
            return (Mood::Good, format!("{address} is connected."));
        }
        let declined = declined.join(", ");
        let at = self.site.broker.providers().name_of(&view.record.provider);
        (
            Mood::Waiting,
            format!("{address} is connected. Not ticked at {at}, and so not allowed: {declined}."),
        )
    }
}

/// The page.
async fn show(State(pages): State<Arc<Integrations>>, asked: Asked) -> Result<Answer, Refusal> {
    let owner = owner_of(&asked.session, asked.query.get("owner"))?;
    let page = pages.page(&asked, owner);
    Ok(html(StatusCode::OK, page.render()))
}

/// Asks the provider now whether an account still works.
async fn check(
    State(pages): State<Arc<Integrations>>,
    Named(id): Named,
    Sent { session, .. }: Sent,
) -> Result<Answer, Refusal> {
    let view = pages.site.account(&session, &id)?;
    let account = AccountRef::Id(view.record.id.clone());
    let checks = &pages.site.broker.account_checks;
    let checked = checks.check_account_for(&account, asker(&session)).await;
    checked.map_err(|error| Notice::new("That could not be checked").says(sentence(&error.to_string())))?;
    let page = format!("integrations?done=checked&account={}", view.record.id);
    Ok(redirect(&pages.site.paths.console(&page)))
}
