//! `[audit]`: the audit trail.

use super::{error::ConfigError, values::Values};

/// The `[audit]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSection {
    /// How long events are kept, in days.
    pub retention_days: u32,
}

impl AuditSection {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        let retention_days = values.number("audit.retention_days", 1..=36_500)?;
        Ok(Self { retention_days })
    }
}
