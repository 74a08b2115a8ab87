//! What is said of an agent while it changes hands.

use std::sync::Arc;

use crate::{
    agent::{Holder, Manifest},
    broker::{
        policy::select_account::the_account,
        registry::state::Registry,
        snapshot::{AgentSnapshot, Feed},
        state::AgentState,
    },
    catalog::IntegrationKind,
};

/// The manifest's fields that make `after` another holder than `before`; none when it is the same.
pub(in crate::broker) fn changes(registry: &Registry, before: &Holder, after: &Holder) -> Vec<&'static str> {
    before.differences(after, |kind| {
        let used = |holder: &Holder| {
            let account = the_account(registry, holder.owner(), kind, holder.account(kind))?;
            Some(account.record.id.clone())
        };
        // One account may have several addresses, and needs none where the owner has no other.
        used(before).is_some_and(|account| Some(account) == used(after))
    })
}

/// What an agent is told that is gone.
pub(in crate::broker) fn farewell(manifest: &Arc<Manifest>) -> AgentSnapshot {
    without_token(manifest, format!("The agent `{}` was removed.", manifest.agent))
}

/// What is so of an agent that is given to another holder, until the one before has nothing left.
pub(in crate::broker) fn arriving(manifest: &Arc<Manifest>) -> AgentSnapshot {
    let message = format!(
        "The agent `{}` was given to another holder. What the one before had is taken away first.",
        manifest.agent
    );
    without_token(manifest, message)
}

/// An agent's situation when it has no token, for what is to be done to its manifest.
pub(in crate::broker) fn without_token(manifest: &Arc<Manifest>, message: String) -> AgentSnapshot {
    AgentSnapshot {
        manifest: manifest.clone(),
        state: AgentState::Misconfigured,
        message,
        action_url: None,
        capabilities: Arc::default(),
        main: Feed::empty(IntegrationKind::Google, None),
        beside: None,
    }
}
