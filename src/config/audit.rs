//! `[audit]`: the audit trail.

use super::{
    error::ConfigError,
    schema::{Key, Kind, Section, Unset},
    values::Values,
};

const MIB: i64 = 1024 * 1024;

/// The keys of `[audit]`.
pub(super) const SECTION: Section = Section {
    name: "audit",
    about: "The audit trail",
    keys: &[
        Key {
            path: "audit.retention_days",
            kind: Kind::Number {
                least: 1,
                most: 36_500,
                unit: "days",
            },
            unset: Unset::Default("365"),
            doc: "How long audit events are kept, 1 to 36500 days.",
            ..Key::USUAL
        },
        Key {
            path: "audit.max_bytes",
            kind: Kind::Number {
                least: 16 * MIB,
                most: 1024 * 1024 * MIB,
                unit: "bytes",
            },
            unset: Unset::Default("536870912"),
            doc: "How much disk the audit trail may take, in bytes, from 16777216 (16 MiB) to 1099511627776 (1 TiB); half of\n\
             state_dir's volume at most. Beyond that the oldest events go first, however young they are.",
            ..Key::USUAL
        },
    ],
};

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
            retention_days: values.number("audit.retention_days")?,
            max_bytes: values.number("audit.max_bytes")?,
        })
    }
}
