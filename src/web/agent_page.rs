//! `/agents/<name>`: what an agent lacks and how its owner adds it.
//!
//! The page starts no consent by itself: whoever holds its address could otherwise bind an account of their
//! own to somebody else's agent.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State, rejection::PathRejection},
    routing::get,
};
use http::request::Parts;
use hyper::StatusCode;

use super::{
    answer::{Answer, redirect},
    auth::Auth,
    page::{Item, Page, Tone, no_such_page},
    paths::Paths,
};
use crate::{
    broker::{AgentSnapshot, AgentState, AgentView, Broker, CapabilityState, CapabilityStatus},
    help,
    provider::Origin,
};

/// Where the pages are.
const ROOT: &str = "/agents/";

/// True for the addresses of these pages.
pub(super) fn serves(path: &str) -> bool {
    path.starts_with(ROOT)
}

/// Shows an agent to whoever has its address.
pub(super) struct AgentPages {
    pub(super) broker: Arc<Broker>,
    pub(super) auth: Arc<Auth>,
    pub(super) paths: Arc<Paths>,
}

impl AgentPages {
    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/agents/{name}", get(show))
            .with_state(Arc::new(self))
    }

    /// An agent's page: in the console for who is signed in there and may see it.
    fn agent(&self, request: &Parts, name: &str) -> Option<Answer> {
        let agent = self.broker.agent_list.agent(&name.parse().ok()?)?;
        let session = self.auth.session(request);
        let owner = &agent.snapshot.manifest.owner;
        if session.is_some_and(|session| session.admission.viewer.may_see(owner)) {
            return Some(redirect(&self.paths.console(&format!("agents/{name}"))));
        }
        Some(page(&self.broker, &agent).answer(StatusCode::OK, self.paths.prefix()))
    }
}

async fn show(
    State(pages): State<Arc<AgentPages>>,
    name: Result<Path<String>, PathRejection>,
    request: Parts,
) -> Answer {
    let answer = name.ok().and_then(|Path(name)| pages.agent(&request, &name));
    answer.unwrap_or_else(|| no_such_page(pages.paths.prefix()))
}

/// The page of an agent.
fn page(broker: &Broker, agent: &AgentView) -> Page {
    let snapshot = &agent.snapshot;
    let name = &snapshot.manifest.agent;
    let page = match snapshot.state {
        AgentState::Active => Page::new(Tone::Good, format!("{name} has what it needs")),
        AgentState::ProviderUnavailable => Page::new(
            Tone::Calm,
            format!("{name} is waiting for {}", snapshot.provider_name()),
        ),
        // Where no person can act, it is a service account that is missing.
        _ if snapshot.action_url.is_none() => Page::new(Tone::Bad, format!("{name} needs the operator")),
        AgentState::Misconfigured => Page::new(Tone::Bad, format!("{name} needs the operator")),
        AgentState::NotConnected
        | AgentState::PermissionMissing
        | AgentState::ReconnectRequired
        | AgentState::Revoked => Page::new(Tone::Bad, format!("{name} needs {}", snapshot.manifest.owner)),
    };
    let page = if snapshot.message.is_empty() {
        page
    } else {
        page.says(snapshot.message.clone())
    };
    let page = page.says(format!(
        "The agent {name} works for {} and asks for:",
        snapshot.manifest.owner
    ));
    let page = page
        .lists(items(broker, snapshot))
        .explained_by(help::of_state(snapshot.state));
    with_command(page, broker, snapshot).goes_on(&format!("agents/{name}"), "Open it in the console")
}

fn items(broker: &Broker, snapshot: &AgentSnapshot) -> Vec<Item> {
    let described = snapshot.capabilities.iter().zip(&snapshot.manifest.integrations);
    described
        .map(|(status, requirement)| {
            let title = broker
                .catalog()
                .get(&status.key)
                .map_or_else(|| status.key.to_string(), |c| c.title.clone());
            let state = match (status.state(), &status.satisfied_by) {
                (_, Some(wider)) => format!("granted through {wider}"),
                (CapabilityState::Granted | CapabilityState::Satisfied, None) => "granted".to_owned(),
                (CapabilityState::Missing, None) => "not granted".to_owned(),
                (CapabilityState::Declined, None) => "declined: it was asked for and not given".to_owned(),
            };
            let without = if status.optional && !status.granted {
                "; the agent works without it"
            } else {
                ""
            };
            let why = if requirement.description.is_empty() {
                String::new()
            } else {
                format!("“{}” — ", requirement.description)
            };
            Item {
                title,
                note: format!("{why}{}: {state}{without}", status.key),
                done: status.granted,
            }
        })
        .collect()
}

fn with_command(page: Page, broker: &Broker, snapshot: &AgentSnapshot) -> Page {
    let manifest = &snapshot.manifest;
    let mut keyed = snapshot
        .credentials
        .iter()
        .filter_map(|view| match &view.profile.origin {
            Origin::Key { command, .. } if view.account.is_none() => Some(command),
            _ => None,
        });
    if snapshot.state == AgentState::NotConnected
        && snapshot.action_url.is_none()
        && let Some(command) = keyed.next()
    {
        return page.command(format!(
            "{command} --owner {} --key FILE",
            shell_word(manifest.owner.as_str())
        ));
    }
    let owner_must_act = matches!(
        snapshot.state,
        AgentState::NotConnected
            | AgentState::PermissionMissing
            | AgentState::ReconnectRequired
            | AgentState::Revoked
    );
    let reconnect = matches!(
        snapshot.state,
        AgentState::ReconnectRequired | AgentState::Revoked
    );
    let catalog = broker.catalog();
    let of_owner = |status: &&CapabilityStatus| broker.is_consented(catalog.provider_of(&status.key));
    let asked = snapshot
        .capabilities
        .iter()
        .filter(of_owner)
        .filter(|status| reconnect || !status.granted);
    // What one consent asks for is of one provider; the page names the next when this one is there.
    let first = asked
        .clone()
        .next()
        .map(|status| catalog.provider_of(&status.key));
    let wanted: Vec<String> = asked
        .filter(|status| Some(catalog.provider_of(&status.key)) == first)
        .map(|status| format!("--capability {}", status.key))
        .collect();
    if !owner_must_act || wanted.is_empty() || snapshot.action_url.is_none() {
        return page;
    }
    let profile = first.and_then(|provider| broker.providers().get(provider));
    let account = profile.and_then(|provider| manifest.account_in(&provider.profile.account_field));
    let account = account.map(|account| format!(" --account {}", shell_word(account)));
    page.command(format!(
        "token-broker connect --owner {}{} {}",
        shell_word(manifest.owner.as_str()),
        account.unwrap_or_default(),
        wanted.join(" ")
    ))
    .closes("The command prints a link for the owner. What was granted before is kept.")
}

/// A word that every POSIX shell takes literally.
fn shell_word(text: &str) -> String {
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'+' | b'@' | b'/' | b':');
    if text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_copied_whatever_the_names_hold() {
        assert_eq!(shell_word("alice@work.example"), "alice@work.example");
        assert_eq!(shell_word("o'brien@example.com"), r"'o'\''brien@example.com'");
        assert_eq!(shell_word("a;reboot@example.com"), "'a;reboot@example.com'");
    }
}
