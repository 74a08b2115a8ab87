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
    broker::{AgentSnapshot, AgentState, AgentView, AwaitedConsent, Broker, CapabilityState},
    help,
    manifest::Manifest,
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
    with_commands(page, snapshot).goes_on(&format!("agents/{name}"), "Open it in the console")
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

/// A command for each account that has to be connected, or whose key has to be added.
fn with_commands(page: Page, snapshot: &AgentSnapshot) -> Page {
    if let Some(command) = key_command(snapshot) {
        return page.command(command);
    }
    if snapshot.awaited.is_empty() {
        return page;
    }
    let commands = snapshot
        .awaited
        .iter()
        .map(|consent| connect_command(&snapshot.manifest, consent));
    let page = commands.fold(page, Page::command);
    let links = if snapshot.awaited.len() == 1 {
        "The command prints a link for the owner."
    } else {
        "Each command prints a link for the owner, one account after the other."
    };
    page.closes(format!("{links} What was granted before is kept."))
}

/// Adds the key that the agent lacks, where it lacks nothing else.
fn key_command(snapshot: &AgentSnapshot) -> Option<String> {
    if snapshot.state != AgentState::NotConnected || snapshot.action_url.is_some() {
        return None;
    }
    let command = snapshot
        .credentials
        .iter()
        .find_map(|view| match &view.profile.origin {
            Origin::Key { command, .. } if view.account.is_none() => Some(command),
            _ => None,
        })?;
    let owner = shell_word(snapshot.manifest.owner.as_str());
    Some(format!("{command} --owner {owner} --key FILE"))
}

/// Begins this consent.
fn connect_command(manifest: &Manifest, consent: &AwaitedConsent) -> String {
    let account = manifest.account_in(&consent.profile.account_field);
    let account = account.map(|account| format!(" --account {}", shell_word(account)));
    let wanted: Vec<String> = consent
        .capabilities
        .iter()
        .map(|key| format!("--capability {key}"))
        .collect();
    format!(
        "token-broker connect --owner {}{} {}",
        shell_word(manifest.owner.as_str()),
        account.unwrap_or_default(),
        wanted.join(" ")
    )
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
    use std::sync::Arc;

    use super::*;
    use crate::{
        provider::{AccountField, Profile, google},
        testing::snapshot,
    };

    fn consent(profile: Profile, keys: &[&str]) -> AwaitedConsent {
        AwaitedConsent {
            profile: Arc::new(profile),
            again: true,
            capabilities: keys.iter().map(|key| key.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn each_account_that_the_owner_is_waited_for_at_has_its_command() {
        let shown = |awaited: Vec<AwaitedConsent>| {
            let mut manifest = Manifest::clone(&snapshot("bot").manifest);
            manifest
                .accounts
                .insert("acme".parse().unwrap(), "alice@acme.example".into());
            let snapshot = AgentSnapshot {
                manifest: Arc::new(manifest),
                awaited: awaited.into(),
                ..snapshot("bot").in_state(AgentState::ReconnectRequired)
            };
            with_commands(Page::new(Tone::Bad, "x"), &snapshot).commands
        };
        let id: crate::id::ProviderId = "acme".parse().unwrap();
        let acme = || {
            let profile = Profile {
                id: id.clone(),
                account_field: AccountField::Accounts(id.clone()),
                ..google::account()
            };
            consent(profile, &["acme.read", "acme.write"])
        };
        let at_google = "token-broker connect --owner alice --capability google.gmail.send";
        let at_acme = "token-broker connect --owner alice --account alice@acme.example --capability acme.read \
                       --capability acme.write";
        let google = consent(google::account(), &["google.gmail.send"]);
        assert_eq!(shown(vec![acme()]), [at_acme]);
        assert_eq!(shown(vec![google, acme()]), [at_google, at_acme]);
        assert!(shown(vec![]).is_empty());
    }

    #[test]
    fn a_command_can_be_copied_whatever_the_names_hold() {
        assert_eq!(shell_word("alice@work.example"), "alice@work.example");
        assert_eq!(shell_word("o'brien@example.com"), r"'o'\''brien@example.com'");
        assert_eq!(shell_word("a;reboot@example.com"), "'a;reboot@example.com'");
    }
}
