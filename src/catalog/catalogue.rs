//! All capabilities, in the order they are shown.

use std::collections::HashMap;

use serde::Deserialize;

use super::{
    capability::{self, Capability, IntegrationKind},
    scope::ScopeSet,
};
use crate::{
    config::{CapabilityEntry, suggest},
    id::CapabilityKey,
};

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
        let key = entry.key.chars().take(80).flat_map(char::escape_debug).collect();
        Self { place, key, reason }
    }
}

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

/// The capabilities, built in and added.
#[derive(Debug, Clone)]
pub struct Catalog {
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
        let empty = Self {
            capabilities: Vec::new(),
            index: HashMap::new(),
        };
        empty
            .with(&file.capabilities)
            .expect("the built-in catalogue is consistent")
    }

    /// This catalogue and the operator's additions after it.
    pub fn with(mut self, additions: &[CapabilityEntry]) -> Result<Self, CatalogError> {
        let mut satisfies = Vec::new();
        for entry in additions {
            let parsed = capability::parse(entry)?;
            let key = parsed.capability.key.clone();
            let place = self.capabilities.len();
            if self.index.insert(key.clone(), place).is_some() {
                let reason = "the key is already in the catalogue".to_owned();
                return Err(CatalogError::new(entry, reason));
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

    /// Every wider key exists, is another one, and is for the same kind of account.
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
                    .map_err(|e| CatalogError::new(entry, format!("{e}")))?;
                return Err(self.dangling(entry, "satisfied_by", &key));
            };
            if other.key.as_str() == entry.key {
                let reason = "it names itself in satisfied_by or satisfies".to_owned();
                return Err(CatalogError::new(entry, reason));
            }
            if other.integration.as_str() != entry.integration {
                let reason = format!(
                    "it is for `{}` and `{name}` is for `{}`: one cannot stand for the other",
                    entry.integration,
                    other.integration.as_str()
                );
                return Err(CatalogError::new(entry, reason));
            }
        }
        Ok(())
    }

    fn dangling(&self, entry: &CapabilityEntry, field: &str, key: &CapabilityKey) -> CatalogError {
        CatalogError::new(
            entry,
            format!("{field} names a key that is missing: {}", self.unknown(key)),
        )
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

    /// What kind of account a capability is exercised with. A key that is not in the catalogue (any more) counts as
    /// a person's.
    pub fn kind_of(&self, key: &CapabilityKey) -> IntegrationKind {
        self.get(key).map_or(IntegrationKind::Google, |c| c.integration)
    }

    /// The scopes of all capabilities of one kind of account.
    pub fn scopes_of(&self, kind: IntegrationKind) -> ScopeSet {
        let mine = self.iter().filter(|c| c.integration == kind);
        mine.flat_map(|c| c.scopes.iter().cloned()).collect()
    }

    /// The capabilities of one kind of account that its granted scopes cover, by themselves or through a wider one,
    /// in the order they are shown.
    pub fn covered_by(&self, kind: IntegrationKind, granted: &ScopeSet) -> Vec<CapabilityKey> {
        self.iter()
            .filter(|c| c.integration == kind)
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
mod tests {
    use super::*;

    fn key(text: &str) -> CapabilityKey {
        text.parse().unwrap()
    }

    fn google(names: &str) -> ScopeSet {
        names
            .split(' ')
            .map(|name| format!("https://www.googleapis.com/auth/{name}").parse().unwrap())
            .collect()
    }

    fn entry(toml: &str) -> CapabilityEntry {
        toml::from_str(toml).unwrap()
    }

    fn refused(toml: &str) -> String {
        Catalog::builtin().with(&[entry(toml)]).unwrap_err().to_string()
    }

    #[test]
    fn the_built_in_catalogue_has_the_promised_keys_in_order() {
        let catalog = Catalog::builtin();
        let shown: Vec<_> = catalog
            .iter()
            .map(|c| {
                let scopes = c
                    .scopes
                    .to_string()
                    .replace("https://www.googleapis.com/auth/", "");
                format!(
                    "{} = {} ({}, {})",
                    c.key,
                    scopes,
                    c.group,
                    c.verification.as_str()
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "google.gmail.readonly = gmail.readonly (Gmail, restricted)",
                "google.gmail.send = gmail.send (Gmail, sensitive)",
                "google.calendar.readonly = calendar.readonly (Calendar, sensitive)",
                "google.calendar = calendar (Calendar, sensitive)",
                "google.drive.readonly = drive.readonly (Drive, restricted)",
                "google.drive = drive (Drive, restricted)",
                "google.sheets.readonly = spreadsheets.readonly (Sheets, sensitive)",
                "google.sheets = spreadsheets (Sheets, sensitive)",
                "google.docs.readonly = documents.readonly (Docs, sensitive)",
                "google.docs = documents (Docs, sensitive)",
                "google.sa = documents drive spreadsheets (Service account, none)",
            ]
        );
    }

    #[test]
    fn a_wider_grant_covers_the_readonly_twin_and_nothing_else() {
        let covered = Catalog::builtin().covered_by(IntegrationKind::Google, &google("calendar gmail.send"));
        assert_eq!(
            covered,
            [
                key("google.gmail.send"),
                key("google.calendar.readonly"),
                key("google.calendar")
            ]
        );
    }

    #[test]
    fn a_persons_grant_is_no_service_account() {
        let covered =
            Catalog::builtin().covered_by(IntegrationKind::Google, &google("drive documents spreadsheets"));
        assert!(!covered.contains(&key("google.sa")));
        assert_eq!(covered.len(), 6);
    }

    #[test]
    fn scopes_are_those_of_the_keys_and_an_unknown_key_is_named_with_a_suggestion() {
        let catalog = Catalog::builtin();
        let keys = [key("google.gmail.send"), key("google.calendar.readonly")];
        assert_eq!(
            catalog.scopes_for(&keys),
            Ok(google("calendar.readonly gmail.send"))
        );
        assert_eq!(
            catalog
                .scopes_for(&[key("google.gmal.send")])
                .unwrap_err()
                .to_string(),
            "`google.gmal.send` is not in the catalogue: did you mean `google.gmail.send`?"
        );
        assert_eq!(
            catalog.scopes_for(&[key("slack.post")]).unwrap_err().to_string(),
            "`slack.post` is not in the catalogue: `token-broker capabilities` lists what there is"
        );
    }

    #[test]
    fn an_operator_adds_a_wider_key_for_built_in_ones() {
        let mail = entry(
            "key = 'google.gmail'\ntitle = 'All of Gmail'\nscopes = ['https://mail.google.com/']\n\
             satisfies = ['google.gmail.readonly', 'google.gmail.send']",
        );
        let catalog = Catalog::builtin().with(&[mail]).unwrap();
        assert_eq!(
            catalog.covered_by(
                IntegrationKind::Google,
                &ScopeSet::parse("https://mail.google.com/").unwrap()
            ),
            [
                key("google.gmail.readonly"),
                key("google.gmail.send"),
                key("google.gmail")
            ]
        );
    }

    #[test]
    fn an_addition_that_cannot_be_right_is_refused_by_name() {
        assert_eq!(
            refused("key = 'google.drive'\ntitle = 'x'\nscopes = ['a']"),
            "capability `google.drive`: the key is already in the catalogue"
        );
        assert_eq!(
            refused("key = 'google.tasks'\ntitle = 'x'\nscopes = ['a b']"),
            "capability `google.tasks`: scope `a b` is not a scope: visible ASCII without spaces, quotes or \
             backslashes (RFC 6749, section 3.3)"
        );
        assert_eq!(
            refused("key = 'google.tasks'\ntitle = 'x'\nscopes = ['a']\nsatisfied_by = ['google.drve']"),
            "capability `google.tasks`: satisfied_by names a key that is missing: `google.drve` is not in \
             the catalogue: did you mean `google.drive`?"
        );
        assert_eq!(
            refused("key = 'google.tasks'\ntitle = 'x'\nscopes = []"),
            "capability `google.tasks`: scopes is empty: a capability needs at least one"
        );
        assert_eq!(
            refused("key = 'Tasks'\ntitle = 'x'\nscopes = ['a']"),
            "capability `Tasks`: key `Tasks` is not a capability key: lower-case words of letters, digits and \
             hyphens, joined by dots, such as `google.gmail.send`"
        );
        assert_eq!(
            refused("key = 'google.tasks'\ntitle = 'x'\nscopes = ['a']\nsatisfies = ['google.tasks']"),
            "capability `google.tasks`: it names itself in satisfied_by or satisfies"
        );
        assert_eq!(
            refused("key = 'google.tasks'\ntitle = 'x'\nscopes = ['a']\nsatisfied_by = ['google.sa']"),
            "capability `google.tasks`: it is for `google` and `google.sa` is for `google-sa`: one cannot \
             stand for the other"
        );
    }

    #[test]
    fn an_error_names_where_the_addition_was_written() {
        let mut tasks = entry("key = 'google.tasks'\ntitle = ''\nscopes = ['a']");
        tasks.origin = "config.toml:31".to_owned();
        assert_eq!(
            Catalog::builtin().with(&[tasks]).unwrap_err().to_string(),
            "config.toml:31: capability `google.tasks`: title is empty: say in a few words what it allows"
        );
    }
}
