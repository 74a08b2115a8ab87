//! An agent asks for a token.

use std::{sync::Arc, time::Duration};

use super::{
    limits::{cannot_be_met, too_much, too_soon},
    request::{TokenGrant, TokenRequest},
};
use crate::{
    audit::audit_writer::AuditWriter,
    budget::{
        Budget,
        table::{NARROWED_TOKENS, TRIES_ON_DEMAND},
    },
    clock::Uptime,
    id::{AgentName, CapabilityKey, ProviderId},
    manifest::resolve,
    policy::{
        context::{PolicyContext, action_url, state_of},
        fault_sentences,
    },
    provider::Remedy,
    registry::{
        agent_state::AgentState,
        handle::AgentHandle,
        keys::TokenKey,
        problem::{Problem, ProblemCause, ProblemCode},
        snapshot::{AgentSnapshot, CapabilityStatus, CredentialView, IssuedToken},
        state::SharedRegistry,
        time::BrokerClock,
    },
    renewal::{
        outcome::{Refused, Renewed},
        parts::Renewing,
        publisher::{Publisher, living},
        scheduler::Renewals,
        services::Services,
        single_flight::SingleFlight,
    },
    secret::shape::redacted,
    text,
};

/// How long an asker waits for a fresher token while the one at hand still works.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an asker waits for a token while there is none.
pub(in crate::broker) const COLD_PATIENCE: Duration = Duration::from_secs(60);
/// After a first failure, the second try is waited for where it is due by then.
const SECOND_TRY: Duration = Duration::from_secs(3);

/// What an asker has meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum Meanwhile {
    /// A token that will do.
    Served,
    /// None, or one that will not do.
    InNeed,
}

/// Hands out tokens to agents that ask for one.
pub struct Issuer {
    pub(super) audit: Arc<AuditWriter>,
    pub(super) clock: Arc<BrokerClock>,
    pub(super) context: Arc<PolicyContext>,
    pub(super) single_flight: Arc<SingleFlight<TokenKey, Renewed>>,
    pub(super) narrowed: Budget<AgentName>,
    pub(super) registry: Arc<SharedRegistry>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) renewals: Arc<Renewals>,
}

impl Issuer {
    /// With what it needs of the parts before it.
    pub(in crate::broker) fn new(services: &Services, renewing: &Renewing) -> Arc<Self> {
        Arc::new(Self {
            audit: services.audit.clone(),
            clock: services.clock.clone(),
            context: services.context.clone(),
            single_flight: services.single_flight.clone(),
            narrowed: Budget::new(NARROWED_TOKENS),
            registry: services.registry.clone(),
            publisher: renewing.publisher.clone(),
            renewals: renewing.renewals.clone(),
        })
    }

    /// The agent's main token, when it is fresh enough to hand out as it is: no wait, no lock, no disk.
    pub fn current(&self, agent: &AgentHandle) -> Option<TokenGrant> {
        self.current_in(agent, agent.peek().main())
    }

    /// Like [`Self::current`], of this provider; `None` for the main one.
    pub fn current_of(&self, agent: &AgentHandle, provider: Option<&ProviderId>) -> Option<TokenGrant> {
        let snapshot = agent.peek();
        self.current_in(
            agent,
            provider.map_or(Some(snapshot.main()), |provider| snapshot.credential(provider))?,
        )
    }

    fn current_in(&self, agent: &AgentHandle, view: &CredentialView) -> Option<TokenGrant> {
        let now = self.clock.uptime();
        let token = view.token.as_ref().filter(|token| token.is_fresh(now))?;
        self.audit
            .token_used(self.clock.now(), agent, token, &view.granted);
        Some(TokenGrant {
            token: token.clone(),
            capabilities: view.granted.clone(),
        })
    }

    /// A token that answers `query`, renewed first if need be.
    pub async fn token(
        self: &Arc<Self>,
        agent: &AgentHandle,
        query: &TokenRequest,
    ) -> Result<TokenGrant, Problem> {
        if query.is_plain()
            && let Some(grant) = self.current_of(agent, query.integration.as_ref())
        {
            return Ok(grant);
        }
        let answer = self.find(agent, query).await;
        match &answer {
            Ok(grant) => self
                .audit
                .token_used(self.clock.now(), agent, &grant.token, &grant.capabilities),
            Err(problem) => self
                .audit
                .token_denied(self.clock.now(), agent, &query.capabilities, problem),
        }
        answer
    }

