//! The master keys that the configuration names.

use anyhow::Context;

use super::{Keyring, key};
use crate::{
    config::{KeySection, KeySource},
    secret::Key,
};

/// Reads the active key and the previous ones, from wherever each is.
///
/// # Errors
/// A source that cannot be read ([`crate::config::ConfigError`]), or what it holds is no key ([`key::KeyError`]), with the
/// source's name.
pub async fn keyring(section: &KeySection) -> anyhow::Result<Keyring> {
    let active = read(&section.source, section).await?;
    let mut previous = Vec::new();
    for source in &section.previous {
        previous.push(read(source, section).await?);
    }
    Ok(Keyring::new(active, previous))
}

async fn read(source: &KeySource, section: &KeySection) -> anyhow::Result<Key> {
    let env = |name: &str| std::env::var(name).ok();
    let text = source.read(env, &section.command_environment).await?;
    key::parse(text.as_bytes()).with_context(|| format!("the key {source}"))
}
