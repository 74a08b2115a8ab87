//! `[[capabilities]]`: what the operator adds to the catalogue.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::{secret::shape::without_quotes, text::ShowPath};

#[cfg(test)]
use super::schema::{Key, Kind, Unset};
use super::{
    error::ConfigError,
    table::{Keys, keys_of},
    toml_error::{from_toml, line_of},
};

/// A capability as a file spells it. The catalogue checks what it says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapabilityEntry {
    /// The key, such as `google.tasks.readonly`.
    pub key: String,
    /// What it allows, in a few words.
    pub title: String,
    /// What agents use it for.
    #[serde(default, rename = "use")]
    pub usage: String,
    /// The heading that it is listed under.
    #[serde(default = "other")]
    pub group: String,
    /// The scopes that it needs, all of them.
    pub scopes: Vec<String>,
    /// Whose accounts: `google`, `google-sa`, or the `id` of one of `[[providers]]`.
    #[serde(default = "google")]
    pub integration: String,
    /// How Google classifies its scopes: `basic`, `sensitive` or `restricted`; none where that is unknown.
    pub verification: Option<String>,
    /// Wider keys: when one of them is granted, this one is.
    #[serde(default)]
    pub satisfied_by: Vec<String>,
    /// Narrower keys: when this one is granted, they are.
    #[serde(default)]
    pub satisfies: Vec<String>,
    /// Where it was written, such as `config.toml:31`; empty for the catalogue that is built in.
    #[serde(skip)]
    pub origin: String,
}

const OTHER: &str = "Other";
const GOOGLE: &str = "google";

fn other() -> String {
    OTHER.to_owned()
}

fn google() -> String {
    GOOGLE.to_owned()
}

/// The keys of one `[[capabilities]]`, as the reference page tells them. They are read with serde.
#[cfg(test)]
pub(super) const FIELDS: &[Key] = &[
    Key {
        path: "key",
        unset: Unset::Nothing("google.tasks.readonly"),
        doc: "The key that agents ask for. Required.",
        ..Key::USUAL
    },
    Key {
        path: "title",
        unset: Unset::Nothing("Read tasks"),
        doc: "What it allows, in a few words. Required.",
        ..Key::USUAL
    },
    Key {
        path: "use",
        unset: Unset::Nothing("Plan the day"),
        doc: "What agents use it for.",
        ..Key::USUAL
    },
    Key {
        path: "group",
        unset: Unset::Default(OTHER),
        doc: "The heading that people see it under.",
        ..Key::USUAL
    },
    Key {
        path: "scopes",
        kind: Kind::List,
        unset: Unset::Nothing("https://www.googleapis.com/auth/tasks.readonly"),
        doc: "The scopes that it needs, all of them. Required.",
        ..Key::USUAL
    },
    Key {
        path: "integration",
        unset: Unset::Default(GOOGLE),
        form: "`google`, `google-sa`, or the `id` of one of `[[providers]]`",
        doc: "Whose accounts it is exercised with.",
        ..Key::USUAL
    },
    Key {
        path: "verification",
        kind: Kind::Choice(&["basic", "sensitive", "restricted"]),
        unset: Unset::Nothing("sensitive"),
        doc: "How Google classifies its scopes; left out where that is unknown.",
        ..Key::USUAL
    },
    Key {
        path: "satisfied_by",
        kind: Kind::List,
        unset: Unset::Nothing("google.tasks"),
        doc: "Wider keys. When one of them is granted, this one is.",
        ..Key::USUAL
    },
    Key {
        path: "satisfies",
        kind: Kind::List,
        unset: Unset::Nothing("google.tasks.lists"),
        doc: "Narrower keys. When this one is granted, they are.",
        ..Key::USUAL
    },
];

/// The part of the file that this section reads; the rest is checked elsewhere.
#[derive(Deserialize)]
struct Additions {
    #[serde(default)]
    capabilities: Vec<Spanned<CapabilityEntry>>,
}

/// The same part, by its keys alone.
#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    capabilities: Vec<Keys>,
}

/// The first key that no entry in `text` can have: where it is, and what is said of it.
fn unknown_key(text: &str) -> Option<(usize, String)> {
    // What is no list of tables is told of by who reads the entries.
    let listed: Listed = toml::from_str(text).ok()?;
    let known = keys_of::<CapabilityEntry>();
    let mut entries = listed.capabilities.iter();
    entries.find_map(|entry| entry.first_unknown(known))
}

/// The additions in the text of the file `file`.
pub(super) fn from_file(file: &Path, text: &str) -> Result<Vec<CapabilityEntry>, ConfigError> {
    if let Some((position, message)) = unknown_key(text) {
        let message = format!("capabilities: {message}");
        return Err(ConfigError::in_line(file, line_of(text, position), message));
    }
    let parsed: Additions = toml::from_str(text).map_err(|error| from_toml(file, text, &error))?;
    let with_origin = |entry: Spanned<CapabilityEntry>| {
        let line = line_of(text, entry.span().start);
        CapabilityEntry {
            origin: format!("{}:{line}", file.shown()),
            ..entry.into_inner()
        }
    };
    Ok(parsed.capabilities.into_iter().map(with_origin).collect())
}

/// The additions in the variable `TOKEN_BROKER_CAPABILITIES`: a TOML array of inline tables.
pub(super) fn from_variable(value: &str) -> Result<Vec<CapabilityEntry>, ConfigError> {
    let text = format!("capabilities = {value}");
    if let Some((_, message)) = unknown_key(&text) {
        return Err(ConfigError::new(format!("TOKEN_BROKER_CAPABILITIES: {message}")));
    }
    let parsed: Additions = toml::from_str(&text).map_err(|error| {
        ConfigError::new(format!(
            "TOKEN_BROKER_CAPABILITIES: expected [{{key = \"…\", title = \"…\", scopes = [\"…\"]}}]: {}",
            without_quotes(error.message())
        ))
    })?;
    let with_origin = |entry: Spanned<CapabilityEntry>| CapabilityEntry {
        origin: "TOKEN_BROKER_CAPABILITIES".to_owned(),
        ..entry.into_inner()
    };
    Ok(parsed.capabilities.into_iter().map(with_origin).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_tells_each_field_that_is_read() {
        let told: Vec<_> = FIELDS.iter().map(|field| field.path).collect();
        assert_eq!(keys_of::<CapabilityEntry>(), told);
    }

    #[test]
    fn an_unknown_key_is_named_also_where_another_is_missing() {
        let file = Path::new("/etc/token-broker/config.toml");
        let text = "[[capabilities]]\nkey = 'a.b'\ntitel = 'x'\nscopes = []\n";
        let error = from_file(file, text).err().unwrap().to_string();
        assert_eq!(
            error,
            "/etc/token-broker/config.toml:3: capabilities: titel: there is no such key: did you mean title?"
        );
        let error = from_variable("[{kye = 'a.b'}]").err().unwrap().to_string();
        assert_eq!(
            error,
            "TOKEN_BROKER_CAPABILITIES: kye: there is no such key: did you mean key?"
        );
        let error = from_file(file, "[[capabilities]]\nkey = 'a.b'\n").err().unwrap();
        assert!(error.to_string().contains("missing field"), "{error}");
    }
}
