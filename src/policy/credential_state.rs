//! What one of the owner's accounts gives an agent: a pure function of manifest, account and token.

use std::sync::Arc;

use crate::{
    capability::ScopeSet,
    clock::Uptime,
    id::CapabilityKey,
    manifest::{Manifest, Resolution, resolve},
    policy::{
        context::{self, PolicyContext, list, refused, state_of},
        fault_sentences,
        select_account::{NoAccount, select_account},
    },
    provider::{Origin, Provider},
    registry::{
        agent_state::AgentState,
        ending,
        keys::TokenKey,
        snapshot::{AwaitedConsent, CapabilityStatus, CredentialView, IssuedToken},
        state::{Account, Registry},
        tokens::{LastFailure, TokenEntry},
    },
    store::IntegrationRecord,
};

/// What one account gives an agent, or why it gives nothing.
pub(crate) struct CredentialState {
    /// The agent does not work without it.
    pub(crate) required: bool,
    pub(crate) state: AgentState,
    pub(crate) message: String,
    /// The account's owner can mend it.
    pub(crate) person_can_act: bool,
    pub(crate) view: CredentialView,
    /// The token that the agent uses.
    pub(crate) key: Option<TokenKey>,
    /// The agent's requirements of this provider, in the manifest's order.
    pub(crate) statuses: Vec<CapabilityStatus>,
}

impl CredentialState {
    /// Its token may be used, once it is there.
    pub(crate) fn is_usable(&self) -> bool {
        matches!(self.state, AgentState::Active | AgentState::ProviderUnavailable)
    }

    /// The consent that mends it, where there is something to ask for.
    pub(crate) fn awaited_consent(&self) -> Option<AwaitedConsent> {
        let again = matches!(self.state, AgentState::ReconnectRequired | AgentState::Revoked);
        let asked = self.statuses.iter().filter(|status| again || !status.granted);
        let capabilities: Vec<CapabilityKey> = asked.map(|status| status.key.clone()).collect();
        let helps = self.person_can_act && !capabilities.is_empty();
        helps.then(|| AwaitedConsent {
            profile: self.view.profile.clone(),
            again,
            capabilities,
        })
    }

    /// Its token is not handed out, whatever its own state.
    pub(crate) fn withhold(&mut self) {
        self.view.granted = Arc::default();
        self.view.token = None;
    }
}

/// What this provider's account gives the agent.
pub(crate) fn credential_state(
    registry: &Registry,
    context: &PolicyContext,
    manifest: &Manifest,
    provider: &Provider,
    now: Uptime,
) -> CredentialState {
    let account = match select_account(registry, manifest, provider) {
        Ok(account) => account,
        Err(none) => return without_account(context, manifest, provider, none),
    };
    let credential = CredentialContext {
        context,
        manifest,
        provider,
        account,
        now,
    };
    let resolution = credential.resolve(&account.record.scopes);
    if let Some((state, fault)) = refused(context, account) {
        let message = fault_sentences::account(context, &fault);
        return credential.without_token(&resolution, state, message);
    }
    if let Some(message) = credential.missing(&resolution) {
        return credential.without_token(&resolution, AgentState::PermissionMissing, message);
    }
    let key = TokenKey {
        integration: account.record.id.clone(),
        scopes: resolution.scopes.clone(),
    };
    let mut given = credential.with_entry(&resolution, registry.tokens.get(&key));
    given.key = Some(key);
    given
}

fn without_account(
    context: &PolicyContext,
    manifest: &Manifest,
    provider: &Provider,
    none: NoAccount,
) -> CredentialState {
    let resolution = resolve(
        provider.id(),
        &context.catalog,
        &manifest.integrations,
        &ScopeSet::default(),
    );
    CredentialState {
        required: is_required(&resolution),
        state: none.state,
        message: none.message,
        person_can_act: provider.profile.origin.is_consent() && none.state != AgentState::Misconfigured,
        view: CredentialView::empty(provider.profile.clone(), None),
        key: None,
        statuses: statuses(&resolution, &[]),
    }
}

