//! All capabilities, in the order they are shown.

use std::collections::HashMap;

use serde::Deserialize;

use super::{
    definition::{self, Capability},
    error::{CatalogError, EntryFault, UnknownCapability},
    scope::ScopeSet,
};
use crate::{
    config::{CapabilityEntry, Config, suggest},
    id::{CapabilityKey, ProviderId},
};

/// The capabilities, built in and added.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Whose accounts there can be; the first is meant where nobody says.
    providers: Vec<ProviderId>,
    /// Those of them that the configuration added.
    added: Vec<ProviderId>,
    capabilities: Vec<Capability>,
    index: HashMap<CapabilityKey, usize>,
}

#[derive(Deserialize)]
struct CatalogueFile {
    capabilities: Vec<CapabilityEntry>,
}

impl Catalog {
    /// The catalogue that comes with the program.
    #[expect(
        clippy::missing_panics_doc,
        reason = "the file is part of the program and tested"
    )]
    pub fn builtin() -> Self {
        let file: CatalogueFile =
            toml::from_str(include_str!("catalogue.toml")).expect("the built-in catalogue is valid TOML");
        let mut empty = Self {
            providers: Vec::new(),
            added: Vec::new(),
            capabilities: Vec::new(),
            index: HashMap::new(),
        };
        for entry in &file.capabilities {
            let provider = entry.integration.parse();
            empty.know(provider.expect("the built-in catalogue names providers"));
        }
        empty
            .with(&file.capabilities)
            .expect("the built-in catalogue is consistent")
    }

    /// The catalogue of a configuration: what is built in, the operator's providers, and the operator's additions.
    pub fn configured(config: &Config) -> Result<Self, CatalogError> {
        let providers = config.providers.iter().map(|provider| provider.id.clone());
        providers
            .fold(Self::builtin(), Self::knowing)
            .with(&config.capabilities)
    }

    /// This catalogue, where capabilities may also be exercised with accounts of this provider.
    #[must_use]
    pub fn knowing(mut self, provider: ProviderId) -> Self {
        self.added.push(provider.clone());
        self.know(provider);
        self
    }

    /// The providers that the configuration added.
    pub fn added(&self) -> &[ProviderId] {
        &self.added
    }

    fn know(&mut self, provider: ProviderId) {
        if !self.providers.contains(&provider) {
            self.providers.push(provider);
        }
    }

    /// This catalogue and the operator's additions after it.
    pub fn with(mut self, additions: &[CapabilityEntry]) -> Result<Self, CatalogError> {
        let mut satisfies = Vec::new();
        for entry in additions {
            let parsed = definition::parse(entry, &self.providers)?;
            let key = parsed.capability.key.clone();
            self.check_beginning(entry, &parsed.capability)?;
            let place = self.capabilities.len();
            if self.index.insert(key.clone(), place).is_some() {
                return Err(CatalogError::new(entry, EntryFault::Twice));
            }
            self.capabilities.push(parsed.capability);
            satisfies.extend(
                parsed
                    .satisfies
                    .into_iter()
                    .map(|narrower| (entry, key.clone(), narrower)),
            );
        }
        for (entry, wider, narrower) in satisfies {
            let Some(&place) = self.index.get(&narrower) else {
                return Err(self.dangling(entry, "satisfies", &narrower));
            };
            let satisfied_by = &mut self.capabilities[place].satisfied_by;
            if !satisfied_by.contains(&wider) {
                satisfied_by.push(wider);
            }
        }
        for entry in additions {
            self.check_wider(entry)?;
        }
        Ok(self)
    }

    /// A key of a provider that the configuration added begins with that one's id, and no other provider's does.
    fn check_beginning(&self, entry: &CapabilityEntry, capability: &Capability) -> Result<(), CatalogError> {
        let begins_with = |id: &ProviderId| {
            let rest = capability.key.as_str().strip_prefix(id.as_str());
            rest.is_some_and(|rest| rest.starts_with('.'))
        };
        let provider = &capability.integration;
        let foreign = self.added.iter().find(|id| *id != provider && begins_with(id));
        if let Some(id) = foreign {
            return Err(CatalogError::new(entry, EntryFault::KeyOf(id.clone())));
        }
        if self.added.contains(provider) && !begins_with(provider) {
            return Err(CatalogError::new(entry, EntryFault::KeyNotOf(provider.clone())));
        }
        Ok(())
    }

    /// Every wider key exists, is another one, and is for the same provider's accounts.
    fn check_wider(&self, entry: &CapabilityEntry) -> Result<(), CatalogError> {
        let named = entry.satisfied_by.iter().chain(&entry.satisfies);
        for name in named {
            let Some(other) = name
                .parse()
                .ok()
                .and_then(|key: CapabilityKey| self.get(&key).cloned())
            else {
                let key = name
                    .parse()
                    .map_err(|error| CatalogError::new(entry, EntryFault::Name(error)))?;
                return Err(self.dangling(entry, "satisfied_by", &key));
            };
            if other.key.as_str() == entry.key {
                return Err(CatalogError::new(entry, EntryFault::Itself));
            }
            if other.integration.as_str() != entry.integration {
                let fault = EntryFault::OtherProvider {
                    own: entry.integration.clone(),
                    named: name.clone(),
                    other: other.integration,
                };
                return Err(CatalogError::new(entry, fault));
            }
        }
        Ok(())
    }

    fn dangling(&self, entry: &CapabilityEntry, field: &'static str, key: &CapabilityKey) -> CatalogError {
        let unknown = self.unknown(key);
        CatalogError::new(entry, EntryFault::Dangling { field, unknown })
    }

    /// The capability with this key.
    pub fn get(&self, key: &CapabilityKey) -> Option<&Capability> {
        self.index.get(key).map(|&place| &self.capabilities[place])
    }

    /// The capability with this key, or an error that suggests another.
    pub fn require(&self, key: &CapabilityKey) -> Result<&Capability, UnknownCapability> {
        self.get(key).ok_or_else(|| self.unknown(key))
    }

    /// All capabilities in the order they are shown.
    pub fn iter(&self) -> impl Iterator<Item = &Capability> {
        self.capabilities.iter()
    }

    /// The key that `text` is most likely a slip of.
    pub fn suggest(&self, text: &str) -> Option<&CapabilityKey> {
        let keys = self.capabilities.iter().map(|c| c.key.as_str());
        let closest = suggest::closest(text, keys)?;
        self.iter().map(|c| &c.key).find(|key| key.as_str() == closest)
    }

    /// The error for a key that is not there.
    pub fn unknown(&self, key: &CapabilityKey) -> UnknownCapability {
        UnknownCapability {
            key: key.clone(),
            suggestion: self.suggest(key.as_str()).cloned(),
        }
    }

    /// The scopes that these capabilities need, literally their own.
    pub fn scopes_for<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a CapabilityKey>,
    ) -> Result<ScopeSet, UnknownCapability> {
        let mut scopes = Vec::new();
        for key in keys {
            scopes.extend(self.require(key)?.scopes.iter().cloned());
        }
        Ok(scopes.into_iter().collect())
    }

    /// How these granted scopes cover a capability: by itself, by a wider one, or not at all.
    pub fn coverage<'a>(&'a self, capability: &'a Capability, granted: &ScopeSet) -> Coverage<'a> {
        if capability.scopes.is_subset(granted) {
            return Coverage::Own;
        }
        capability
            .satisfied_by
            .iter()
            .filter_map(|key| self.get(key))
            .find(|wider| wider.scopes.is_subset(granted))
            .map_or(Coverage::None, Coverage::Wider)
    }

    /// Whose accounts a capability is exercised with. A key that is not in the catalogue (any more) is of the provider
    /// that it begins with, or of the first.
    pub fn provider_of(&self, key: &CapabilityKey) -> &ProviderId {
        if let Some(capability) = self.get(key) {
            return &capability.integration;
        }
        let named = key.as_str().split('.').next().unwrap_or_default();
        let mut known = self.providers.iter();
        known
            .find(|provider| provider.as_str() == named)
            .unwrap_or(&self.providers[0])
    }

    /// The scopes of all capabilities of one provider.
    pub fn scopes_of(&self, provider: &ProviderId) -> ScopeSet {
        let mine = self.iter().filter(|c| c.integration == *provider);
        mine.flat_map(|c| c.scopes.iter().cloned()).collect()
    }

    /// The capabilities of one provider that an account's granted scopes cover, by themselves or through a wider one,
    /// in the order they are shown.
    pub fn covered_by(&self, provider: &ProviderId, granted: &ScopeSet) -> Vec<CapabilityKey> {
        self.iter()
            .filter(|c| c.integration == *provider)
            .filter(|c| !matches!(self.coverage(c, granted), Coverage::None))
            .map(|c| c.key.clone())
            .collect()
    }
}

/// How granted scopes cover a capability.
#[derive(Debug, Clone, Copy)]
pub enum Coverage<'a> {
    /// Its own scopes are granted.
    Own,
    /// The scopes of this wider capability are granted.
    Wider(&'a Capability),
    /// Neither.
    None,
}

#[cfg(test)]
mod tests;
