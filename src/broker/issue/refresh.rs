//! An API refused an agent's token: it gets another one, or the reason why there is none.

use std::sync::Arc;

use super::{
    issuer::{COLD_PATIENCE, Issuer, Meanwhile, too_long},
    limits::LEAST_AGE,
};
use crate::registry::{
    handle::AgentHandle,
    keys::TokenKey,
    problem::{Problem, ProblemCause, ProblemCode},
    snapshot::IssuedToken,
};

impl Issuer {
    /// A token in place of `refused`. Everybody who uses the same one gets the new one as well, and who asks at
    /// the same time shares the request.
    pub(in crate::broker) async fn replaced(
        self: &Arc<Self>,
        agent: &AgentHandle,
        key: &TokenKey,
        refused: &Arc<IssuedToken>,
    ) -> Result<Arc<IssuedToken>, Problem> {
        // Whoever only joins a request that is under way costs nothing.
        if let Some(under_way) = self.under_way(agent, key).await {
            let token = under_way?;
            if !Arc::ptr_eq(&token, refused) {
                agent.refreshes.answered(&token);
                return Ok(token);
            }
        }
        let counted = agent.refreshes.count(self.clock.uptime());
        counted.map_err(|wait| Problem {
            retry_after: Some(wait),
            ..Problem::new(
                ProblemCode::RateLimited,
                ProblemCause::Request,
                TOO_OFTEN.to_owned(),
            )
        })?;
        self.audit.token_refused(self.clock.now(), agent, refused);
        if self.replaced_a_moment_ago(agent, key, refused) {
            agent.refreshes.answered(refused);
            return Ok(refused.clone());
        }
        if let Some(token_entry) = self.registry.lock().tokens.get_mut(key) {
            token_entry.refused_at = Some(self.clock.uptime());
        }
        let token = self
            .renewed(
                agent,
                key,
                Some(refused.clone()),
                (COLD_PATIENCE, Meanwhile::InNeed),
            )
            .await?;
        agent.refreshes.answered(&token);
        Ok(token)
    }

    /// What a renewal that is under way ends with; `None` when there is none.
    async fn under_way(
        &self,
        agent: &AgentHandle,
        key: &TokenKey,
    ) -> Option<Result<Arc<IssuedToken>, Problem>> {
        let waiter = self.single_flight.join_under_way(key);
        let Ok(result) = tokio::time::timeout(COLD_PATIENCE, waiter).await else {
            return Some(Err(too_long()));
        };
        Some(result?.map_err(|refused| self.refusal(agent, &refused)))
    }

    /// True when the token came because another agent's was refused, so recently that it is news to this one.
    fn replaced_a_moment_ago(&self, agent: &AgentHandle, key: &TokenKey, token: &Arc<IssuedToken>) -> bool {
        let refused_at = self
            .registry
            .lock()
            .tokens
            .get(key)
            .and_then(|token_entry| token_entry.refused_at);
        let age = self.clock.uptime().since(token.issued_at);
        refused_at.is_some_and(|at| at <= token.issued_at)
            && age < LEAST_AGE
            && !agent.refreshes.has_got(token)
    }
}

const TOO_OFTEN: &str = "A new token was asked for several times in a row. A token that is refused again and again \
                         lacks the permission, or the API is not enabled: see what the API's answer says.";
