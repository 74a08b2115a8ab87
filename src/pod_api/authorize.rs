//! Lets a pod's request in: whose token, which agent, and whether the one is given to the other.

use std::sync::Arc;

use http::{HeaderMap, header};

use crate::{
    agent_api::{
        audit_dedup::AuditDedup,
        endpoint::Server,
        named::agent_name,
        refusal::{Reason, Refusal},
    },
    budget::{Peer, Refusals},
    clock::Uptime,
    id::AgentName,
    kubernetes::{Proven, ReviewError},
    pod_api::{
        caller::{Caller, PodPlaces},
        pass::Pass,
        token_review_cache::{Proof, Question, TokenReviewCache},
    },
    secret::AccessToken,
};

/// What all connections share.
pub(super) struct Authorizer {
    pub(super) server: Arc<Server>,
    pub(super) reviews: TokenReviewCache,
    pub(super) dedup: AuditDedup,
    pub(super) places: PodPlaces,
    pub(super) busy: Refusals,
}

/// A request that is to be judged. No `Debug`: it holds a token.
pub(super) struct Asked {
    name: AgentName,
    token: AccessToken,
    question: Question,
}

impl Authorizer {
    /// Takes in whose token it is and for which agent. What there is no room for is refused at once.
    pub(super) fn ask(&self, headers: &mut HeaderMap, caller: &Arc<Caller>) -> Result<Asked, Refusal> {
        let bytes = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len());
        let bytes = bytes.sum();
        let name = agent_name(headers)?;
        let token = bearer(headers).inspect_err(|refusal| self.note_unproven(refusal, caller.from()))?;
        let question = self.reviews.ask(&token, caller, bytes).ok_or_else(|| {
            self.busy.count(caller.from());
            Refusal::busy()
        })?;
        Ok(Asked {
            name,
            token,
            question,
        })
    }

    /// Who asks, and whether they may.
    pub(super) async fn admit(&self, asked: Asked, caller: &Caller) -> Result<Pass, Refusal> {
        let Asked {
            name,
            token,
            question,
        } = asked;
        let from = caller.from();
        let proof = self.prove(&name, &token, question).await;
        let proof = proof.inspect_err(|refusal| self.note_unproven(refusal, from))?;
        let (proven, until) = (proof.proven, proof.until);
        let pass = self.pass(&name, token, &proven, until);
        let broker = &self.server.broker;
        match &pass {
            Ok(pass) => {
                caller.let_in(&proven, &self.places).map_err(|_| {
                    Refusal::too_many(format!(
                        "A pod that runs as {} has as many connections as one may: close some.",
                        proven.identity
                    ))
                })?;
                self.reviews.note_let_in(&pass.token);
                let pod = proven.pod_uid.as_deref().unwrap_or("of no pod");
                // With another owner it is another agent.
                let owner = pass.agent.peek().manifest.owner.clone();
                let about = [name.as_str(), owner.as_str(), &proven.identity.to_string(), pod];
                if self.dedup.is_news(&about) {
                    let identity = &proven.identity;
                    let detail = format!("to a pod that runs as {identity} (uid {pod}), at {from}");
                    broker.journal.note_remote(&name, &detail);
                }
            }
            Err(refusal) if refusal.reason == Reason::Unverified => {}
            Err(refusal) => {
                let detail = format!("to a client at {from}: {}", refusal.diagnosis());
                broker
                    .journal
                    .note_remote_refused(&name, &proven.identity, &detail);
            }
        }
        pass
    }

    /// What nobody could judge is not refused, and not told.
    fn note_unproven(&self, refusal: &Refusal, from: Peer) {
        if refusal.reason == Reason::Unproven {
            self.server
                .broker
                .journal
                .note_remote_unproven(Some(from), &refusal.diagnosis());
        }
    }

    async fn prove(
        &self,
        name: &AgentName,
        token: &AccessToken,
        question: Question,
    ) -> Result<Proof, Refusal> {
        self.reviews
            .prove(token, question)
            .await
            .map_err(|error| match error {
                ReviewError::Refused(reason) => Refusal::new(
                    Reason::Unproven,
                    format!("The pod's token does not prove who asks for the agent {name}: {reason}."),
                ),
                ReviewError::Unavailable(what) => Refusal::new(
                    Reason::Unverified,
                    format!(
                        "Nobody can say whether the pod's token is genuine: {what}. Ask again in a moment."
                    ),
                ),
            })
    }

    /// Only who has proven something learns which agents there are.
    fn pass(
        &self,
        name: &AgentName,
        token: AccessToken,
        pod: &Arc<Proven>,
        until: Uptime,
    ) -> Result<Pass, Refusal> {
        let identity = &pod.identity;
        let agent = self.server.broker.agent_list.handle(name).ok_or_else(|| {
            if self.server.broker.agent_list.is_arriving(name) {
                let detail = format!("The agent {name} is being given to another holder. Ask again in a moment.");
                return Refusal::new(Reason::Unverified, detail);
            }
            let detail = format!(
                "The broker knows no agent {name}, for which a pod that runs as {identity} asks: add its manifest, or \
                 correct the sidecar's --agent."
            );
            Refusal::new(Reason::UnknownAgent, detail)
        })?;
        let pass = Pass {
            agent,
            pod: Arc::clone(pod),
            token,
            until,
        };
        pass.check()?;
        Ok(pass)
    }
}

/// Takes the pod's token out of the headers (RFC 6750, section 2.1).
fn bearer(headers: &mut HeaderMap) -> Result<AccessToken, Refusal> {
    let value = headers.remove(header::AUTHORIZATION);
    let token = value.as_ref().and_then(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| AccessToken::from(token.trim()))
    });
    token.filter(|token| !token.expose().is_empty()).ok_or_else(|| {
        let detail =
            "The header Authorization has to hold the pod's projected service-account token: `Bearer TOKEN`.";
        Refusal::new(Reason::Unproven, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent_api::named::AGENT;

    #[test]
    fn what_is_no_bearer_token_or_agent_is_refused_without_being_repeated() {
        for wrong in ["", "Bearer", "Bearer ", "Basic canary"] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, wrong.parse().unwrap());
            let refused = bearer(&mut headers).err().unwrap();
            assert_eq!(refused.reason, Reason::Unproven);
            assert!(!refused.sentence().contains("canary"));
        }
        let mut headers = HeaderMap::new();
        assert!(bearer(&mut headers).is_err() && agent_name(&headers).is_err());
        headers.insert(header::AUTHORIZATION, "bearer a.b".parse().unwrap());
        assert_eq!(bearer(&mut headers).unwrap().expose(), "a.b");
        assert!(headers.is_empty(), "nobody else sees it");
        headers.insert(AGENT, "no/agent".parse().unwrap());
        assert!(agent_name(&headers).is_err());
    }
}
