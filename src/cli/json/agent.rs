//! An agent, as JSON shows it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    cli::style::{Text, Tone},
    client::agent_status::Capability,
    manifest::PodIdentity,
    proto::{self, v1},
};

/// An agent.
#[derive(Debug, Clone, Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the names are those of the JSON document"
)]
pub(in crate::cli) struct Agent {
    /// Its name.
    pub agent: String,
    /// Whose account it uses.
    pub owner: String,
    /// Its state.
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
    /// The addresses of accounts at other providers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub accounts: BTreeMap<String, String>,
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
    /// Which nodes serve it, by names of their certificates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
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
}

impl Agent {
    /// How many of the declared capabilities are granted, such as `2/3`.
    pub(in crate::cli) fn coverage(&self) -> String {
        let granted = self
            .capabilities
            .iter()
            .filter(|capability| capability.granted)
            .count();
        format!("{granted}/{}", self.capabilities.len())
    }

    /// Its state, and that it does not reach the agent's directory where that is so.
    pub(in crate::cli) fn standing(&self) -> Text {
        if self.delivery_problem.is_empty() {
            return Text::state(&self.state);
        }
        Text::toned(Tone::Bad, format!("{}, not delivered", self.state))
    }
}

impl From<v1::Agent> for Agent {
    fn from(from: v1::Agent) -> Self {
        let spec = from.spec.unwrap_or_default();
        let status = from.status.unwrap_or_default();
        Self {
            state: proto::code(status.state().as_str_name(), "AGENT_STATE_"),
            agent: spec.agent,
            owner: spec.owner,
            message: status.message,
            action_url: status.action_url,
            account: status.account,
            service_account: status.service_account,
            accounts: status.accounts.into_iter().collect(),
            capabilities: status.capabilities.into_iter().map(Capability::from).collect(),
            uid: spec.uid,
            gid: spec.gid,
            kubernetes: spec.kubernetes.map(|pod| PodIdentity {
                namespace: pod.namespace.into(),
                service_account: pod.service_account.into(),
            }),
            nodes: spec.nodes,
            directory: from.directory,
            source: from.source,
            expires_at: proto::moment(from.expires_at),
            next_renewal_at: proto::moment(from.next_renewal_at),
            last_used_at: proto::moment(from.last_used_at),
            delivery_problem: from.delivery_problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_state_is_shown_by_its_stable_code() {
        let mut agent = v1::Agent {
            status: Some(v1::AgentStatus::default()),
            ..Default::default()
        };
        if let Some(status) = &mut agent.status {
            status.set_state(v1::AgentState::PermissionMissing);
        }
        assert_eq!(Agent::from(agent).state, "permission_missing");
    }
}
