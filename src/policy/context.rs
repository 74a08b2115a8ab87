//! What policy is decided by beside the registry, and what whole accounts come to.

use std::sync::Arc;

use crate::{
    capability::Catalog,
    cause::GrantCause,
    id::{CapabilityKey, ProviderId},
    manifest::Manifest,
    provider::{Profile, Provider, Providers, Remedy},
    registry::{agent_state::AgentState, renewal_fault::AccountFault, state::Account},
    store::Health,
};

/// What does not change while the daemon runs.
pub(crate) struct PolicyContext {
    pub(crate) catalog: Arc<Catalog>,
    /// Where people reach the daemon, without a slash at the end.
    pub(crate) public_url: String,
    /// Who gives tokens.
    pub(crate) providers: Arc<Providers>,
}

impl PolicyContext {
    /// Those of which the agent declares something, in the order of the providers.
    pub(crate) fn declared_by(&self, manifest: &Manifest) -> Vec<&Provider> {
        let all = self.providers.iter();
        all.filter(|provider| self.declares(manifest, provider.id()))
            .collect()
    }

    /// True when the agent declares something of this provider.
    pub(crate) fn declares(&self, manifest: &Manifest, provider: &ProviderId) -> bool {
        manifest
            .integrations
            .iter()
            .any(|requirement| self.catalog.provider_of(&requirement.key) == provider)
    }

    /// True when a person consents to what this provider's accounts are used for, and so can mend it.
    pub(crate) fn is_consented(&self, provider: &ProviderId) -> bool {
        let provider = self.providers.get(provider);
        provider.is_some_and(|provider| provider.profile.origin.is_consent())
    }

    /// What a provider says of itself; what the first does where there is no such provider any more.
    pub(crate) fn profile_of(&self, provider: &ProviderId) -> Arc<Profile> {
        let known = self.providers.get(provider).unwrap_or(self.providers.first());
        known.profile.clone()
    }

    /// Who runs a provider, for people.
    pub(crate) fn name_of(&self, provider: &ProviderId) -> String {
        self.providers.name_of(provider)
    }
}

/// The page that says what is missing and how the owner adds it.
pub(crate) fn action_url(context: &PolicyContext, manifest: &Manifest) -> String {
    format!("{}/agents/{}", context.public_url, manifest.agent)
}

/// The state that an account is in as a whole, and why; `None` where it can be used.
pub(crate) fn refused(context: &PolicyContext, account: &Account) -> Option<(AgentState, AccountFault)> {
    let record = &account.record;
    let Some(provider) = context.providers.get(&record.provider) else {
        let fault = AccountFault::UnknownProvider {
            account: record.account.clone(),
            provider: record.provider.clone(),
        };
        return Some((AgentState::Misconfigured, fault));
    };
    if record.issuer_binding != provider.issuer_binding {
        let fault = AccountFault::OtherBinding {
            account: record.account.clone(),
            keyed: !provider.profile.origin.is_consent(),
            found: record.issuer_binding.clone(),
            configured: provider.issuer_binding.clone(),
        };
        return Some((AgentState::Misconfigured, fault));
    }
    state_of_health(&record.health).map(|(state, cause)| {
        let fault = AccountFault::Grant {
            cause: Box::new(cause.clone()),
            provider: record.provider.clone(),
        };
        (state, fault)
    })
}

/// The state that a grant's health leads to, and why; `None` when it works.
pub(crate) fn state_of_health(health: &Health) -> Option<(AgentState, &GrantCause)> {
    match health {
        Health::Active => None,
        Health::ReconnectRequired(cause) => Some((AgentState::ReconnectRequired, cause)),
        Health::Revoked(cause) | Health::Disabled(cause) => Some((AgentState::Revoked, cause)),
        Health::Misconfigured(cause) => Some((AgentState::Misconfigured, cause)),
    }
}

/// Keys as a sentence lists them.
pub(crate) fn list(keys: &[CapabilityKey]) -> String {
    keys.iter()
        .map(CapabilityKey::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The state that a failure leads to when there is no fresh token.
pub(crate) fn state_of(kind: Remedy) -> AgentState {
    match kind {
        Remedy::Retry => AgentState::ProviderUnavailable,
        Remedy::Reconnect => AgentState::ReconnectRequired,
        Remedy::Operator => AgentState::Misconfigured,
        Remedy::Permission => AgentState::PermissionMissing,
    }
}

/// What is said of an account that is held and was not refused.
pub(crate) fn unchecked(context: &PolicyContext, account: &Account) -> String {
    format!(
        "The database was restored from a backup, so {} is checked with {} before it is used again.",
        account.record.account,
        context.name_of(&account.record.provider)
    )
}
