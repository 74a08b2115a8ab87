//! An agent asks for a token.

use std::{sync::Arc, time::Duration};

use super::{
    AgentHandle, AgentSnapshot, AgentState, Broker, CapabilityStatus, Feed, IssuedToken, Problem,
    ProblemCode, TokenGrant, TokenKey, TokenQuery, World,
    limits::{cannot_be_met, too_much, too_soon},
    renewal::Refused,
    situation::{action_url, state_of},
};
use crate::{
    agent::resolve,
    budget::table::TRIES_ON_DEMAND,
    catalog::IntegrationKind,
    clock::Uptime,
    google::FailureKind,
    id::{AgentName, CapabilityKey},
    secret::shape::redacted,
    text,
};

/// How long an asker waits for a fresher token while the one at hand still works.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an asker waits for a token while there is none.
pub(super) const COLD_PATIENCE: Duration = Duration::from_secs(60);
/// After a first failure, the second try is waited for where it is due by then.
const SECOND_TRY: Duration = Duration::from_secs(3);

/// What an asker has meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meanwhile {
    /// A token that will do.
    Served,
    /// None, or one that will not do.
    InNeed,
}

impl Broker {
    /// The agent's main token, when it is fresh enough to hand out as it is: no wait, no lock, no disk.
    pub fn current(&self, agent: &AgentHandle) -> Option<TokenGrant> {
        self.current_in(agent, &agent.peek().main)
    }

    /// Like [`Self::current`], of the account of this kind; `None` for the main one.
    pub fn current_of(&self, agent: &AgentHandle, kind: Option<IntegrationKind>) -> Option<TokenGrant> {
        let snapshot = agent.peek();
        self.current_in(
            agent,
            kind.map_or(Some(&snapshot.main), |kind| snapshot.feed(kind))?,
        )
    }

    fn current_in(&self, agent: &AgentHandle, feed: &Feed) -> Option<TokenGrant> {
        let now = self.uptime();
        let token = feed.token.as_ref().filter(|token| token.is_fresh(now))?;
        self.recorder.token_used(self.now(), agent, token, &feed.granted);
        Some(TokenGrant {
            token: token.clone(),
            capabilities: feed.granted.clone(),
        })
    }

    /// A token that answers `query`, renewed first if need be.
    pub async fn token(
        self: &Arc<Self>,
        agent: &AgentHandle,
        query: &TokenQuery,
    ) -> Result<TokenGrant, Problem> {
        if query.is_plain()
            && let Some(grant) = self.current_of(agent, query.integration)
        {
            return Ok(grant);
        }
        let answer = self.find(agent, query).await;
        match &answer {
            Ok(grant) => self
                .recorder
                .token_used(self.now(), agent, &grant.token, &grant.capabilities),
            Err(problem) => self
                .recorder
                .token_denied(self.now(), agent, &query.capabilities, problem),
        }
        answer
    }

    /// The token that the agent has, however little is left of its life: for those who cannot wait for a fresher
    /// one.
    pub fn at_hand(&self, agent: &AgentHandle) -> Option<TokenGrant> {
        let snapshot = agent.snapshot();
        let may_hold = matches!(
            snapshot.state,
            AgentState::Active | AgentState::ProviderUnavailable
        );
        let token = snapshot.living_token(self.uptime()).filter(|_| may_hold)?;
        self.recorder
            .token_used(self.now(), agent, token, &snapshot.main.granted);
        Some(TokenGrant {
            token: token.clone(),
            capabilities: snapshot.main.granted.clone(),
        })
    }

