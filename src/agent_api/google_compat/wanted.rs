//! Whose tokens Google's libraries are given.

use crate::{
    broker::{AgentHandle, Broker, TokenRequest},
    id::ProviderId,
};

/// The provider whose token a library means: never one whose tokens mean nothing to Google.
pub(super) fn provider(broker: &Broker, agent: &AgentHandle) -> ProviderId {
    let snapshot = agent.peek();
    let declared = snapshot
        .for_google_libraries()
        .map(|view| view.provider().clone());
    declared.unwrap_or_else(|| broker.providers().first().id().clone())
}

/// What is asked for on a library's behalf.
pub(super) fn token(broker: &Broker, agent: &AgentHandle) -> TokenRequest {
    TokenRequest {
        integration: Some(provider(broker, agent)),
        ..TokenRequest::default()
    }
}