    /// The token that the agent has of this provider, however little is left of its life: for those who cannot wait for
    /// a fresher one.
    pub fn at_hand(&self, agent: &AgentHandle, provider: &ProviderId) -> Option<TokenGrant> {
        let snapshot = agent.snapshot();
        let may_hold = matches!(
            snapshot.state,
            AgentState::Active | AgentState::ProviderUnavailable
        );
        let view = snapshot.credential(provider)?;
        let token = view.living_token(self.clock.uptime()).filter(|_| may_hold)?;
        self.audit
            .token_used(self.clock.now(), agent, token, &view.granted);
        Some(TokenGrant {
            token: token.clone(),
            capabilities: view.granted.clone(),
        })
    }

    async fn find(
        self: &Arc<Self>,
        agent: &AgentHandle,
        query: &TokenRequest,
    ) -> Result<TokenGrant, Problem> {
        let asked = self.look(agent, query)?;
        let token = match &asked.at_hand {
            Some(refused) if query.refresh => {
                let token = self.replaced(agent, &asked.key, refused).await?;
                self.long_enough(token, query.min_ttl)?
            }
            _ => self.obtain(agent, &asked, query.min_ttl).await?,
        };
        // Much may have happened while this waited: what was withdrawn meanwhile is not handed out.
        let now = self.look(agent, query)?;
        if now.key != asked.key || now.at_hand.is_none() {
            let message = "The account or the agent was changed meanwhile; ask again.".to_owned();
            return Err(Problem::new(
                ProblemCode::State(AgentState::ProviderUnavailable),
                ProblemCause::ChangedMeanwhile,
                message,
            ));
        }
        if now.capabilities.is_empty() {
            return Err(now.snapshot.problem());
        }
        self.carries(&token, &now)?;
        Ok(TokenGrant {
            token,
            capabilities: now.capabilities,
        })
    }

