//! What an agent may have of what it asks for.

use std::sync::Arc;

use super::{
    issuer::Issuer,
    request::{Asked, TokenRequest},
};
use crate::{
    id::{AgentName, CapabilityKey, ProviderId},
    manifest::resolve,
    policy::context::action_url,
    registry::{
        agent_state::AgentState,
        handle::AgentHandle,
        keys::TokenKey,
        problem::{Problem, ProblemCause, ProblemCode},
        snapshot::{AgentSnapshot, CapabilityStatus, CredentialView, IssuedToken},
    },
    renewal::publisher::living,
    secret::shape::redacted,
    text,
};

impl Issuer {
    /// What the agent may have now of what it asks for.
    pub(super) fn look(&self, agent: &AgentHandle, query: &TokenRequest) -> Result<Asked, Problem> {
        // Under the one lock, so that manifest, grant and token belong together.
        let registry = self.registry.lock();
        // An agent that was removed has no token, also where another has its name by now.
        let entry = registry
            .agents
            .get(agent.name())
            .filter(|entry| std::ptr::eq(&raw const *entry.handle, agent));
        let snapshot = agent.snapshot();
        let Some(entry) = entry else {
            return Err(snapshot.problem());
        };
        let view = self.credential_for(&snapshot, query)?;
        let capabilities = self.wanted(&snapshot, view, &query.capabilities)?;
        let Some(key) = entry.keys.of(view.provider()) else {
            return Err(snapshot.problem());
        };
        if capabilities.is_empty() {
            // Nothing is served by a token that the provider gave less with than was asked for: it may be replaced.
            let narrower = living(&registry, key, self.clock.uptime())
                .is_some_and(|token| token.is_narrower_than(&key.scopes));
            if !(query.refresh && narrower) {
                return Err(snapshot.problem());
            }
        }
        let key = if capabilities.len() == view.granted.len() {
            key.clone()
        } else {
            let account = registry
                .accounts
                .get(&key.integration)
                .ok_or_else(|| snapshot.problem())?;
            let resolution = resolve(
                view.provider(),
                &self.context.catalog,
                &snapshot.manifest.integrations,
                &account.record.scopes,
            );
            let narrowed = resolution
                .narrow(&self.context.catalog, &capabilities)
                .map_err(|_| snapshot.problem())?;
            TokenKey {
                integration: key.integration.clone(),
                scopes: narrowed.scopes,
            }
        };
        let at_hand = living(&registry, &key, self.clock.uptime());
        Ok(Asked {
            provider: view.provider().clone(),
            snapshot: snapshot.clone(),
            capabilities,
            key,
            at_hand,
        })
    }

    /// Which of its accounts the agent asks about: the one it names, or that of the capabilities, or its main one.
    fn credential_for<'a>(
        &self,
        snapshot: &'a AgentSnapshot,
        query: &TokenRequest,
    ) -> Result<&'a CredentialView, Problem> {
        let declared = |name: &String| {
            snapshot
                .capabilities
                .iter()
                .find(|status| status.key.as_str() == name)
        };
        let of_capability = || query.capabilities.iter().find_map(declared);
        let of_capability = || Some(self.context.catalog.provider_of(&of_capability()?.key));
        let provider = query
            .integration
            .as_ref()
            .or_else(of_capability)
            .unwrap_or(snapshot.main().provider());
        snapshot
            .credential(provider)
            .ok_or_else(|| self.not_declared(&snapshot.manifest.agent, provider))
    }

    /// What an agent is told that asks about a provider that it declares nothing of.
    pub fn not_declared(&self, agent: &AgentName, provider: &ProviderId) -> Problem {
        let known = self.context.providers.get(provider);
        let lacking = known.map_or(provider.as_str(), |known| known.profile.described.as_str());
        let message = format!("The agent `{agent}` declares no capability of {lacking}.");
        let cause = ProblemCause::UndeclaredProvider(provider.clone());
        Problem::new(ProblemCode::NotDeclared, cause, message)
    }

    /// The capability of this name.
    fn known(&self, name: &str) -> Result<CapabilityKey, Problem> {
        let catalog = &self.context.catalog;
        let known = name.parse().ok().filter(|key| catalog.get(key).is_some());
        known.ok_or_else(|| {
            let hint = catalog.suggest(name).map(|key| format!(" Did you mean `{key}`?"));
            // A token in the wrong place goes no further.
            let name = redacted(name);
            let name = text::quoted(&name, 80);
            let message = format!("There is no capability `{name}`.{}", hint.unwrap_or_default());
            Problem::new(ProblemCode::UnknownCapability, ProblemCause::Request, message)
        })
    }

    /// The declared and granted capabilities that the caller wants; all of them when it names none.
    fn wanted(
        &self,
        snapshot: &AgentSnapshot,
        view: &CredentialView,
        names: &[String],
    ) -> Result<Arc<[CapabilityKey]>, Problem> {
        for name in names {
            let key = self.known(name)?;
            let Some(status) = snapshot.capabilities.iter().find(|status| status.key == key) else {
                let message = format!(
                    "The agent `{}` does not declare `{key}`: add it to the agent's `integrations`.",
                    snapshot.manifest.agent
                );
                let cause = ProblemCause::UndeclaredCapability(key);
                return Err(Problem::new(ProblemCode::NotDeclared, cause, message));
            };
            if self.context.catalog.provider_of(&key) != view.provider() {
                let message = format!(
                    "`{key}` is exercised with the integration `{}`, not with `{}`: a token is of one account, so ask \
                     for the two apart.",
                    self.context.catalog.provider_of(&key),
                    view.provider()
                );
                return Err(Problem::new(
                    ProblemCode::InvalidRequest,
                    ProblemCause::Request,
                    message,
                ));
            }
            if !status.granted
                && matches!(
                    snapshot.state,
                    AgentState::Active | AgentState::ProviderUnavailable
                )
            {
                return Err(self.not_granted(snapshot, &key));
            }
        }
        if names.is_empty() {
            return Ok(view.granted.clone());
        }
        Ok(view
            .granted
            .iter()
            .filter(|key| names.iter().any(|name| name == key.as_str()))
            .cloned()
            .collect())
    }

    fn not_granted(&self, snapshot: &AgentSnapshot, key: &CapabilityKey) -> Problem {
        let declined = |status: &CapabilityStatus| status.key == *key && status.declined;
        let declined = snapshot.capabilities.iter().any(declined);
        let message = if declined {
            format!("`{key}` was asked for and has not been granted.")
        } else {
            format!("`{key}` has not been granted.")
        };
        let of_person = self.context.is_consented(self.context.catalog.provider_of(key));
        Problem {
            code: ProblemCode::State(AgentState::PermissionMissing),
            cause: ProblemCause::NotGranted {
                capability: key.clone(),
                declined,
            },
            message,
            action_url: of_person.then(|| action_url(&self.context, &snapshot.manifest)),
            retry_after: None,
        }
    }

    /// The provider's answer is the truth: a token is not said to serve what it does not carry.
    pub(super) fn carries(&self, token: &IssuedToken, asked: &Asked) -> Result<(), Problem> {
        if asked.key.scopes.is_subset(&token.scopes) {
            return Ok(());
        }
        let carried = resolve(
            &asked.provider,
            &self.context.catalog,
            &asked.snapshot.manifest.integrations,
            &token.scopes,
        );
        let lacks = |key: &&CapabilityKey| !carried.granted().any(|granted| granted == *key);
        match asked.capabilities.iter().find(lacks) {
            Some(key) => Err(self.not_granted(&asked.snapshot, key)),
            None => Ok(()),
        }
    }
}
