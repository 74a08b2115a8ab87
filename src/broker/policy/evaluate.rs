//! From what is known to an agent's situation: what its accounts give it, together.

use std::sync::Arc;

use super::{
    context::{PolicyContext, action_url},
    credential_state::{Part, part},
};
use crate::{
    agent::Manifest,
    broker::{
        registry::{keys::Keys, state::Registry},
        snapshot::{AgentSnapshot, CapabilityStatus},
        state::AgentState,
    },
    catalog::IntegrationKind,
    clock::Uptime,
    id::CapabilityKey,
};

/// An agent's situation and the tokens it uses.
pub(in crate::broker) struct Evaluation {
    pub(in crate::broker) snapshot: AgentSnapshot,
    pub(in crate::broker) keys: Keys,
}

/// Computes an agent's situation.
pub(in crate::broker) fn situation(
    registry: &Registry,
    context: &PolicyContext,
    manifest: &Arc<Manifest>,
    now: Uptime,
) -> Evaluation {
    use IntegrationKind::{Google, GoogleServiceAccount};

    let of = |kind| part(registry, context, manifest, kind, now);
    let mut parts = match (
        context.declares(manifest, Google),
        context.declares(manifest, GoogleServiceAccount),
    ) {
        (_, false) => vec![of(Google)],
        (false, true) => vec![of(GoogleServiceAccount)],
        (true, true) => vec![of(Google), of(GoogleServiceAccount)],
    };
    let verdict = verdict(&mut parts);
    let mut keys = Keys::default();
    for part in &mut parts {
        keys.set(part.feed.kind, part.key.take());
    }
    let capabilities = in_order(manifest, &parts);
    let mut feeds = parts.into_iter().map(|part| part.feed);
    let main = feeds.next().expect("each of the cases above has a part");
    let snapshot = AgentSnapshot {
        manifest: manifest.clone(),
        state: verdict.state,
        message: verdict.message,
        action_url: verdict.person_can_act.then(|| action_url(context, manifest)),
        capabilities,
        main,
        beside: feeds.next().map(Box::new),
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

/// True when the two say the same, so that nobody has to be told.
pub(in crate::broker) fn same(a: &AgentSnapshot, b: &AgentSnapshot) -> bool {
    let same_beside = match (&a.beside, &b.beside) {
        (Some(a), Some(b)) => a.is(b),
        (None, None) => true,
        _ => false,
    };
    same_beside
        && a.main.is(&b.main)
        && a.state == b.state
        && a.message == b.message
        && a.action_url == b.action_url
        && a.capabilities == b.capabilities
        && (Arc::ptr_eq(&a.manifest, &b.manifest) || a.manifest == b.manifest)
}
