//! From what is known to an agent's situation: what its accounts give it, together.

use std::sync::Arc;

use crate::{
    clock::Uptime,
    id::CapabilityKey,
    manifest::Manifest,
    policy::{
        context::{PolicyContext, action_url},
        credential_state::{Part, part},
    },
    registry::{
        agent_state::AgentState,
        keys::Keys,
        snapshot::{AgentSnapshot, CapabilityStatus},
        state::Registry,
    },
};

/// An agent's situation and the tokens it uses.
pub(crate) struct Evaluation {
    pub(crate) snapshot: AgentSnapshot,
    pub(crate) keys: Keys,
}

/// Computes an agent's situation.
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
    let mut parts: Vec<Part> = declared
        .into_iter()
        .map(|provider| part(registry, context, manifest, provider, now))
        .collect();
    let verdict = verdict(&mut parts);
    let keys = parts
        .iter_mut()
        .filter_map(|part| Some((part.view.provider().clone(), part.key.take()?)));
    let keys = keys.collect();
    let snapshot = AgentSnapshot {
        manifest: manifest.clone(),
        state: verdict.state,
        message: verdict.message,
        action_url: verdict.person_can_act.then(|| action_url(context, manifest)),
        capabilities: in_order(manifest, &parts),
        credentials: parts.into_iter().map(|part| part.view).collect(),
    };
    Evaluation { snapshot, keys }
}

/// What the parts come to.
struct Verdict {
    state: AgentState,
    message: String,
    person_can_act: bool,
}

/// What is required decides, and where it is missing or broken the agent has no token at all; what is optional takes
/// nothing from the rest. An agent that requires nothing works as long as one part does.
fn verdict(parts: &mut [Part]) -> Verdict {
    let any_required = parts.iter().any(|part| part.required);
    let works = parts.iter().any(Part::is_usable);
    let broken = |part: &Part| !part.is_usable() && if any_required { part.required } else { !works };
    if let Some(first) = parts.iter().find(|part| broken(part)) {
        let verdict = Verdict {
            state: first.state,
            person_can_act: first.person_can_act,
            message: messages(parts.iter().filter(|part| broken(part))),
        };
        for part in parts.iter_mut().filter(|part| part.is_usable()) {
            part.withhold();
            // Nobody may have it, so it is not renewed either.
            part.key = None;
        }
        return verdict;
    }
    for part in parts.iter_mut().filter(|part| !part.is_usable()) {
        part.withhold();
    }
    let is_active = |part: &Part| part.state == AgentState::Active;
    let active = if any_required {
        parts.iter().filter(|part| part.required).all(is_active)
    } else {
        parts.iter().any(is_active)
    };
    Verdict {
        state: if active {
            AgentState::Active
        } else {
            AgentState::ProviderUnavailable
        },
        person_can_act: false,
        message: messages(parts.iter()),
    }
}

fn messages<'a>(parts: impl Iterator<Item = &'a Part>) -> String {
    let messages = parts.map(|part| part.message.as_str());
    let messages: Vec<&str> = messages.filter(|message| !message.is_empty()).collect();
    messages.join(" ")
}

/// The capabilities of all parts in the manifest's order.
fn in_order(manifest: &Manifest, parts: &[Part]) -> Arc<[CapabilityStatus]> {
    let all = || parts.iter().flat_map(|part| &part.statuses);
    let of = |key: &CapabilityKey| all().find(|status| status.key == *key);
    manifest
        .integrations
        .iter()
        .filter_map(|r| of(&r.key))
        .cloned()
        .collect()
}