/// An agent and the account that it uses.
struct CredentialContext<'a> {
    context: &'a PolicyContext,
    manifest: &'a Manifest,
    provider: &'a Provider,
    account: &'a Account,
    now: Uptime,
}

impl CredentialContext<'_> {
    fn record(&self) -> &IntegrationRecord {
        &self.account.record
    }

    fn resolve(&self, scopes: &ScopeSet) -> Resolution {
        let (provider, catalog) = (self.provider.id(), &self.context.catalog);
        resolve(provider, catalog, &self.manifest.integrations, scopes)
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
        if let Origin::Key {
            command, allowing, ..
        } = &self.provider.profile.origin
        {
            return format!(
                "{} may not use {what} for {}: {allowing}; then add the key again with `{command}`.",
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

    fn in_state(&self, resolution: &Resolution, state: AgentState, message: String) -> CredentialState {
        let record = self.record();
        CredentialState {
            required: is_required(resolution),
            state,
            message,
            person_can_act: false,
            view: CredentialView {
                is_expected: !state.is_the_owners(),
                ..CredentialView::empty(
                    self.provider.profile.clone(),
                    Some(record.account.as_str().into()),
                )
            },
            key: None,
            statuses: statuses(resolution, &record.declined),
        }
    }

    fn without_token(&self, resolution: &Resolution, state: AgentState, message: String) -> CredentialState {
        let of_person = self.provider.profile.origin.is_consent();
        CredentialState {
            person_can_act: of_person
                && state != AgentState::Misconfigured
                && !self.manifest.integrations.is_empty(),
            ..self.in_state(resolution, state, message)
        }
    }

    fn with_entry(&self, resolution: &Resolution, token_entry: Option<&TokenEntry>) -> CredentialState {
        let token = token_entry
            .and_then(|token_entry| token_entry.token.as_ref())
            .filter(|token| token.remaining(self.now).is_some());
        let last_failure = token_entry.and_then(|token_entry| token_entry.last_failure.as_deref());
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
            return self.with_token(&narrower, Some(token), last_failure, deviation);
        }
        self.with_token(resolution, token, last_failure, deviation)
    }

    fn said(&self, last_failure: &LastFailure) -> String {
        fault_sentences::renewal(self.context, &last_failure.fault)
    }

    fn with_token(
        &self,
        resolution: &Resolution,
        token: Option<&Arc<IssuedToken>>,
        last_failure: Option<&LastFailure>,
        deviation: String,
    ) -> CredentialState {
        let (state, message) = match (token, last_failure) {
            (Some(token), None) if token.is_fresh(self.now) => {
                let notice =
                    ending::notice(&self.account.record, self.account.ending, self.now).unwrap_or_default();
                let both = [deviation, notice];
                let said: Vec<&str> = both
                    .iter()
                    .map(String::as_str)
                    .filter(|text| !text.is_empty())
                    .collect();
                (AgentState::Active, said.join(" "))
            }
            // A failed renewal is no reason for alarm while the token has life left.
            (Some(token), Some(last_failure)) if token.is_fresh(self.now) => (
                AgentState::Active,
                format!(
                    "The token works, but its renewal fails: {}",
                    self.said(last_failure)
                ),
            ),
            // It lives to its end, whoever has to act.
            (Some(_), Some(last_failure)) => (AgentState::ProviderUnavailable, self.said(last_failure)),
            (None, Some(last_failure)) => (state_of(last_failure.kind), self.said(last_failure)),
            (_, None) => (
                AgentState::ProviderUnavailable,
                if self.account.check_at.is_some() {
                    context::unchecked(self.context, self.account)
                } else {
                    "A fresh token is being obtained.".to_owned()
                },
            ),
        };
        let mut given = self.in_state(resolution, state, message);
        let of_person = self.provider.profile.origin.is_consent();
        given.person_can_act = of_person
            && matches!(
                state,
                AgentState::PermissionMissing | AgentState::ReconnectRequired
            );
        given.view.granted = resolution.granted().cloned().collect();
        given.view.token = token.cloned();
        given
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
