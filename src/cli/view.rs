//! What the daemon answered, as JSON shows it. Times are RFC 3339 in UTC, states their stable codes; what is
//! unknown or does not apply is left out.

mod account;
mod trail;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    exit::Failure,
    output::Output,
    style::{Text, Tone},
    when,
};
use crate::{agent::PodIdentity, proto::v1};
pub(super) use account::{Integration, IntegrationCapability, PendingRevocation};
pub(super) use trail::{AuditEvent, AuditHead, AuditSize};

pub(super) fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// A declared capability and how it stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Capability {
    /// The declared key.
    pub key: String,
    /// `granted`, `satisfied`, `missing` or `declined`.
    pub state: String,
    /// The granted scopes cover it.
    pub granted: bool,
    /// The agent works without it.
    pub optional: bool,
    /// The wider key that satisfies it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub satisfied_by: String,
    /// What the agent uses it for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl Capability {
    /// A row for each, after an empty line; nothing when there is none.
    pub(super) fn table(capabilities: &[Self], output: &mut Output) -> Result<(), Failure> {
        if capabilities.is_empty() {
            return Ok(());
        }
        output.line("")?;
        let rows = capabilities.iter().map(Self::row).collect();
        output.table(&["CAPABILITY", "STANDING", "THROUGH", "WHAT FOR"], rows)
    }

    fn row(&self) -> Vec<Text> {
        let (tone, standing) = match (self.granted, self.optional) {
            (true, _) => (Tone::Good, self.state.clone()),
            (false, true) => (Tone::Warn, format!("{} (optional)", self.state)),
            (false, false) => (Tone::Bad, self.state.clone()),
        };
        vec![
            self.key.as_str().into(),
            Text::toned(tone, standing),
            or_dash(&self.satisfied_by).into(),
            self.description.as_str().into(),
        ]
    }
}

impl From<v1::CapabilityStatus> for Capability {
    fn from(from: v1::CapabilityStatus) -> Self {
        Self {
            state: code(from.state().as_str_name(), "CAPABILITY_STATE_"),
            key: from.key,
            granted: from.granted,
            optional: from.optional,
            satisfied_by: from.satisfied_by,
            description: from.description,
        }
    }
}

/// An agent.
#[derive(Debug, Clone, Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the names are those of the JSON document"
)]
pub(super) struct Agent {
    /// Its name.
    pub agent: String,
    /// Whose account it uses.
    pub owner: String,
    /// Where it stands.
    pub state: String,
    /// A sentence a person can act on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Where a person can fix it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub action_url: String,
    /// The connected account's address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub account: String,
    /// The service account's address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_account: String,
    /// Each declared capability.
    pub capabilities: Vec<Capability>,
    /// Who may read its directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The group that may read as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Which pods may have its directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<PodIdentity>,
    /// The directory to mount.
    pub directory: String,
    /// `file:<path>` or `api`.
    pub source: String,
    /// When its token stops working.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When the token is renewed next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_renewal_at: Option<Timestamp>,
    /// When its socket handed it a token last, since the daemon started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// What went wrong writing its directory.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub delivery_problem: String,
    /// What it declared, as it came.
    #[serde(skip)]
    pub spec: Option<v1::AgentSpec>,
}

impl Agent {
    /// How many of the declared capabilities are granted, such as `2/3`.
    pub(super) fn coverage(&self) -> String {
        let granted = self
            .capabilities
            .iter()
            .filter(|capability| capability.granted)
            .count();
        format!("{granted}/{}", self.capabilities.len())
    }

    /// Its state, and that it does not reach the agent's directory where that is so.
    pub(super) fn standing(&self) -> Text {
        if self.delivery_problem.is_empty() {
            return Text::state(&self.state);
        }
        Text::toned(Tone::Bad, format!("{}, not delivered", self.state))
    }
}

