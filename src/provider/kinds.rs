//! Providers that the configuration adds, by their type.

use super::{oidc, registry::Provider, surroundings::Surroundings};
use crate::config::{ConfigError, ProviderEntry};

type Build = fn(&ProviderEntry, &Surroundings) -> Result<Provider, ConfigError>;

/// Each type, and how one of it is built from its entry.
const KINDS: &[(&str, Build)] = &[("oidc", oidc::build)];

/// Adds the providers of these entries to those that there are. Asks nobody yet.
///
/// # Errors
/// A key or a variable that another provider has already, a type that there is not, or settings that this type cannot use.
pub fn add(
    providers: &mut Vec<Provider>,
    entries: &[ProviderEntry],
    surroundings: &Surroundings,
) -> Result<(), ConfigError> {
    for entry in entries {
        if providers.iter().any(|known| *known.id() == entry.id) {
            return Err(entry.wrong("there is such a provider already: give it another `id`"));
        }
        let provider = build(entry, surroundings)?;
        let taken = |name: &&str| {
            providers
                .iter()
                .any(|known| known.profile.env.names().any(|own| own == *name))
        };
        if let Some(name) = provider.profile.env.names().find(taken) {
            let message =
                format!("env_prefix: another provider has `{name}` already: give it another prefix");
            return Err(entry.wrong(message));
        }
        providers.push(provider);
    }
    Ok(())
}

fn build(entry: &ProviderEntry, surroundings: &Surroundings) -> Result<Provider, ConfigError> {
    let found = KINDS.iter().find(|(name, _)| *name == entry.kind);
    let (_, build) = found.ok_or_else(|| {
        let known: Vec<String> = KINDS.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        entry.wrong(format!("type: expected {}", known.join(" or ")))
    })?;
    build(entry, surroundings)
}
