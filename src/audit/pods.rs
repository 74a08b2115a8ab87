//! What pods were given of agents, and refused, as the audit trail tells it.

use crate::{
    audit::{
        journal::Journal,
        repeats::{Charged, shown},
    },
    budget::Peer,
    id::AgentName,
    manifest::PodIdentity,
    registry::handle::AgentHandle,
    telemetry::audit::{Actor, AuditEvent, Decision},
};

impl Journal {
    /// A pod was given an agent's directory as a volume. `detail` names the pod.
    pub fn note_volume(&self, agent: &AgentName, detail: &str) {
        let event = self.pod_event(agent, "volume.publish", Decision::Allowed, detail);
        self.audit.record(event);
    }

    /// A pod that is known to run as `identity` was refused an agent's directory. `detail` names the pod and says why.
    pub fn note_volume_refused(&self, agent: &AgentName, identity: &PodIdentity, detail: &str) {
        let event = self.pod_event(agent, "volume.publish", Decision::Denied, detail);
        let party = identity.to_string();
        self.audit.record_repeatable(
            event,
            "the directory of an agent, to a pod",
            &Charged::Known(&party),
        );
    }

    /// A pod reached an agent's tokens over TLS. `detail` names the pod.
    pub fn note_remote(&self, agent: &AgentName, detail: &str) {
        let event = self.pod_event(agent, "remote.use", Decision::Allowed, detail);
        self.audit.record(event);
    }

    /// A client that proved nothing was refused an agent's tokens. `detail` says why.
    pub fn note_remote_unproven(&self, from: Option<Peer>, detail: &str) {
        const WHAT: &str = "agents' tokens, to clients that prove nothing";
        let event = AuditEvent {
            detail: format!("{WHAT}, at {}: {detail}", shown(from)),
            ..AuditEvent::new(self.clock.now(), Actor::Daemon, "remote.use", Decision::Denied)
        };
        self.audit
            .record_repeatable(event, WHAT, &Charged::Unproven(from));
    }

    /// A pod that proved to run as `identity` was refused an agent's tokens. `detail` says why.
    pub fn note_remote_refused(&self, agent: &AgentName, identity: &PodIdentity, detail: &str) {
        let event = self.pod_event(agent, "remote.use", Decision::Denied, detail);
        let party = identity.to_string();
        self.audit
            .record_repeatable(event, "the tokens of an agent, to a pod", &Charged::Known(&party));
    }

    /// A node was refused the tokens of an agent that is not its own. `detail` says why.
    pub fn note_node_refused(&self, agent: &AgentName, node: &str, detail: &str) {
        let detail = format!("to a node {detail}");
        let event = self.pod_event(agent, "remote.use", Decision::Denied, &detail);
        self.audit
            .record_repeatable(event, "the tokens of an agent, to a node", &Charged::Known(node));
    }

    fn pod_event(
        &self,
        agent: &AgentName,
        action: &'static str,
        decision: Decision,
        detail: &str,
    ) -> AuditEvent {
        let entry = self
            .registry
            .lock()
            .agents
            .get(agent)
            .map(|entry| entry.handle.clone());
        let what = if action == "volume.publish" {
            "directory"
        } else {
            "tokens"
        };
        AuditEvent {
            detail: format!("the {what} of the agent {agent} {detail}"),
            concern: entry.as_deref().map(AgentHandle::concern).unwrap_or_default(),
            ..AuditEvent::new(self.clock.now(), Actor::Daemon, action, decision)
        }
    }
}
