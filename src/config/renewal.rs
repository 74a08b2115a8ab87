//! `[renewal]`: how tokens are kept fresh.

use super::{error::ConfigError, values::Values};

/// The `[renewal]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalSection {
    /// How many renewals run at the same time.
    pub concurrency: usize,
}

impl RenewalSection {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        let concurrency = values.number("renewal.concurrency", 1..=1024)?;
        Ok(Self {
            concurrency: concurrency as usize,
        })
    }
}
