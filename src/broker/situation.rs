//! From what is known to an agent's situation: a pure function of manifest, account and token.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    choice::{NoAccount, account_for},
    snapshot::{AgentSnapshot, AgentState, CapabilityStatus, IssuedToken},
    world::{Account, Slot, TokenKey, Trouble, World},
};
use crate::{
    agent::{Manifest, Resolution, resolve},
    catalog::{Catalog, ScopeSet},
    google::FailureKind,
    id::CapabilityKey,
    store::Health,
};

/// What does not change while the daemon runs.
pub(super) struct Surroundings {
    pub(super) catalog: Arc<Catalog>,
    /// Where people reach the daemon, without a slash at the end.
    pub(super) public_url: String,
    /// The client and endpoint that grants must belong to.
    pub(super) authority: Arc<str>,
}

/// An agent's situation and the token it uses.
pub(super) struct Situation {
    pub(super) snapshot: AgentSnapshot,
    pub(super) key: Option<TokenKey>,
}

/// Computes an agent's situation.
pub(super) fn situation(
    world: &World,
    around: &Surroundings,
    manifest: &Arc<Manifest>,
    now: Timestamp,
) -> Situation {
    let account = match account_for(world, manifest) {
        Ok(account) => account,
        Err(none) => return without_account(around, manifest, none),
    };
    let case = Case {
        around,
        manifest,
        account,
        now,
    };
    let resolution = resolve(&around.catalog, &manifest.integrations, &account.record.scopes);
    if let Some((state, message)) = refused(around, account) {
        return case.without_token(&resolution, state, message);
    }
    if let Some(message) = case.missing(&resolution) {
        return case.without_token(&resolution, AgentState::PermissionMissing, message);
    }
    let key = TokenKey {
        integration: account.record.id.clone(),
        scopes: resolution.scopes.clone(),
    };
    let mut situation = case.with_slot(&resolution, world.slots.get(&key));
    situation.key = Some(key);
    situation
}

/// The page that says what is missing and how the owner adds it.
pub(super) fn action_url(around: &Surroundings, manifest: &Manifest) -> String {
    format!("{}/agents/{}", around.public_url, manifest.agent)
}

fn without_account(around: &Surroundings, manifest: &Arc<Manifest>, none: NoAccount) -> Situation {
    let resolution = resolve(&around.catalog, &manifest.integrations, &ScopeSet::default());
    let person_can_act = none.state != AgentState::Misconfigured;
    let snapshot = AgentSnapshot {
        manifest: manifest.clone(),
        state: none.state,
        message: none.message,
        action_url: person_can_act.then(|| action_url(around, manifest)),
        account: None,
        capabilities: statuses(&resolution, &[]),
        granted: Arc::default(),
        token: None,
    };
    Situation { snapshot, key: None }
}

/// Why the account as a whole cannot be used.
pub(super) fn refused(around: &Surroundings, account: &Account) -> Option<(AgentState, String)> {
    let record = &account.record;
    if record.authority != around.authority {
        let message = format!(
            "The grant of {} belongs to {}, but the daemon is configured for {}: configure that client again, or \
             disconnect the account and connect it anew.",
            record.account, record.authority, around.authority
        );
        return Some((AgentState::Misconfigured, message));
    }
    state_of_health(&record.health).map(|(state, why)| (state, why.to_owned()))
}

/// The state that a grant's health leads to, and why; `None` when it works.
pub(super) fn state_of_health(health: &Health) -> Option<(AgentState, &str)> {
    match health {
        Health::Active => None,
        Health::ReconnectRequired(why) => Some((AgentState::ReconnectRequired, why)),
        Health::Revoked(why) | Health::Disabled(why) => Some((AgentState::Revoked, why)),
        Health::Misconfigured(why) => Some((AgentState::Misconfigured, why)),
    }
}

/// An agent and the account that it uses.
struct Case<'a> {
    around: &'a Surroundings,
    manifest: &'a Arc<Manifest>,
    account: &'a Account,
    now: Timestamp,
}

