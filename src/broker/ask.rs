//! An agent asks for a token.

use std::{sync::Arc, time::Duration};

use super::{
    AgentHandle, AgentSnapshot, AgentState, Broker, IssuedToken, Problem, ProblemCode, TokenGrant, TokenKey,
    TokenQuery, renewal::Refused, situation::state_of,
};
use crate::{agent::resolve, catalog::IntegrationKind, clock, id::CapabilityKey};

/// How long an asker waits for a fresher token while the one at hand still works.
const PATIENCE: Duration = Duration::from_secs(10);
/// A token is not renewed on demand more often than this.
const LEAST_AGE: Duration = Duration::from_secs(10);

impl Broker {
    /// The token that the agent has, when it is fresh enough to hand out as it is: no wait, no lock, no disk.
    pub fn current(&self, agent: &AgentHandle) -> Option<TokenGrant> {
        let snapshot = agent.peek();
        let token = snapshot
            .token
            .as_ref()
            .filter(|token| token.is_fresh(self.now()))?;
        self.recorder.token_used(agent, token, &snapshot.granted);
        Some(TokenGrant {
            token: token.clone(),
            capabilities: snapshot.granted.clone(),
        })
    }

    /// A token that answers `query`, renewed first if need be.
    pub async fn token(
        self: &Arc<Self>,
        agent: &AgentHandle,
        query: &TokenQuery,
    ) -> Result<TokenGrant, Problem> {
        if query.is_plain()
            && let Some(grant) = self.current(agent)
        {
            return Ok(grant);
        }
        let answer = self.find(agent, query).await;
        match &answer {
            Ok(grant) => self.recorder.token_used(agent, &grant.token, &grant.capabilities),
            Err(problem) => self
                .recorder
                .token_denied(self.now(), agent, &query.capabilities, problem),
        }
        answer
    }

    async fn find(self: &Arc<Self>, agent: &AgentHandle, query: &TokenQuery) -> Result<TokenGrant, Problem> {
        let snapshot = agent.snapshot();
        if query.integration != IntegrationKind::Google {
            let message = format!("The agent `{}` declares no service account.", agent.name());
            return Err(problem(ProblemCode::NotDeclared, message));
        }
        let capabilities = self.wanted(&snapshot, &query.capabilities)?;
        let key = self.key_for(&snapshot, &capabilities)?;
        let at_hand = self.cached(&key);
        let now = self.now();
        let good = |token: &IssuedToken| {
            token.is_fresh(self.now())
                && token
                    .remaining(self.now())
                    .is_some_and(|left| left >= query.min_ttl)
        };
        let token = match at_hand {
            Some(token) if good(&token) => token,
            Some(token) => {
                too_much(&token, query.min_ttl)?;
                too_soon(&token, query.min_ttl, now)?;
                self.fresher(&key, token, query.min_ttl).await?
            }
            None => self
                .renew_politely(&key)
                .await
                .map_err(|refused| self.refusal(&snapshot, refused))?,
        };
        too_much(&token, query.min_ttl)?;
        Ok(TokenGrant { token, capabilities })
    }

    /// The declared and granted capabilities that the caller wants; all of them when it names none.
    fn wanted(&self, snapshot: &AgentSnapshot, names: &[String]) -> Result<Arc<[CapabilityKey]>, Problem> {
        for name in names {
            let known = name.parse().ok().filter(|key| self.catalog().get(key).is_some());
            let Some(key) = known else {
                let hint = self
                    .catalog()
                    .suggest(name)
                    .map(|key| format!(" Did you mean `{key}`?"));
                let name: String = name.chars().take(80).flat_map(char::escape_debug).collect();
                let message = format!("There is no capability `{name}`.{}", hint.unwrap_or_default());
                return Err(problem(ProblemCode::UnknownCapability, message));
            };
            let Some(status) = snapshot.capabilities.iter().find(|status| status.key == key) else {
                let message = format!(
                    "The agent `{}` does not declare `{key}`: add it to the agent's `integrations`.",
                    snapshot.manifest.agent
                );
                return Err(problem(ProblemCode::NotDeclared, message));
            };
            if !status.granted
                && matches!(
                    snapshot.state,
                    AgentState::Active | AgentState::ProviderUnavailable
                )
            {
                return Err(Problem {
                    code: ProblemCode::State(AgentState::PermissionMissing),
                    message: format!("`{key}` has not been granted."),
                    action_url: Some(super::situation::action_url(&self.around, &snapshot.manifest)),
                    retry_after: None,
                });
            }
        }
        if names.is_empty() {
            return Ok(snapshot.granted.clone());
        }
        Ok(snapshot
            .granted
            .iter()
            .filter(|key| names.iter().any(|name| name == key.as_str()))
            .cloned()
            .collect())
    }

