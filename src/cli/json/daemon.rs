//! How the daemon is, as JSON shows it.

use jiff::Timestamp;
use serde::Serialize;

use super::audit::{AuditHead, AuditSize};
use crate::proto::{self, v1};

/// How the daemon is.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct Daemon {
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
    /// How many agents lack a token although their owners have nothing to do for it.
    pub agents_short_of_token: u64,
    /// How many agents do not work before a person does something.
    pub agents_waiting_for_people: u64,
    /// The audit trail's last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_head: Option<AuditHead>,
    /// What the audit trail takes on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_size: Option<AuditSize>,
}

/// Something that the daemon cannot do.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct UnmetCondition {
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
            started_at: proto::moment(from.started_at),
            runtime_dir: from.runtime_dir,
            public_url: from.public_url,
            integrations: from.integrations,
            agents: from.agents,
            agents_active: from.agents_active,
            next_renewal_at: proto::moment(from.next_renewal_at),
            clock_skew_seconds: from.clock_skew_seconds,
            problems: from.problems,
            unusable_records: from.unusable_records,
            configuration_changes: from.configuration_changes,
            ready: from.unmet_conditions.is_empty(),
            unmet_conditions: from.unmet_conditions.into_iter().map(Into::into).collect(),
            agents_short_of_token: from.agents_short_of_token,
            agents_waiting_for_people: from.agents_waiting_for_people,
            audit_head: from.audit_head.map(Into::into),
            audit_size: from.audit_size.map(Into::into),
        }
    }
}
