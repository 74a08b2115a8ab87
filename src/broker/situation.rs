//! From what is known to an agent's situation: what its accounts give it, together.

use std::sync::Arc;

use super::{
    part::{Part, part},
    snapshot::{AgentSnapshot, AgentState, CapabilityStatus},
    world::{Account, Keys, World},
};
use crate::{
    agent::Manifest,
    catalog::{Catalog, IntegrationKind},
    clock::Uptime,
    google::FailureKind,
    id::CapabilityKey,
    store::Health,
};

/// What does not change while the daemon runs.
pub(super) struct Surroundings {
    pub(super) catalog: Arc<Catalog>,
    /// Where people reach the daemon, without a slash at the end.
    pub(super) public_url: String,
    /// The client and endpoint that people's grants must belong to.
    pub(super) authority: Arc<str>,
    /// The endpoint that service accounts' keys must belong to.
    pub(super) token_endpoint: Arc<str>,
}

impl Surroundings {
    /// What an account of this kind must belong to: it is never sent elsewhere.
    pub(super) fn authority_of(&self, kind: IntegrationKind) -> &Arc<str> {
        match kind {
            IntegrationKind::Google => &self.authority,
            IntegrationKind::GoogleServiceAccount => &self.token_endpoint,
        }
    }

    /// True when the agent declares something of this kind of account.
    pub(super) fn declares(&self, manifest: &Manifest, kind: IntegrationKind) -> bool {
        manifest
            .integrations
            .iter()
            .any(|requirement| self.catalog.kind_of(&requirement.key) == kind)
    }
}

/// An agent's situation and the tokens it uses.
pub(super) struct Situation {
    pub(super) snapshot: AgentSnapshot,
    pub(super) keys: Keys,
}

/// Computes an agent's situation.
pub(super) fn situation(
    world: &World,
    around: &Surroundings,
    manifest: &Arc<Manifest>,
    now: Uptime,
) -> Situation {
    use IntegrationKind::{Google, GoogleServiceAccount};

    let of = |kind| part(world, around, manifest, kind, now);
    let mut parts = match (
        around.declares(manifest, Google),
        around.declares(manifest, GoogleServiceAccount),
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
        action_url: verdict.person_can_act.then(|| action_url(around, manifest)),
        capabilities,
        main,
        beside: feeds.next().map(Box::new),
    };
    Situation { snapshot, keys }
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

/// The page that says what is missing and how the owner adds it.
pub(super) fn action_url(around: &Surroundings, manifest: &Manifest) -> String {
    format!("{}/agents/{}", around.public_url, manifest.agent)
}

/// Why the account as a whole cannot be used.
pub(super) fn refused(around: &Surroundings, account: &Account) -> Option<(AgentState, String)> {
    let record = &account.record;
    let configured = around.authority_of(record.kind);
    if record.authority != *configured {
        let (what, remedy) = match record.kind {
            IntegrationKind::Google => (
                "grant",
                "configure that client again, or disconnect the account and connect it anew",
            ),
            IntegrationKind::GoogleServiceAccount => (
                "key",
                "configure that endpoint again, or disconnect the account and add another key",
            ),
        };
        let message = format!(
            "The {what} of {} belongs to {}, but the daemon is configured for {configured}: {remedy}.",
            record.account, record.authority
        );
        return Some((AgentState::Misconfigured, message));
    }
    state_of_health(&record.health).map(|(state, why)| (state, why.to_owned()))
}

/// The state that a grant's health leads to, and why; `None` when it works.
pub(super) fn state_of_health(health: &Health) -> Option<(AgentState, &str)> {
    match health {
        Health::Active => None,
        Health::ReconnectRequired(why) => Some((AgentState::ReconnectRequired, why)),
        Health::Revoked(why) | Health::Disabled(why) => Some((AgentState::Revoked, why)),
        Health::Misconfigured(why) => Some((AgentState::Misconfigured, why)),
    }
}

/// Keys as a sentence lists them.
pub(super) fn list(keys: &[CapabilityKey]) -> String {
    keys.iter()
        .map(CapabilityKey::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The state that a failure leads to when there is no fresh token.
pub(crate) fn state_of(kind: FailureKind) -> AgentState {
    match kind {
        FailureKind::Retry => AgentState::ProviderUnavailable,
        FailureKind::Reconnect => AgentState::ReconnectRequired,
        FailureKind::Operator => AgentState::Misconfigured,
        FailureKind::Permission => AgentState::PermissionMissing,
    }
}

/// True when the two say the same, so that nobody has to be told.
pub(super) fn same(a: &AgentSnapshot, b: &AgentSnapshot) -> bool {
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
