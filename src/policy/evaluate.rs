//! From what is known to an agent's snapshot: what its accounts give it, together.

use std::sync::Arc;

use crate::{
    clock::Uptime,
    id::CapabilityKey,
    manifest::Manifest,
    policy::{
        context::{PolicyContext, action_url},
        credential_state::{CredentialState, credential_state},
    },
    registry::{
        agent_state::AgentState,
        keys::Keys,
        snapshot::{AgentSnapshot, AwaitedConsent, CapabilityStatus},
        state::Registry,
    },
};

/// An agent's snapshot and the tokens it uses.
pub(crate) struct Evaluation {
    pub(crate) snapshot: AgentSnapshot,
    pub(crate) keys: Keys,
}

/// Computes an agent's snapshot.
pub(crate) fn evaluate(
    registry: &Registry,
    context: &PolicyContext,
    manifest: &Arc<Manifest>,
    now: Uptime,
) -> Evaluation {
    let mut declared = context.declared_by(manifest);
    if declared.is_empty() {
        // Somebody has to say that there is nothing to have a token for.
        declared.push(context.providers.first());
    }
    let mut states: Vec<CredentialState> = declared
        .into_iter()
        .map(|provider| credential_state(registry, context, manifest, provider, now))
        .collect();
    let verdict = verdict(&mut states);
    let keys = states
        .iter_mut()
        .filter_map(|state| Some((state.view.provider().clone(), state.key.take()?)));
    let keys = keys.collect();
    let snapshot = AgentSnapshot {
        manifest: manifest.clone(),
        state: verdict.state,
        message: verdict.message,
        action_url: verdict.person_can_act.then(|| action_url(context, manifest)),
        awaited: verdict.awaited,
        capabilities: in_order(manifest, &states),
        credentials: states.into_iter().map(|state| state.view).collect(),
    };
    Evaluation { snapshot, keys }
}

/// What the states come to.
struct Verdict {
    state: AgentState,
    message: String,
    /// Somebody can mend one of those that are broken.
    person_can_act: bool,
    awaited: Box<[AwaitedConsent]>,
}

/// What is required decides, and where it is missing or broken the agent has no token at all; what is optional takes
/// nothing from the rest. An agent that requires nothing works as long as one of them does.
fn verdict(states: &mut [CredentialState]) -> Verdict {
    let any_required = states.iter().any(|state| state.required);
    let works = states.iter().any(CredentialState::is_usable);
    let broken =
        |state: &CredentialState| !state.is_usable() && if any_required { state.required } else { !works };
    if let Some(first) = states.iter().find(|state| broken(state)) {
        let verdict = Verdict {
            state: first.state,
            person_can_act: states.iter().any(|state| broken(state) && state.person_can_act),
            message: messages(states.iter().filter(|state| broken(state))),
            awaited: states
                .iter()
                .filter(|state| broken(state))
                .filter_map(CredentialState::awaited_consent)
                .collect(),
        };
        for state in states.iter_mut().filter(|state| state.is_usable()) {
            state.withhold();
            // Nobody may have it, so it is not renewed either.
            state.key = None;
            state.view.is_expected = false;
        }
        return verdict;
    }
    for state in states.iter_mut().filter(|state| !state.is_usable()) {
        state.withhold();
    }
    let is_active = |state: &CredentialState| state.state == AgentState::Active;
    let active = if any_required {
        states.iter().filter(|state| state.required).all(is_active)
    } else {
        states.iter().any(is_active)
    };
    Verdict {
        state: if active {
            AgentState::Active
        } else {
            AgentState::ProviderUnavailable
        },
        person_can_act: false,
        awaited: Box::default(),
        message: messages(states.iter()),
    }
}

fn messages<'a>(states: impl Iterator<Item = &'a CredentialState>) -> String {
    let messages = states.map(|state| state.message.as_str());
    let messages: Vec<&str> = messages.filter(|message| !message.is_empty()).collect();
    messages.join(" ")
}

/// The capabilities of all states in the manifest's order.
fn in_order(manifest: &Manifest, states: &[CredentialState]) -> Arc<[CapabilityStatus]> {
    let all = || states.iter().flat_map(|state| &state.statuses);
    let of = |key: &CapabilityKey| all().find(|status| status.key == *key);
    manifest
        .integrations
        .iter()
        .filter_map(|r| of(&r.key))
        .cloned()
        .collect()
}