    /// What the agent may have now of what it asks for.
    fn look(&self, agent: &AgentHandle, query: &TokenRequest) -> Result<Asked, Problem> {
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
    fn carries(&self, token: &IssuedToken, asked: &Asked) -> Result<(), Problem> {
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

    async fn obtain(
        self: &Arc<Self>,
        agent: &AgentHandle,
        asked: &Asked,
        min_ttl: Duration,
    ) -> Result<Arc<IssuedToken>, Problem> {
        let now = self.clock.uptime();
        let Some(at_hand) = &asked.at_hand else {
            self.make_room(agent.name(), &asked.key)?;
            let token = self
                .renewed(agent, &asked.key, None, (COLD_PATIENCE, Meanwhile::InNeed))
                .await?;
            return self.long_enough(token, min_ttl);
        };
        let enough = |token: &IssuedToken| {
            token
                .remaining(self.clock.uptime())
                .is_some_and(|left| left >= min_ttl)
        };
        if at_hand.is_fresh(now) && enough(at_hand) {
            return Ok(at_hand.clone());
        }
        too_much(at_hand, min_ttl)?;
        too_soon(at_hand, min_ttl, now)?;
        let meanwhile = if enough(at_hand) {
            Meanwhile::Served
        } else {
            Meanwhile::InNeed
        };
        match self
            .renewed(agent, &asked.key, Some(at_hand.clone()), (PATIENCE, meanwhile))
            .await
        {
            Ok(token) => self.long_enough(token, min_ttl),
            // Whatever the renewal found out may have taken the token away meanwhile.
            Err(problem) => self
                .publisher
                .cached(&asked.key)
                .filter(|token| enough(token))
                .ok_or(problem),
        }
    }

    fn long_enough(&self, token: Arc<IssuedToken>, min_ttl: Duration) -> Result<Arc<IssuedToken>, Problem> {
        if token
            .remaining(self.clock.uptime())
            .is_some_and(|left| left >= min_ttl)
        {
            return Ok(token);
        }
        Err(cannot_be_met(&token, min_ttl))
    }

    /// A token newer than `seen`, unless the pause after a failure lasts or the provider takes too long.
    pub(in crate::broker) async fn renewed(
        self: &Arc<Self>,
        agent: &AgentHandle,
        key: &TokenKey,
        seen: Option<Arc<IssuedToken>>,
        (patience, meanwhile): (Duration, Meanwhile),
    ) -> Result<Arc<IssuedToken>, Problem> {
        if let Some(refused) = self.refused_for_now(key) {
            return Err(self.refusal(agent, &refused));
        }
        let asked = async {
            let first = self.renewals.renew_past(key, seen.clone()).await;
            let second = self.second_try(key).filter(|_| meanwhile == Meanwhile::InNeed);
            match second.filter(|_| first.is_err()) {
                None => first,
                Some(due) => {
                    self.clock.sleep_until(due).await;
                    match self.refused_for_now(key) {
                        Some(refused) => Err(refused),
                        None => self.renewals.renew_past(key, seen).await,
                    }
                }
            }
        };
        let Ok(renewed) = tokio::time::timeout(patience, asked).await else {
            return Err(too_long());
        };
        renewed.map_err(|refused| self.refusal(agent, &refused))
    }

    /// When the second try is due, where the first has just failed and it may pass soon: one answer that the provider is busy,
    /// or one connection that broke, costs nobody a token.
    fn second_try(&self, key: &TokenKey) -> Option<Uptime> {
        let registry = self.registry.lock();
        let last_failure = registry.tokens.get(key)?.last_failure.as_deref()?;
        let is_first =
            last_failure.failures == 1 && last_failure.kind == Remedy::Retry && !last_failure.under_way;
        let soon = self.clock.uptime().after(SECOND_TRY);
        (is_first && last_failure.retry_at <= soon).then_some(last_failure.retry_at)
    }

    /// Why nothing is tried now, while the pause after a failure lasts. Now and then one try of an account is allowed all
    /// the same, and who asks meanwhile shares it.
    fn refused_for_now(&self, key: &TokenKey) -> Option<Refused> {
        let now = self.clock.uptime();
        let mut registry = self.registry.lock();
        let last_failure = registry.tokens.get(key)?.last_failure.clone()?;
        let wait = now.until(last_failure.retry_at)?;
        let mut is_allowed = || {
            let account = registry.accounts.get_mut(&key.integration)?;
            account.tries_on_demand.count(TRIES_ON_DEMAND, now).ok()
        };
        if !last_failure.under_way && (self.single_flight.is_under_way(key) || is_allowed().is_some()) {
            return None;
        }
        Some(Refused {
            kind: last_failure.kind,
            cause: last_failure.cause,
            fault: last_failure.fault,
            retry_after: Some(wait),
        })
    }

    pub(in crate::broker) fn refusal(&self, agent: &AgentHandle, refused: &Refused) -> Problem {
        let snapshot = agent.snapshot();
        if !matches!(
            snapshot.state,
            AgentState::Active | AgentState::ProviderUnavailable
        ) {
            // The agent's state says it, as every other surface does.
            return Problem {
                retry_after: refused.retry_after,
                ..snapshot.problem()
            };
        }
        let person_can_act = matches!(refused.kind, Remedy::Reconnect | Remedy::Permission);
        Problem {
            code: ProblemCode::State(state_of(refused.kind)),
            cause: ProblemCause::Renewal(Box::new(refused.fault.clone())),
            message: fault_sentences::renewal(&self.context, &refused.fault),
            action_url: person_can_act.then(|| action_url(&self.context, &snapshot.manifest)),
            retry_after: refused.retry_after,
        }
    }
}

/// What an agent asked for, as it stands.
struct Asked {
    provider: ProviderId,
    snapshot: Arc<AgentSnapshot>,
    capabilities: Arc<[CapabilityKey]>,
    key: TokenKey,
    at_hand: Option<Arc<IssuedToken>>,
}

pub(in crate::broker) fn too_long() -> Problem {
    let message = "The provider takes too long to answer; ask again.".to_owned();
    let code = ProblemCode::State(AgentState::ProviderUnavailable);
    Problem::new(code, ProblemCause::RenewalTooSlow, message)
}