impl From<v1::Agent> for Agent {
    fn from(from: v1::Agent) -> Self {
        let declared = from.spec.clone();
        let spec = from.spec.unwrap_or_default();
        let status = from.status.unwrap_or_default();
        Self {
            state: code(status.state().as_str_name(), "AGENT_STATE_"),
            agent: spec.agent,
            owner: spec.owner,
            message: status.message,
            action_url: status.action_url,
            account: status.account,
            service_account: status.service_account,
            capabilities: status.capabilities.into_iter().map(Capability::from).collect(),
            uid: spec.uid,
            gid: spec.gid,
            kubernetes: spec.kubernetes.map(|pod| PodIdentity {
                namespace: pod.namespace.into(),
                service_account: pod.service_account.into(),
            }),
            directory: from.directory,
            source: from.source,
            expires_at: when::from_proto(from.expires_at),
            next_renewal_at: when::from_proto(from.next_renewal_at),
            last_used_at: when::from_proto(from.last_used_at),
            delivery_problem: from.delivery_problem,
            spec: declared,
        }
    }
}

/// How the daemon is.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Daemon {
    /// Its version.
    pub version: String,
    /// Since when it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Where agent directories are.
    pub runtime_dir: String,
    /// The address of the HTTP listener.
    pub public_url: String,
    /// How many accounts are connected.
    pub integrations: u64,
    /// How many agents are known.
    pub agents: u64,
    /// How many of them have a token.
    pub agents_active: u64,
    /// When the next renewal is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_renewal_at: Option<Timestamp>,
    /// Seconds that the provider's clock is ahead.
    pub clock_skew_seconds: i64,
    /// What is wrong.
    pub problems: Vec<String>,
    /// Those of them that are about records which are not used.
    pub unusable_records: Vec<String>,
    /// Those of them that are about the configuration on disk.
    pub configuration_changes: Vec<String>,
    /// Whether it can do its work.
    pub ready: bool,
    /// What it cannot do.
    pub unmet_conditions: Vec<UnmetCondition>,
    /// How many agents have no token although no person has anything to do for it.
    pub agents_short_of_token: u64,
    /// The audit trail's last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_head: Option<AuditHead>,
    /// What the audit trail takes on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_size: Option<AuditSize>,
}

/// Something that the daemon cannot do.
#[derive(Debug, Clone, Serialize)]
pub(super) struct UnmetCondition {
    /// Which condition.
    pub condition: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl From<v1::UnmetCondition> for UnmetCondition {
    fn from(from: v1::UnmetCondition) -> Self {
        Self {
            condition: from.condition,
            message: from.message,
        }
    }
}

impl From<v1::GetDaemonStatusResponse> for Daemon {
    fn from(from: v1::GetDaemonStatusResponse) -> Self {
        Self {
            version: from.version,
            started_at: when::from_proto(from.started_at),
            runtime_dir: from.runtime_dir,
            public_url: from.public_url,
            integrations: from.integrations,
            agents: from.agents,
            agents_active: from.agents_active,
            next_renewal_at: when::from_proto(from.next_renewal_at),
            clock_skew_seconds: from.clock_skew_seconds,
            problems: from.problems,
            unusable_records: from.unusable_records,
            configuration_changes: from.configuration_changes,
            ready: from.unmet_conditions.is_empty(),
            unmet_conditions: from.unmet_conditions.into_iter().map(Into::into).collect(),
            agents_short_of_token: from.agents_short_of_token,
            audit_head: from.audit_head.map(Into::into),
            audit_size: from.audit_size.map(Into::into),
        }
    }
}

/// The stable code of a protobuf enum's name: without the prefix, in lower case.
pub(super) fn code(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_shown_by_their_stable_code() {
        let mut agent = v1::Agent {
            status: Some(v1::AgentStatus::default()),
            ..Default::default()
        };
        if let Some(status) = &mut agent.status {
            status.set_state(v1::AgentState::PermissionMissing);
        }
        assert_eq!(Agent::from(agent).state, "permission_missing");
        let mut integration = v1::Integration::default();
        integration.set_state(v1::IntegrationState::ReconnectRequired);
        assert_eq!(Integration::from(integration).state, "reconnect_required");
    }
}
