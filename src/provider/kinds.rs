//! Providers that the configuration adds, by their type.

use super::{oidc, registry::Provider, surroundings::Surroundings};
use crate::config::{ConfigError, ProviderEntry};

type Build = fn(&ProviderEntry, &Surroundings) -> Result<Provider, ConfigError>;

/// Each type, and how one of it is built from its entry.
const KINDS: &[(&str, Build)] = &[("oidc", oidc::build)];

/// Builds the provider of an entry. Asks nobody yet.
///
/// # Errors
/// A type that there is not, or settings that this type cannot use.
pub fn build(entry: &ProviderEntry, surroundings: &Surroundings) -> Result<Provider, ConfigError> {
    let found = KINDS.iter().find(|(name, _)| *name == entry.kind);
    let (_, build) = found.ok_or_else(|| {
        let known: Vec<String> = KINDS.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        entry.wrong(format!("type: expected {}", known.join(" or ")))
    })?;
    build(entry, surroundings)
}
