//! What is wrong with an entry of the catalogue, and with a key that is not in it.

use super::scope::InvalidScope;
use crate::{
    config::CapabilityEntry,
    id::{CapabilityKey, InvalidId, ProviderId},
    text,
};

/// A key that the catalogue does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is not in the catalogue: {}", hint(.suggestion.as_ref()))]
pub struct UnknownCapability {
    /// The key.
    pub key: CapabilityKey,
    /// What was probably meant.
    pub suggestion: Option<CapabilityKey>,
}

fn hint(suggestion: Option<&CapabilityKey>) -> String {
    match suggestion {
        Some(key) => format!("did you mean `{key}`?"),
        None => "`token-broker capabilities` lists what there is".to_owned(),
    }
}

/// A capability that the catalogue cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}capability `{key}`: {fault}")]
pub struct CatalogError {
    place: String,
    key: String,
    fault: EntryFault,
}

impl CatalogError {
    pub(super) fn new(entry: &CapabilityEntry, fault: EntryFault) -> Self {
        let place = if entry.origin.is_empty() {
            String::new()
        } else {
            format!("{}: ", entry.origin)
        };
        let key = text::quoted(&entry.key, 80);
        Self { place, key, fault }
    }
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum EntryFault {
    #[error("key {0}")]
    Key(InvalidId),
    #[error("{0}")]
    Name(InvalidId),
    #[error("{field} names {error}")]
    Names { field: &'static str, error: InvalidId },
    #[error("{field} names a key that is missing: {unknown}")]
    Dangling {
        field: &'static str,
        unknown: UnknownCapability,
    },
    #[error("scope {0}")]
    Scope(InvalidScope),
    #[error("scopes is empty: a capability needs at least one")]
    NoScopes,
    #[error("{0} is not one line of at most 120 characters")]
    Line(&'static str),
    #[error("title is empty: say in a few words what it allows")]
    NoTitle,
    #[error("group is empty: name a heading, or leave it out for `Other`")]
    NoGroup,
    #[error("integration is `{named}`: expected {}", list(known))]
    Provider { named: String, known: Vec<ProviderId> },
    #[error(
        "verification is `{0}`: expected `basic`, `sensitive` or `restricted`, as Google classifies the scope; leave it out \
         where that is unknown"
    )]
    Verification(String),
    #[error("the key is already in the catalogue")]
    Twice,
    #[error("keys that begin with `{0}.` are for accounts at `{0}`: add `integration = \"{0}\"`")]
    KeyOf(ProviderId),
    #[error("the key of a capability at `{0}` begins with `{0}.`")]
    KeyNotOf(ProviderId),
    #[error("it names itself in satisfied_by or satisfies")]
    Itself,
    #[error("it is for `{own}` and `{named}` is for `{other}`: one cannot stand for the other")]
    OtherProvider {
        own: String,
        named: String,
        other: ProviderId,
    },
}

fn list(known: &[ProviderId]) -> String {
    let known: Vec<String> = known.iter().map(|provider| format!("`{provider}`")).collect();
    known.join(" or ")
}
