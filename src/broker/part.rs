//! What one of the owner's accounts gives an agent: a pure function of manifest, account and token.

use std::sync::Arc;

use super::{
    choice::{NoAccount, account_for},
    ending,
    situation::{Surroundings, list, refused, state_of},
    slots::{Slot, Trouble},
    snapshot::{AgentState, CapabilityStatus, Feed, IssuedToken},
    unchecked,
    world::{Account, TokenKey, World},
};
use crate::{
    agent::{Manifest, Resolution, resolve},
    catalog::{IntegrationKind, ScopeSet},
    clock::Uptime,
    id::CapabilityKey,
    store::IntegrationRecord,
};

/// What one account gives an agent, or why it gives nothing.
pub(super) struct Part {
    /// The agent does not work without it.
    pub(super) required: bool,
    pub(super) state: AgentState,
    pub(super) message: String,
    /// The account's owner can mend it.
    pub(super) person_can_act: bool,
    pub(super) feed: Feed,
    /// The token that the agent uses.
    pub(super) key: Option<TokenKey>,
    /// The agent's requirements of this kind of account, in the manifest's order.
    pub(super) statuses: Vec<CapabilityStatus>,
}

impl Part {
    /// Its token may be used, once it is there.
    pub(super) fn is_usable(&self) -> bool {
        matches!(self.state, AgentState::Active | AgentState::ProviderUnavailable)
    }

    /// Its token is not handed out, whatever its own state.
    pub(super) fn withhold(&mut self) {
        self.feed.granted = Arc::default();
        self.feed.token = None;
    }
}

/// What the account of this kind gives the agent.
pub(super) fn part(
    world: &World,
    around: &Surroundings,
    manifest: &Manifest,
    kind: IntegrationKind,
    now: Uptime,
) -> Part {
    let account = match account_for(world, manifest, kind) {
        Ok(account) => account,
        Err(none) => return without_account(around, manifest, kind, none),
    };
    let case = Case {
        around,
        manifest,
        account,
        now,
    };
    let resolution = case.resolve(&account.record.scopes);
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
    let mut part = case.with_slot(&resolution, world.slots.get(&key));
    part.key = Some(key);
    part
}

fn without_account(
    around: &Surroundings,
    manifest: &Manifest,
    kind: IntegrationKind,
    none: NoAccount,
) -> Part {
    let resolution = resolve(
        kind,
        &around.catalog,
        &manifest.integrations,
        &ScopeSet::default(),
    );
    Part {
        required: is_required(&resolution),
        state: none.state,
        message: none.message,
        person_can_act: kind == IntegrationKind::Google && none.state != AgentState::Misconfigured,
        feed: Feed::empty(kind, None),
        key: None,
        statuses: statuses(&resolution, &[]),
    }
}

/// An agent and the account that it uses.
struct Case<'a> {
    around: &'a Surroundings,
    manifest: &'a Manifest,
    account: &'a Account,
    now: Uptime,
}

impl Case<'_> {
    fn record(&self) -> &IntegrationRecord {
        &self.account.record
    }

    fn resolve(&self, scopes: &ScopeSet) -> Resolution {
        let (kind, catalog) = (self.record().kind, &self.around.catalog);
        resolve(kind, catalog, &self.manifest.integrations, scopes)
    }

    /// Which capability keeps the agent from having a token at all.
    fn missing(&self, resolution: &Resolution) -> Option<String> {
        if !resolution.missing_required.is_empty() {
            return Some(self.not_granted("has not granted", &resolution.missing_required));
        }
        if !resolution.scopes.is_empty() {
            return None;
        }
        let missing = &resolution.missing_optional;
        if missing.is_empty() {
            return Some(
                "The agent declares no integration, so there is nothing to have a token for.".to_owned(),
            );
        }
        Some(self.not_granted("has granted none of", missing))
    }

    fn not_granted(&self, words: &str, missing: &[CapabilityKey]) -> String {
        let (record, what) = (self.record(), list(missing));
        if record.kind == IntegrationKind::GoogleServiceAccount {
            return format!(
                "{} may not use {what} for {}: the domain's administrator has to delegate the scopes to it; then add \
                 the key again with `token-broker service-account add`.",
                record.account, record.subject
            );
        }
        let sentence = format!("{} {words} {what}.", record.account);
        let declined = missing.iter().filter(|key| record.declined.contains(key));
        let declined: Vec<CapabilityKey> = declined.cloned().collect();
        if declined.is_empty() {
            return sentence;
        }
        format!("{sentence} Asked for before and not given: {}.", list(&declined))
    }

    fn part(&self, resolution: &Resolution, state: AgentState, message: String) -> Part {
        let record = self.record();
        Part {
            required: is_required(resolution),
            state,
            message,
            person_can_act: false,
            feed: Feed::empty(record.kind, Some(record.account.as_str().into())),
            key: None,
            statuses: statuses(resolution, &record.declined),
        }
    }

    fn without_token(&self, resolution: &Resolution, state: AgentState, message: String) -> Part {
        let of_person = self.record().kind == IntegrationKind::Google;
        Part {
            person_can_act: of_person
                && state != AgentState::Misconfigured
                && !self.manifest.integrations.is_empty(),
            ..self.part(resolution, state, message)
        }
    }

    fn with_slot(&self, resolution: &Resolution, slot: Option<&Slot>) -> Part {
        let token = slot
            .and_then(|slot| slot.token.as_ref())
            .filter(|token| token.remaining(self.now).is_some());
        let trouble = slot.and_then(|slot| slot.trouble.as_deref());
        let deviation = token.map_or_else(String::new, |token| token.deviation(&resolution.scopes));
        if let Some(token) = token
            && !resolution.scopes.is_subset(&token.scopes)
        {
            // The provider's answer is the truth: judge by what the token carries.
            let narrower = self.resolve(&token.scopes);
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
    ) -> Part {
        let (state, message) = match (token, trouble) {
            (Some(token), None) if token.is_fresh(self.now) => {
                let notice = ending::notice(self.account, self.now).unwrap_or_default();
                let both = [deviation, notice];
                let said: Vec<&str> = both
                    .iter()
                    .map(String::as_str)
                    .filter(|text| !text.is_empty())
                    .collect();
                (AgentState::Active, said.join(" "))
            }
            // A failed renewal is no reason for alarm while the token has life left.
            (Some(token), Some(trouble)) if token.is_fresh(self.now) => (
                AgentState::Active,
                format!("The token works, but its renewal fails: {}", trouble.message),
            ),
            // It lives to its end, whoever has to act.
            (Some(_), Some(trouble)) => (AgentState::ProviderUnavailable, trouble.message.clone()),
            (None, Some(trouble)) => (state_of(trouble.kind), trouble.message.clone()),
            (_, None) => (
                AgentState::ProviderUnavailable,
                if self.account.check_at.is_some() {
                    unchecked::sentence(self.account)
                } else {
                    "A fresh token is being obtained.".to_owned()
                },
            ),
        };
        let mut part = self.part(resolution, state, message);
        let of_person = self.record().kind == IntegrationKind::Google;
        part.person_can_act = of_person
            && matches!(
                state,
                AgentState::PermissionMissing | AgentState::ReconnectRequired
            );
        part.feed.granted = resolution.granted().cloned().collect();
        part.feed.token = token.cloned();
        part
    }
}

fn is_required(resolution: &Resolution) -> bool {
    resolution
        .capabilities
        .iter()
        .any(|capability| !capability.optional)
}

fn statuses(resolution: &Resolution, declined: &[CapabilityKey]) -> Vec<CapabilityStatus> {
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
