//! `[audit]`: the audit trail.

use super::{error::ConfigError, values::Values};

const MIB: u64 = 1024 * 1024;

/// The `[audit]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSection {
    /// How long events are kept, in days.
    pub retention_days: u32,
    /// How much disk they may take, in bytes.
    pub max_bytes: u64,
}

impl AuditSection {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        Ok(Self {
            retention_days: values.number("audit.retention_days", 1..=36_500)?,
            max_bytes: values.whole("audit.max_bytes", 16 * MIB..=1024 * 1024 * MIB)?,
        })
    }
}
