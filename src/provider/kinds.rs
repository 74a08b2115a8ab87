//! The providers that are built in, and those that the configuration adds, by their type.

use std::sync::Arc;

use url::Url;

use super::{context::ProviderContext, google, oidc, profile::Profile, registry::Provider};
use crate::{
    clock::SystemClock,
    config::{ConfigError, ProviderEntry},
    entropy::SystemEntropy,
    http_client::{Egress, Limits},
};

type Build = fn(&ProviderEntry, &ProviderContext) -> Result<Provider, ConfigError>;

/// Each type, and how one of it is built from its entry.
const KINDS: &[(&str, Build)] = &[("oidc", oidc::build)];

/// What those say of themselves that are there without a configuration.
pub fn built_in() -> [Profile; 2] {
    [google::account(), google::service_accounts()]
}

/// Adds the providers of these entries to those that there are. Asks nobody yet.
///
/// # Errors
/// A key or a variable that another provider has already, a type that there is not, or settings that this type cannot use.
pub fn add(
    providers: &mut Vec<Provider>,
    entries: &[ProviderEntry],
    context: &ProviderContext,
) -> Result<(), ConfigError> {
    for entry in entries {
        if providers.iter().any(|known| *known.id() == entry.id) {
            return Err(entry.wrong("there is such a provider already: give it another `id`"));
        }
        let provider = build(entry, context)?;
        if providers
            .iter()
            .any(|known| known.issuer_binding == provider.issuer_binding)
        {
            return Err(
                entry.wrong("another provider has the same issuer and client: one of the two is enough")
            );
        }
        let name = provider.profile.name.as_str();
        if built_in()
            .iter()
            .any(|known| known.name.eq_ignore_ascii_case(name))
        {
            return Err(entry.wrong_value("name", "another provider is called so: give it a name of its own"));
        }
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

/// The providers of these entries, as they would be added: for looking at, not for asking.
///
/// # Errors
/// As [`add`], but for what they have in common with the built-in ones.
pub fn added(entries: &[ProviderEntry], redirect_uri: &Url) -> Result<Vec<Provider>, ConfigError> {
    let context = ProviderContext {
        redirect_uri: redirect_uri.clone(),
        limits: Limits::default(),
        egress: Egress::default(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    };
    let mut providers = Vec::new();
    add(&mut providers, entries, &context)?;
    Ok(providers)
}

fn build(entry: &ProviderEntry, context: &ProviderContext) -> Result<Provider, ConfigError> {
    let found = KINDS.iter().find(|(name, _)| *name == entry.kind);
    let (_, build) = found.ok_or_else(|| {
        let known: Vec<String> = KINDS.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        entry.wrong_value("type", format!("expected {}", known.join(" or ")))
    })?;
    build(entry, context)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Config;

    fn wrong(more: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        let text = format!(
            "[[providers]]\nid = 'acme'\ntype = 'oidc'\nissuer = 'https://acme.example'\nclient_id = 'me'\n{more}"
        );
        fs::write(&file, text).unwrap();
        let config = Config::load(Some(&file), std::iter::empty()).ok().unwrap();
        let added = added(&config.providers, &config.google.redirect_uri);
        added.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn no_provider_is_called_as_a_built_in_one_is() {
        assert_eq!(wrong(""), "");
        assert_eq!(wrong("name = 'Acme'"), "");
        let error = wrong("name = 'google'");
        assert!(error.contains("name: another provider is called so"), "{error}");
    }
}
