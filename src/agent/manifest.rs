//! An agent's manifest.

use serde::{Deserialize, Serialize};

use crate::id::{AgentName, CapabilityKey, OwnerId};

/// What an agent declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name.
    pub agent: AgentName,
    /// Whose account it uses.
    pub owner: OwnerId,
    /// Who may read its directory; the daemon's own user when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The group that may read as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// What it needs.
    #[serde(default)]
    pub integrations: Vec<Requirement>,
}

/// One thing that an agent needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// The capability.
    pub key: CapabilityKey,
    /// What the agent uses it for, in its author's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The agent works without it as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}