    async fn find(self: &Arc<Self>, agent: &AgentHandle, query: &TokenQuery) -> Result<TokenGrant, Problem> {
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
            return Err(problem(
                ProblemCode::State(AgentState::ProviderUnavailable),
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
    fn look(&self, agent: &AgentHandle, query: &TokenQuery) -> Result<Asked, Problem> {
        // Under the one lock, so that manifest, grant and token belong together.
        let world = self.world();
        // An agent that was removed has no token, also where another has its name by now.
        let entry = world
            .agents
            .get(agent.name())
            .filter(|entry| std::ptr::eq(&raw const *entry.handle, agent));
        let snapshot = agent.snapshot();
        let Some(entry) = entry else {
            return Err(snapshot.problem());
        };
        let feed = self.feed_for(&snapshot, query)?;
        let capabilities = self.wanted(&snapshot, feed, &query.capabilities)?;
        let Some(key) = entry.keys.of(feed.kind) else {
            return Err(snapshot.problem());
        };
        if capabilities.is_empty() {
            // Nothing is served by a token that the provider gave less with than was asked for: it may be replaced.
            let narrower =
                living(&world, key, self.uptime()).is_some_and(|token| token.is_narrower_than(&key.scopes));
            if !(query.refresh && narrower) {
                return Err(snapshot.problem());
            }
        }
        let key = if capabilities.len() == feed.granted.len() {
            key.clone()
        } else {
            let account = world
                .accounts
                .get(&key.integration)
                .ok_or_else(|| snapshot.problem())?;
            let resolution = resolve(
                feed.kind,
                self.catalog(),
                &snapshot.manifest.integrations,
                &account.record.scopes,
            );
            let narrowed = resolution
                .narrow(self.catalog(), &capabilities)
                .map_err(|_| snapshot.problem())?;
            TokenKey {
                integration: key.integration.clone(),
                scopes: narrowed.scopes,
            }
        };
        let at_hand = living(&world, &key, self.uptime());
        Ok(Asked {
            kind: feed.kind,
            snapshot: snapshot.clone(),
            capabilities,
            key,
            at_hand,
        })
    }

    /// Which of its accounts the agent asks about: the one it names, or that of the capabilities, or its main one.
    fn feed_for<'a>(&self, snapshot: &'a AgentSnapshot, query: &TokenQuery) -> Result<&'a Feed, Problem> {
        let declared = |name: &String| {
            snapshot
                .capabilities
                .iter()
                .find(|status| status.key.as_str() == name)
        };
        let of_capability = || query.capabilities.iter().find_map(declared);
        let of_capability = || Some(self.catalog().kind_of(&of_capability()?.key));
        let kind = query
            .integration
            .or_else(of_capability)
            .unwrap_or(snapshot.main.kind);
        snapshot
            .feed(kind)
            .ok_or_else(|| Self::not_declared(&snapshot.manifest.agent, kind))
    }

    /// What an agent is told that asks about a kind of account that it declares nothing of.
    pub fn not_declared(agent: &AgentName, kind: IntegrationKind) -> Problem {
        let lacking = match kind {
            IntegrationKind::Google => "a person's account",
            IntegrationKind::GoogleServiceAccount => "a service account, such as `google.sa`",
        };
        let message = format!("The agent `{agent}` declares no capability of {lacking}.");
        problem(ProblemCode::NotDeclared, message)
    }

    /// The declared and granted capabilities that the caller wants; all of them when it names none.
    fn wanted(
        &self,
        snapshot: &AgentSnapshot,
        feed: &Feed,
        names: &[String],
    ) -> Result<Arc<[CapabilityKey]>, Problem> {
        for name in names {
            let known = name.parse().ok().filter(|key| self.catalog().get(key).is_some());
            let Some(key) = known else {
                let hint = self
                    .catalog()
                    .suggest(name)
                    .map(|key| format!(" Did you mean `{key}`?"));
                // A token in the wrong place goes no further.
                let name = redacted(name);
                let name = text::quoted(&name, 80);
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
            if self.catalog().kind_of(&key) != feed.kind {
                let message = format!(
                    "`{key}` is exercised with the integration `{}`, not with `{}`: a token is of one account, so ask \
                     for the two apart.",
                    self.catalog().kind_of(&key).as_str(),
                    feed.kind.as_str()
                );
                return Err(problem(ProblemCode::InvalidRequest, message));
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
            return Ok(feed.granted.clone());
        }
        Ok(feed
            .granted
            .iter()
            .filter(|key| names.iter().any(|name| name == key.as_str()))
            .cloned()
            .collect())
    }

    fn not_granted(&self, snapshot: &AgentSnapshot, key: &CapabilityKey) -> Problem {
        let declined = |status: &CapabilityStatus| status.key == *key && status.declined;
        let message = if snapshot.capabilities.iter().any(declined) {
            format!("`{key}` was asked for and has not been granted.")
        } else {
            format!("`{key}` has not been granted.")
        };
        let of_person = self.catalog().kind_of(key) == IntegrationKind::Google;
        Problem {
            code: ProblemCode::State(AgentState::PermissionMissing),
            message,
            action_url: of_person.then(|| action_url(&self.around, &snapshot.manifest)),
            retry_after: None,
        }
    }

    /// The provider's answer is the truth: a token is not said to serve what it does not carry.
    fn carries(&self, token: &IssuedToken, asked: &Asked) -> Result<(), Problem> {
        if asked.key.scopes.is_subset(&token.scopes) {
            return Ok(());
        }
        let carried = resolve(
            asked.kind,
            self.catalog(),
            &asked.snapshot.manifest.integrations,
            &token.scopes,
        );
        let lacks = |key: &&CapabilityKey| !carried.granted().any(|granted| granted == *key);
        match asked.capabilities.iter().find(lacks) {
            Some(key) => Err(self.not_granted(&asked.snapshot, key)),
            None => Ok(()),
        }
    }

    /// The token that works now.
    pub(super) fn cached(&self, key: &TokenKey) -> Option<Arc<IssuedToken>> {
        living(&self.world(), key, self.uptime())
    }

    async fn obtain(
        self: &Arc<Self>,
        agent: &AgentHandle,
        asked: &Asked,
        min_ttl: Duration,
    ) -> Result<Arc<IssuedToken>, Problem> {
        let now = self.uptime();
        let Some(at_hand) = &asked.at_hand else {
            self.make_room(agent.name(), &asked.key)?;
            let token = self
                .renewed(agent, &asked.key, None, (COLD_PATIENCE, Meanwhile::InNeed))
                .await?;
            return self.long_enough(token, min_ttl);
        };
        let enough = |token: &IssuedToken| token.remaining(self.uptime()).is_some_and(|left| left >= min_ttl);
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
                .cached(&asked.key)
                .filter(|token| enough(token))
                .ok_or(problem),
        }
    }

    fn long_enough(&self, token: Arc<IssuedToken>, min_ttl: Duration) -> Result<Arc<IssuedToken>, Problem> {
        if token.remaining(self.uptime()).is_some_and(|left| left >= min_ttl) {
            return Ok(token);
        }
        Err(cannot_be_met(&token, min_ttl))
    }

    /// A token newer than `seen`, unless the pause after a failure lasts or the provider takes too long.
    pub(super) async fn renewed(
        self: &Arc<Self>,
        agent: &AgentHandle,
        key: &TokenKey,
        seen: Option<Arc<IssuedToken>>,
        (patience, meanwhile): (Duration, Meanwhile),
    ) -> Result<Arc<IssuedToken>, Problem> {
        if let Some(refused) = self.refused_for_now(key) {
            return Err(self.refusal(agent, refused));
        }
        let asked = async {
            let first = self.renew_past(key, seen.clone()).await;
            let second = self.second_try(key).filter(|_| meanwhile == Meanwhile::InNeed);
            match second.filter(|_| first.is_err()) {
                None => first,
                Some(due) => {
                    self.clock.sleep_until(due).await;
                    match self.refused_for_now(key) {
                        Some(refused) => Err(refused),
                        None => self.renew_past(key, seen).await,
                    }
                }
            }
        };
        let Ok(renewed) = tokio::time::timeout(patience, asked).await else {
            return Err(too_long());
        };
        renewed.map_err(|refused| self.refusal(agent, refused))
    }

    /// When the second try is due, where the first has just failed and it may pass soon: one answer that the provider is busy,
    /// or one connection that broke, costs nobody a token.
    fn second_try(&self, key: &TokenKey) -> Option<Uptime> {
        let world = self.world();
        let trouble = world.slots.get(key)?.trouble.as_deref()?;
        let is_first = trouble.failures == 1 && trouble.kind == FailureKind::Retry && !trouble.under_way;
        let soon = self.uptime().after(SECOND_TRY);
        (is_first && trouble.retry_at <= soon).then_some(trouble.retry_at)
    }

    /// Why nothing is tried now, while the pause after a failure lasts. Now and then one try of an account is allowed all
    /// the same, and who asks meanwhile shares it.
    fn refused_for_now(&self, key: &TokenKey) -> Option<Refused> {
        let now = self.uptime();
        let mut world = self.world();
        let trouble = world.slots.get(key)?.trouble.clone()?;
        let wait = now.until(trouble.retry_at)?;
        let mut is_allowed = || {
            let account = world.accounts.get_mut(&key.integration)?;
            account.tries_on_demand.count(TRIES_ON_DEMAND, now).ok()
        };
        if !trouble.under_way && (self.flights.is_under_way(key) || is_allowed().is_some()) {
            return None;
        }
        Some(Refused {
            kind: trouble.kind,
            cause: trouble.cause,
            message: trouble.message,
            retry_after: Some(wait),
        })
    }

    pub(super) fn refusal(&self, agent: &AgentHandle, refused: Refused) -> Problem {
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
        let person_can_act = matches!(refused.kind, FailureKind::Reconnect | FailureKind::Permission);
        Problem {
            code: ProblemCode::State(state_of(refused.kind)),
            message: refused.message,
            action_url: person_can_act.then(|| action_url(&self.around, &snapshot.manifest)),
            retry_after: refused.retry_after,
        }
    }
}

/// What an agent asked for, as it stands.
struct Asked {
    kind: IntegrationKind,
    snapshot: Arc<AgentSnapshot>,
    capabilities: Arc<[CapabilityKey]>,
    key: TokenKey,
    at_hand: Option<Arc<IssuedToken>>,
}

fn living(world: &World, key: &TokenKey, now: Uptime) -> Option<Arc<IssuedToken>> {
    world
        .slots
        .get(key)?
        .token
        .clone()
        .filter(|token| token.remaining(now).is_some())
}

pub(super) fn too_long() -> Problem {
    let message = "The provider takes too long to answer; ask again.".to_owned();
    problem(ProblemCode::State(AgentState::ProviderUnavailable), message)
}

pub(super) fn problem(code: ProblemCode, message: String) -> Problem {
    Problem {
        code,
        message,
        action_url: None,
        retry_after: None,
    }
}
