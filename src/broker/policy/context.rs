//! What policy is decided by beside the registry, and what whole accounts come to.

use std::sync::Arc;

use crate::{
    agent::Manifest,
    broker::{registry::state::Account, state::AgentState},
    catalog::{Catalog, IntegrationKind},
    google::FailureKind,
    id::CapabilityKey,
    store::Health,
};

/// What does not change while the daemon runs.
pub(in crate::broker) struct PolicyContext {
    pub(in crate::broker) catalog: Arc<Catalog>,
    /// Where people reach the daemon, without a slash at the end.
    pub(in crate::broker) public_url: String,
    /// The client and endpoint that people's grants must belong to.
    pub(in crate::broker) authority: Arc<str>,
    /// The endpoint that service accounts' keys must belong to.
    pub(in crate::broker) token_endpoint: Arc<str>,
}

impl PolicyContext {
    /// What an account of this kind must belong to: it is never sent elsewhere.
    pub(in crate::broker) fn authority_of(&self, kind: IntegrationKind) -> &Arc<str> {
        match kind {
            IntegrationKind::Google => &self.authority,
            IntegrationKind::GoogleServiceAccount => &self.token_endpoint,
        }
    }

    /// True when the agent declares something of this kind of account.
    pub(in crate::broker) fn declares(&self, manifest: &Manifest, kind: IntegrationKind) -> bool {
        manifest
            .integrations
            .iter()
            .any(|requirement| self.catalog.kind_of(&requirement.key) == kind)
    }
}

/// The page that says what is missing and how the owner adds it.
pub(in crate::broker) fn action_url(context: &PolicyContext, manifest: &Manifest) -> String {
    format!("{}/agents/{}", context.public_url, manifest.agent)
}

/// Why the account as a whole cannot be used.
pub(in crate::broker) fn refused(context: &PolicyContext, account: &Account) -> Option<(AgentState, String)> {
    let record = &account.record;
    let configured = context.authority_of(record.kind);
    if record.authority != *configured {
        let (what, remedy) = match record.kind {
            IntegrationKind::Google => (
                "grant",
                "configure that client again, or disconnect the account and connect it anew",
            ),
            IntegrationKind::GoogleServiceAccount => (
                "key",
                "configure that endpoint again, or disconnect the account and add another key",
            ),
        };
        let message = format!(
            "The {what} of {} belongs to {}, but the daemon is configured for {configured}: {remedy}.",
            record.account, record.authority
        );
        return Some((AgentState::Misconfigured, message));
    }
    state_of_health(&record.health).map(|(state, why)| (state, why.to_owned()))
}

/// The state that a grant's health leads to, and why; `None` when it works.
pub(in crate::broker) fn state_of_health(health: &Health) -> Option<(AgentState, &str)> {
    match health {
        Health::Active => None,
        Health::ReconnectRequired(why) => Some((AgentState::ReconnectRequired, why)),
        Health::Revoked(why) | Health::Disabled(why) => Some((AgentState::Revoked, why)),
        Health::Misconfigured(why) => Some((AgentState::Misconfigured, why)),
    }
}

/// Keys as a sentence lists them.
pub(in crate::broker) fn list(keys: &[CapabilityKey]) -> String {
    keys.iter()
        .map(CapabilityKey::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The state that a failure leads to when there is no fresh token.
pub(crate) fn state_of(kind: FailureKind) -> AgentState {
    match kind {
        FailureKind::Retry => AgentState::ProviderUnavailable,
        FailureKind::Reconnect => AgentState::ReconnectRequired,
        FailureKind::Operator => AgentState::Misconfigured,
        FailureKind::Permission => AgentState::PermissionMissing,
    }
}

/// What is said of an account that is held and was not refused.
pub(in crate::broker) fn unchecked(account: &Account) -> String {
    format!(
        "The database was restored from a backup, so {} is checked with Google before it is used again.",
        account.record.account
    )
}
