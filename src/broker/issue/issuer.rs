//! An agent asks for a token.

use std::{sync::Arc, time::Duration};

use super::{
    limits::{cannot_be_met, too_much, too_soon},
    request::{Asked, TokenGrant, TokenRequest},
};
use crate::{
    audit::audit_writer::AuditWriter,
    budget::{
        Budget,
        table::{NARROWED_TOKENS, TRIES_ON_DEMAND},
    },
    clock::Uptime,
    id::{AgentName, ProviderId},
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
        snapshot::{CredentialView, IssuedToken},
        state::SharedRegistry,
        time::BrokerClock,
    },
    renewal::{
        outcome::{Refused, Renewed},
        parts::Renewing,
        publisher::Publisher,
        scheduler::Renewals,
        services::Services,
        single_flight::SingleFlight,
    },
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
        self.current_at(agent, self.clock.uptime())
    }

    /// Like [`Self::current`], for somebody who knows the present uptime.
    pub(crate) fn current_at(&self, agent: &AgentHandle, now: Uptime) -> Option<TokenGrant> {
        self.current_in(agent, agent.peek().main(), now)
    }

    /// Like [`Self::current`], of this provider; `None` for the main one.
    pub fn current_of(&self, agent: &AgentHandle, provider: Option<&ProviderId>) -> Option<TokenGrant> {
        let snapshot = agent.peek();
        let view = provider.map_or(Some(snapshot.main()), |provider| snapshot.credential(provider))?;
        self.current_in(agent, view, self.clock.uptime())
    }

    fn current_in(&self, agent: &AgentHandle, view: &CredentialView, now: Uptime) -> Option<TokenGrant> {
        let token = view.token.as_ref().filter(|token| token.is_fresh(now))?;
        self.audit.token_used(now, agent, token, &view.granted);
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
                .token_used(self.clock.uptime(), agent, &grant.token, &grant.capabilities),
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
        let now = self.clock.uptime();
        let token = view.living_token(now).filter(|_| may_hold)?;
        self.audit.token_used(now, agent, token, &view.granted);
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

pub(in crate::broker) fn too_long() -> Problem {
    let message = "The provider takes too long to answer; ask again.".to_owned();
    let code = ProblemCode::State(AgentState::ProviderUnavailable);
    Problem::new(code, ProblemCause::RenewalTooSlow, message)
}
