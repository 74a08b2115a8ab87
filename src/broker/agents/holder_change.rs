//! What is said of an agent while it changes hands.

use std::sync::Arc;

use crate::{
    manifest::{Holder, Manifest},
    policy::{context::PolicyContext, select_account::the_account},
    registry::{
        agent_state::AgentState,
        snapshot::{AgentSnapshot, CredentialView},
        state::Registry,
    },
};

/// The manifest's fields that make `after` another holder than `before`; none when it is the same.
pub(in crate::broker) fn changes(
    context: &PolicyContext,
    registry: &Registry,
    before: &Holder,
    after: &Holder,
) -> Vec<String> {
    before.differences(after, |field| {
        let mut providers = context.providers.iter();
        let Some(provider) = providers.find(|provider| provider.profile.account_field == *field) else {
            return false;
        };
        let used = |holder: &Holder| {
            let named = holder.account_in(field);
            let account = the_account(registry, holder.owner(), provider.id(), named)?;
            Some(account.record.id.clone())
        };
        // One account may have several addresses, and needs none where the owner has no other.
        used(before).is_some_and(|account| Some(account) == used(after))
    })
}

/// What an agent is told that is gone.
pub(in crate::broker) fn farewell(context: &PolicyContext, manifest: &Arc<Manifest>) -> AgentSnapshot {
    without_token(
        context,
        manifest,
        format!("The agent `{}` was removed.", manifest.agent),
    )
}

/// What is so of an agent that is given to another holder, until the one before has nothing left.
pub(in crate::broker) fn arriving(context: &PolicyContext, manifest: &Arc<Manifest>) -> AgentSnapshot {
    let message = format!(
        "The agent `{}` was given to another holder. What the one before had is taken away first.",
        manifest.agent
    );
    without_token(context, manifest, message)
}

/// An agent's snapshot when it has no token, for what is to be done to its manifest.
pub(in crate::broker) fn without_token(
    context: &PolicyContext,
    manifest: &Arc<Manifest>,
    message: String,
) -> AgentSnapshot {
    AgentSnapshot {
        manifest: manifest.clone(),
        state: AgentState::Misconfigured,
        message,
        action_url: None,
        awaited: Box::default(),
        capabilities: Arc::default(),
        credentials: Box::new([CredentialView::empty(
            context.providers.first().profile.clone(),
            None,
        )]),
    }
}
