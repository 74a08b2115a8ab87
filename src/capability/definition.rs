//! One capability.

use serde::{Serialize, Serializer};

use super::{
    error::{CatalogError, EntryFault},
    scope::{Scope, ScopeSet},
    verification::Verification,
};
use crate::{
    config::CapabilityEntry,
    id::{CapabilityKey, ProviderId},
    text,
};

/// Something an agent can be allowed to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Capability {
    /// Its key.
    pub key: CapabilityKey,
    /// What it allows, in a few words.
    pub title: String,
    /// What agents use it for.
    #[serde(rename = "use")]
    pub usage: String,
    /// The heading that it is listed under.
    pub group: String,
    /// Whose accounts it is exercised with.
    pub integration: ProviderId,
    /// The strictest class among its scopes; none where it is unknown, or where no person is asked.
    pub verification: Option<Verification>,
    /// The scopes that it needs, all of them.
    #[serde(serialize_with = "list")]
    pub scopes: ScopeSet,
    /// Wider keys: when the scopes of one of them are granted, this capability is.
    pub satisfied_by: Vec<CapabilityKey>,
}

fn list<S: Serializer>(scopes: &ScopeSet, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(scopes.iter())
}

/// A capability, and the narrower keys which it says that it satisfies.
pub(super) struct Parsed {
    pub(super) capability: Capability,
    pub(super) satisfies: Vec<CapabilityKey>,
}

/// Checks an entry by itself, with the providers that it may name; whether the keys that it names exist is the
/// catalogue's to say.
pub(super) fn parse(entry: &CapabilityEntry, providers: &[ProviderId]) -> Result<Parsed, CatalogError> {
    let wrong = |fault| CatalogError::new(entry, fault);
    let key: CapabilityKey = entry.key.parse().map_err(|error| wrong(EntryFault::Key(error)))?;
    let keys = |field: &'static str, texts: &[String]| {
        texts
            .iter()
            .map(|text| {
                text.parse()
                    .map_err(|error| wrong(EntryFault::Names { field, error }))
            })
            .collect::<Result<Vec<CapabilityKey>, _>>()
    };
    let scopes: ScopeSet = entry
        .scopes
        .iter()
        .map(|text| {
            text.parse::<Scope>()
                .map_err(|error| wrong(EntryFault::Scope(error)))
        })
        .collect::<Result<_, _>>()?;
    if scopes.is_empty() {
        return Err(wrong(EntryFault::NoScopes));
    }
    for (field, text) in [
        ("title", &entry.title),
        ("use", &entry.usage),
        ("group", &entry.group),
    ] {
        if text.chars().count() > 120 || text.chars().any(char::is_control) {
            return Err(wrong(EntryFault::Line(field)));
        }
    }
    if entry.title.trim().is_empty() {
        return Err(wrong(EntryFault::NoTitle));
    }
    if entry.group.trim().is_empty() {
        return Err(wrong(EntryFault::NoGroup));
    }
    Ok(Parsed {
        satisfies: keys("satisfies", &entry.satisfies)?,
        capability: Capability {
            title: entry.title.clone(),
            usage: entry.usage.clone(),
            group: entry.group.clone(),
            integration: provider(&entry.integration, providers).map_err(wrong)?,
            verification: entry
                .verification
                .as_deref()
                .map(Verification::named)
                .transpose()
                .map_err(wrong)?,
            satisfied_by: keys("satisfied_by", &entry.satisfied_by)?,
            key,
            scopes,
        },
    })
}

/// The provider that an entry names.
fn provider(name: &str, providers: &[ProviderId]) -> Result<ProviderId, EntryFault> {
    let found = providers.iter().find(|provider| provider.as_str() == name);
    found.cloned().ok_or_else(|| EntryFault::Provider {
        named: text::quoted(name, 80),
        known: providers.to_vec(),
    })
}
