//! What is wrong with an entry of the catalogue.

use crate::{config::CapabilityEntry, text};

/// A capability that the catalogue cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}capability `{key}`: {reason}")]
pub struct CatalogError {
    place: String,
    key: String,
    reason: String,
}

impl CatalogError {
    pub(super) fn new(entry: &CapabilityEntry, reason: String) -> Self {
        let place = if entry.origin.is_empty() {
            String::new()
        } else {
            format!("{}: ", entry.origin)
        };
        let key = text::quoted(&entry.key, 80);
        Self { place, key, reason }
    }
}