    fn key_for(&self, snapshot: &AgentSnapshot, capabilities: &[CapabilityKey]) -> Result<TokenKey, Problem> {
        let world = self.world();
        let key = world
            .agents
            .get(&snapshot.manifest.agent)
            .and_then(|entry| entry.key.as_ref());
        let (Some(key), false) = (key, capabilities.is_empty()) else {
            return Err(snapshot.problem());
        };
        if capabilities.len() == snapshot.granted.len() {
            return Ok(key.clone());
        }
        let account = world
            .accounts
            .get(&key.integration)
            .ok_or_else(|| snapshot.problem())?;
        let resolution = resolve(
            self.catalog(),
            &snapshot.manifest.integrations,
            &account.record.scopes,
        );
        let narrowed = resolution
            .narrow(self.catalog(), capabilities)
            .map_err(|_| snapshot.problem())?;
        Ok(TokenKey {
            integration: key.integration.clone(),
            scopes: narrowed.scopes,
        })
    }

    fn cached(&self, key: &TokenKey) -> Option<Arc<IssuedToken>> {
        let now = self.now();
        self.world()
            .slots
            .get(key)?
            .token
            .clone()
            .filter(|token| token.remaining(now).is_some())
    }

    /// A renewed token; the one at hand when there is none to be had and it has the life that was asked for.
    async fn fresher(
        self: &Arc<Self>,
        key: &TokenKey,
        at_hand: Arc<IssuedToken>,
        min_ttl: Duration,
    ) -> Result<Arc<IssuedToken>, Problem> {
        let refused = match tokio::time::timeout(PATIENCE, self.renew_politely(key)).await {
            Ok(Ok(token)) => return Ok(token),
            Ok(Err(refused)) => Some(refused),
            Err(_) => None,
        };
        // Whatever the renewal found out may have taken the token away meanwhile.
        match self
            .cached(key)
            .or(Some(at_hand))
            .and_then(|token| token.remaining(self.now()).map(|left| (left, token)))
        {
            Some((left, token)) if left >= min_ttl && self.cached(key).is_some() => Ok(token),
            _ => Err(Problem {
                code: ProblemCode::State(
                    refused
                        .as_ref()
                        .map_or(AgentState::ProviderUnavailable, |refused| state_of(refused.kind)),
                ),
                message: refused.as_ref().map_or_else(
                    || "The provider takes too long to answer; ask again.".to_owned(),
                    |refused| refused.message.clone(),
                ),
                action_url: None,
                retry_after: refused.and_then(|refused| refused.retry_after),
            }),
        }
    }

    /// Renews, unless the provider was asked in vain a moment ago.
    async fn renew_politely(self: &Arc<Self>, key: &TokenKey) -> Result<Arc<IssuedToken>, Refused> {
        let now = self.now();
        let trouble = self.world().slots.get(key).and_then(|slot| slot.trouble.clone());
        if let Some(trouble) = trouble
            && let Some(wait) = clock::remaining(now, trouble.retry_at)
        {
            return Err(Refused {
                kind: trouble.kind,
                message: trouble.message,
                retry_after: Some(wait),
            });
        }
        self.renew(key).await
    }

    fn refusal(&self, snapshot: &AgentSnapshot, refused: Refused) -> Problem {
        let person_can_act = matches!(
            refused.kind,
            crate::google::FailureKind::Reconnect | crate::google::FailureKind::Permission
        );
        Problem {
            code: ProblemCode::State(state_of(refused.kind)),
            message: refused.message,
            action_url: person_can_act
                .then(|| super::situation::action_url(&self.around, &snapshot.manifest)),
            retry_after: refused.retry_after,
        }
    }
}

/// The provider does not make tokens that live as long as was asked for.
fn too_much(token: &IssuedToken, min_ttl: Duration) -> Result<(), Problem> {
    let lifetime = clock::remaining(token.issued_at, token.expires_at).unwrap_or_default();
    if min_ttl <= lifetime {
        return Ok(());
    }
    let message = format!(
        "min_ttl={} cannot be met: the provider's tokens live {} s. Ask for less.",
        min_ttl.as_secs(),
        lifetime.as_secs()
    );
    Err(problem(ProblemCode::InvalidRequest, message))
}

/// A token that is new already is not renewed again for the sake of a few seconds.
fn too_soon(token: &IssuedToken, min_ttl: Duration, now: jiff::Timestamp) -> Result<(), Problem> {
    let age = clock::remaining(token.issued_at, now).unwrap_or_default();
    if !token.is_fresh(now) || age >= LEAST_AGE {
        return Ok(());
    }
    let wait = LEAST_AGE.saturating_sub(age);
    Err(Problem {
        code: ProblemCode::RateLimited,
        message: format!(
            "The token is {} s old and was renewed for min_ttl already; min_ttl={} would renew it on every call.",
            age.as_secs(),
            min_ttl.as_secs()
        ),
        action_url: None,
        retry_after: Some(wait),
    })
}

fn problem(code: ProblemCode, message: String) -> Problem {
    Problem {
        code,
        message,
        action_url: None,
        retry_after: None,
    }
}
