//! The audit trail, as JSON shows it: its lines, its last one, and its size.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    proto::{self, v1},
    text,
};

/// A line of the audit trail.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct AuditEvent {
    /// Its place in the chain.
    pub sequence: u64,
    /// When.
    pub time: Option<Timestamp>,
    /// Who asked.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// The account concerned.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub integration: String,
    /// The capabilities concerned.
    pub capabilities: Vec<String>,
    /// What was decided.
    pub decision: String,
    /// More, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Hash of this line and the one before.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hash: String,
    /// How many lines it replaces that are counted and not kept any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// When the first of them was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_time: Option<Timestamp>,
}

impl From<v1::AuditEvent> for AuditEvent {
    fn from(from: v1::AuditEvent) -> Self {
        Self {
            sequence: from.sequence,
            time: proto::moment(from.time),
            actor: from.actor,
            action: from.action,
            integration: from.integration,
            capabilities: from.capabilities,
            decision: from.decision,
            detail: from.detail,
            hash: from.hash,
            count: Some(from.count).filter(|count| *count > 0),
            first_time: proto::moment(from.first_time),
        }
    }
}

/// A line's place in the audit trail.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct AuditHead {
    /// Its place in the chain.
    pub sequence: u64,
    /// Its hash.
    pub hash: String,
}

impl From<v1::AuditHead> for AuditHead {
    fn from(from: v1::AuditHead) -> Self {
        Self {
            sequence: from.sequence,
            hash: from.hash,
        }
    }
}

impl fmt::Display for AuditHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash)
    }
}

/// What the audit trail takes on disk.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct AuditSize {
    /// In bytes.
    pub bytes: u64,
    /// What it may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// That is half of the volume, which is less than `audit.max_bytes`.
    pub limited_by_volume: bool,
}

impl From<v1::AuditSize> for AuditSize {
    fn from(from: v1::AuditSize) -> Self {
        Self {
            bytes: from.bytes,
            max_bytes: Some(from.max_bytes).filter(|bytes| *bytes > 0),
            limited_by_volume: from.limited_by_volume,
        }
    }
}

impl fmt::Display for AuditSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::size(self.bytes))?;
        if let Some(most) = self.max_bytes {
            write!(f, " of {} at most", text::size(most))?;
        }
        if self.limited_by_volume {
            f.write_str(" (half of the volume)")?;
        }
        Ok(())
    }
}
