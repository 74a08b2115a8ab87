//! The state of an agent and of what it declared, as its socket's `/v1/status` says it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    agent::AgentSocket,
    exit::{Exit, Failure},
};
use crate::proto::{self, v1};

/// The document of `/v1/status`, which is also `status.json`. Holds no secret.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AgentStatus {
    pub(crate) agent: String,
    pub(crate) owner: String,
    pub(crate) state: String,
    pub(crate) message: Option<String>,
    pub(crate) action_url: Option<String>,
    pub(crate) account: Option<String>,
    pub(crate) service_account: Option<String>,
    #[serde(default)]
    pub(crate) accounts: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) capabilities: Vec<Capability>,
}

impl AgentStatus {
    /// Asks the agent's socket.
    pub(crate) async fn fetch(socket: &AgentSocket) -> Result<Self, Failure> {
        Self::parse(&socket.get("/v1/status").await?)
    }

    /// Reads the document.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(body).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!(
                    "the daemon's status is not what this command knows ({error}): are they of one version?"
                ),
            )
        })
    }

    /// Whose it is.
    pub(crate) fn agent(&self) -> &str {
        &self.agent
    }

    /// The state of that agent, in one word.
    pub(crate) fn state(&self) -> &str {
        &self.state
    }

    /// What a command ends with that shows it.
    pub(crate) fn exit(&self) -> Exit {
        Exit::for_reason(&self.state).unwrap_or(Exit::Failed)
    }

    /// Why the agent has no token.
    pub(crate) fn failure(&self) -> Failure {
        // Without a token even an active agent is a failure: it changed between two questions.
        let exit = if self.exit() == Exit::Ok {
            Exit::TryLater
        } else {
            self.exit()
        };
        let message = self.message.clone().filter(|message| !message.is_empty());
        let message = message.unwrap_or_else(|| format!("the agent {} has no token", self.agent));
        Failure::new(exit, message)
            .with_reason(self.state.clone())
            .with_action_url(self.action_url.clone().unwrap_or_default())
    }
}

/// A declared capability and its state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Capability {
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

impl From<v1::CapabilityStatus> for Capability {
    fn from(from: v1::CapabilityStatus) -> Self {
        Self {
            state: proto::code(from.state().as_str_name(), "CAPABILITY_STATE_"),
            key: from.key,
            granted: from.granted,
            optional: from.optional,
            satisfied_by: from.satisfied_by,
            description: from.description,
        }
    }
}
