//! A pod's request that was let in.

use std::sync::Arc;

use crate::{
    agent_api::refusal::{Reason, Refusal},
    broker::AgentHandle,
    clock::Uptime,
    kubernetes::{Proven, permit},
    secret::AccessToken,
};

/// A request that may pass. No `Debug`: it holds a token.
pub(super) struct Pass {
    pub(super) agent: Arc<AgentHandle>,
    pub(super) pod: Arc<Proven>,
    pub(super) token: AccessToken,
    /// When the pod has to be proven again.
    pub(super) until: Uptime,
}

impl Pass {
    /// Whether the agent is given to the pod, as its manifest is now.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let identity = &self.pod.identity;
        permit(
            &self.agent.peek().manifest,
            identity,
            &format!("a pod that runs as {identity}"),
        )
        .map_err(|sentence| Refusal::new(Reason::WrongPod, as_sentence(&sentence)))
    }
}

/// With a capital letter and a full stop, as the other refusals are.
fn as_sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}
