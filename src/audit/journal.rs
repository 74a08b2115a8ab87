//! Lines of the audit trail about strangers, pods and sessions.

use std::sync::Arc;

use crate::{
    audit::{
        audit_writer::AuditWriter,
        repeats::{Charged, shown},
    },
    budget::Peer,
    policy::context::PolicyContext,
    registry::{state::SharedRegistry, time::BrokerClock},
    telemetry::audit::{Actor, AuditEvent, Concern, Decision},
};

/// Writes into the audit trail what pods, sessions and strangers did.
pub struct Journal {
    pub(super) audit: Arc<AuditWriter>,
    pub(super) clock: Arc<BrokerClock>,
    pub(super) context: Arc<PolicyContext>,
    pub(super) registry: Arc<SharedRegistry>,
}

impl Journal {
    /// With what it needs of the parts before it.
    pub(crate) fn new(
        audit: &Arc<AuditWriter>,
        clock: &Arc<BrokerClock>,
        context: &Arc<PolicyContext>,
        registry: &Arc<SharedRegistry>,
    ) -> Arc<Self> {
        Arc::new(Self {
            audit: audit.clone(),
            clock: clock.clone(),
            context: context.clone(),
            registry: registry.clone(),
        })
    }

    /// A name that is wrong may be a secret in the wrong place, so the trail does not repeat it.
    pub(crate) fn note_wrong_secret(&self, from: Option<Peer>) {
        const WHAT: &str = "a wrong name or secret at the agents' token endpoint";
        let event = AuditEvent {
            time: self.clock.now(),
            actor: Actor::Daemon,
            action: "agent.refused",
            integration: None,
            capabilities: Vec::new(),
            decision: Decision::Denied,
            detail: format!("{WHAT}, from {}", shown(from)),
            concern: Concern::default(),
        };
        if self
            .audit
            .record_repeatable(event, WHAT, &Charged::Unproven(from))
        {
            tracing::warn!(from = shown(from), "{WHAT}");
        }
    }
}
