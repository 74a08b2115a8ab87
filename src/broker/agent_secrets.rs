//! Agents that prove themselves with the secret of their credential file, and those who try to.

use std::sync::Arc;

use super::{
    AgentHandle, Broker,
    repeats::{Charged, shown},
};
use crate::{
    budget::Peer,
    secret::AgentSecret,
    telemetry::audit::{Actor, AuditEvent, Concern, Decision},
};

impl Broker {
    /// The agent of this name that proves itself with `secret`. What is wrong goes into the audit trail, with where it
    /// came from.
    pub fn authenticate(
        &self,
        name: &str,
        secret: &AgentSecret,
        from: Option<Peer>,
    ) -> Option<Arc<AgentHandle>> {
        let handle = name.parse().ok().and_then(|name| self.handle(&name));
        let known = handle.filter(|handle| handle.secret().is_some_and(|own| own == secret));
        if known.is_none() {
            self.note_wrong_secret(from);
        }
        known
    }

    /// A name that is wrong may be a secret in the wrong place, so the trail does not repeat it.
    fn note_wrong_secret(&self, from: Option<Peer>) {
        const WHAT: &str = "a wrong name or secret at the agents' token endpoint";
        let event = AuditEvent {
            time: self.now(),
            actor: Actor::Daemon,
            action: "agent.refused",
            integration: None,
            capabilities: Vec::new(),
            decision: Decision::Denied,
            detail: format!("{WHAT}, from {}", shown(from)),
            concern: Concern::default(),
        };
        if self
            .recorder
            .record_repeatable(event, WHAT, &Charged::Unproven(from))
        {
            tracing::warn!(from = shown(from), "{WHAT}");
        }
    }
}
