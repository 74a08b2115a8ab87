//! `[[capabilities]]`: what the operator adds to the catalogue.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::{secret::shape::without_quotes, text::ShowPath};

use super::{
    error::ConfigError,
    values::{from_toml, line_of},
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
    /// The kind of account: `google` or `google-sa`.
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

fn other() -> String {
    "Other".to_owned()
}

fn google() -> String {
    "google".to_owned()
}

/// The part of the file that this section reads; the rest is checked elsewhere.
#[derive(Deserialize)]
struct Additions {
    #[serde(default)]
    capabilities: Vec<Spanned<CapabilityEntry>>,
}

/// The additions in the text of the file `file`.
pub(super) fn from_file(file: &Path, text: &str) -> Result<Vec<CapabilityEntry>, ConfigError> {
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
    let parsed: Additions = toml::from_str(&format!("capabilities = {value}")).map_err(|error| {
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
