//! `[renewal]`: how tokens are kept fresh.

use super::{
    error::ConfigError,
    schema::{Key, Kind, Section, Unset},
    values::Values,
};

/// The keys of `[renewal]`.
pub(super) const SECTION: Section = Section {
    name: "renewal",
    about: "How tokens are kept fresh",
    keys: &[Key {
        path: "renewal.concurrency",
        kind: Kind::Number {
            least: 1,
            most: 1024,
            unit: "",
        },
        unset: Unset::Default("64"),
        doc: "How many renewals run at the same time, 1 to 1024.",
        ..Key::USUAL
    }],
};

/// The `[renewal]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalSection {
    /// How many renewals run at the same time.
    pub concurrency: usize,
}

impl RenewalSection {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        Ok(Self {
            concurrency: values.number("renewal.concurrency")?,
        })
    }
}
