//! `/agents/<name>`: what an agent lacks and how its owner adds it.
//!
//! The page starts no consent by itself: whoever holds its address could otherwise bind an account of their
//! own to somebody else's agent.

use super::page::{Item, Page, Tone};
use crate::{
    broker::{AgentSnapshot, AgentState, Broker},
    id::AgentName,
};

/// The page of an agent.
pub(super) fn page(broker: &Broker, name: &str) -> Option<Page> {
    let name: AgentName = name.parse().ok()?;
    let view = broker.agent(&name)?;
    let snapshot = &view.snapshot;
    let page = match snapshot.state {
        AgentState::Active => Page::new(Tone::Good, format!("{name} has what it needs")),
        AgentState::ProviderUnavailable => Page::new(Tone::Calm, format!("{name} is waiting for Google")),
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
    Some(with_command(page.lists(items(broker, snapshot)), snapshot))
}

fn items(broker: &Broker, snapshot: &AgentSnapshot) -> Vec<Item> {
    let described = snapshot.capabilities.iter().zip(&snapshot.manifest.integrations);
    described
        .map(|(status, requirement)| {
            let title = broker
                .catalog()
                .get(&status.key)
                .map_or_else(|| status.key.to_string(), |c| c.title.clone());
            let state = match (&status.satisfied_by, status.granted, status.optional) {
                (Some(wider), ..) => format!("granted through {wider}"),
                (None, true, _) => "granted".to_owned(),
                (None, false, true) => "not granted; the agent works without it".to_owned(),
                (None, false, false) => "not granted".to_owned(),
            };
            let why = if requirement.description.is_empty() {
                String::new()
            } else {
                format!("“{}” — ", requirement.description)
            };
            Item {
                title,
                note: format!("{why}{}: {state}", status.key),
                done: status.granted,
            }
        })
        .collect()
}

fn with_command(page: Page, snapshot: &AgentSnapshot) -> Page {
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
    let wanted: Vec<String> = snapshot
        .capabilities
        .iter()
        .filter(|status| reconnect || !status.granted)
        .map(|status| format!("--capability {}", status.key))
        .collect();
    if !owner_must_act || wanted.is_empty() {
        return page;
    }
    page.command(format!(
        "token-broker connect --owner {} {}",
        snapshot.manifest.owner,
        wanted.join(" ")
    ))
    .closes("The command prints a link for the owner. What was granted before is kept.")
}