impl Case<'_> {
    /// Which capability keeps the agent from having a token at all.
    fn missing(&self, resolution: &Resolution) -> Option<String> {
        let (address, declined) = (&self.account.record.account, &self.account.record.declined);
        let (sentence, missing) = if !resolution.missing_required.is_empty() {
            let missing = &resolution.missing_required;
            (format!("{address} has not granted {}.", list(missing)), missing)
        } else if !resolution.scopes.is_empty() {
            return None;
        } else if resolution.missing_optional.is_empty() {
            return Some(
                "The agent declares no integration, so there is nothing to have a token for.".to_owned(),
            );
        } else {
            let missing = &resolution.missing_optional;
            (
                format!("{address} has granted none of {}.", list(missing)),
                missing,
            )
        };
        let declined = missing.iter().filter(|key| declined.contains(key));
        let declined: Vec<CapabilityKey> = declined.cloned().collect();
        if declined.is_empty() {
            return Some(sentence);
        }
        Some(format!(
            "{sentence} Asked for before and not given: {}.",
            list(&declined)
        ))
    }

    fn without_token(&self, resolution: &Resolution, state: AgentState, message: String) -> Situation {
        let person_can_act = state != AgentState::Misconfigured && !self.manifest.integrations.is_empty();
        let snapshot = AgentSnapshot {
            manifest: self.manifest.clone(),
            state,
            message,
            action_url: person_can_act.then(|| action_url(self.around, self.manifest)),
            account: Some(self.account.record.account.as_str().into()),
            capabilities: statuses(resolution, &self.account.record.declined),
            granted: Arc::default(),
            token: None,
        };
        Situation { snapshot, key: None }
    }

    fn with_slot(&self, resolution: &Resolution, slot: Option<&Slot>) -> Situation {
        let token = slot
            .and_then(|slot| slot.token.as_ref())
            .filter(|token| token.remaining(self.now).is_some());
        let trouble = slot.and_then(|slot| slot.trouble.as_deref());
        let deviation = token.map_or_else(String::new, |token| token.deviation(&resolution.scopes));
        if let Some(token) = token
            && !resolution.scopes.is_subset(&token.scopes)
        {
            // The provider's answer is the truth: judge by what the token carries.
            let narrower = resolve(&self.around.catalog, &self.manifest.integrations, &token.scopes);
            if let Some(message) = self.missing(&narrower) {
                let message = format!("{message} {deviation}");
                return self.without_token(&narrower, AgentState::PermissionMissing, message);
            }
            return self.with_token(&narrower, Some(token), trouble, deviation);
        }
        self.with_token(resolution, token, trouble, deviation)
    }

    fn with_token(
        &self,
        resolution: &Resolution,
        token: Option<&Arc<IssuedToken>>,
        trouble: Option<&Trouble>,
        deviation: String,
    ) -> Situation {
        let (state, message) = match (token, trouble) {
            (Some(token), None) if token.is_fresh(self.now) => (AgentState::Active, deviation),
            // A failed renewal is no reason for alarm while the token has life left.
            (Some(token), Some(trouble)) if token.is_fresh(self.now) => (
                AgentState::Active,
                format!("The token works, but its renewal fails: {}", trouble.message),
            ),
            (_, Some(trouble)) => (state_of(trouble.kind), trouble.message.clone()),
            (_, None) => (
                AgentState::ProviderUnavailable,
                "A fresh token is being obtained.".to_owned(),
            ),
        };
        let person_can_act = matches!(
            state,
            AgentState::PermissionMissing | AgentState::ReconnectRequired
        );
        let snapshot = AgentSnapshot {
            manifest: self.manifest.clone(),
            state,
            message,
            action_url: person_can_act.then(|| action_url(self.around, self.manifest)),
            account: Some(self.account.record.account.as_str().into()),
            capabilities: statuses(resolution, &self.account.record.declined),
            granted: resolution.granted().cloned().collect(),
            token: token.cloned(),
        };
        Situation { snapshot, key: None }
    }
}

/// Keys as a sentence lists them.
pub(super) fn list(keys: &[CapabilityKey]) -> String {
    keys.iter()
        .map(CapabilityKey::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

fn statuses(resolution: &Resolution, declined: &[CapabilityKey]) -> Arc<[CapabilityStatus]> {
    resolution
        .capabilities
        .iter()
        .map(|capability| CapabilityStatus {
            key: capability.key.clone(),
            granted: capability.granted,
            optional: capability.optional,
            satisfied_by: capability.satisfied_by.clone(),
            declined: !capability.granted && declined.contains(&capability.key),
        })
        .collect()
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

/// True when the two say the same, so that nobody has to be told.
pub(super) fn same(a: &AgentSnapshot, b: &AgentSnapshot) -> bool {
    let same_token = match (&a.token, &b.token) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    };
    same_token
        && a.state == b.state
        && a.message == b.message
        && a.action_url == b.action_url
        && a.account == b.account
        && a.granted == b.granted
        && a.capabilities == b.capabilities
        && (Arc::ptr_eq(&a.manifest, &b.manifest) || a.manifest == b.manifest)
}
