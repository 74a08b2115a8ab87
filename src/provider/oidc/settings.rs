//! What the configuration says of such a server.

use std::path::PathBuf;

use serde::Deserialize;
use url::Url;

use crate::{
    address::is_at_loopback,
    config::{ConfigError, ProviderEntry},
    secret::ClientSecret,
    text::is_shown,
};

/// As the file spells it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// What people call it; the key where it has no other name.
    name: Option<String>,
    /// Where it is: the address that its id tokens name as well.
    issuer: Url,
    client_id: String,
    client_secret_file: Option<PathBuf>,
    /// New grants are bound to a key (RFC 9449).
    #[serde(default)]
    dpop: bool,
    /// The beginning of the variables' names; the key in capitals where there is no other.
    env_prefix: Option<String>,
}

/// Settings that can be used. No `Debug`: they hold the client's secret.
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) issuer: Url,
    pub(super) client_id: String,
    pub(super) client_secret: Option<ClientSecret>,
    pub(super) dpop: bool,
    pub(super) env_prefix: String,
    /// The entry's key, for sentences about its settings.
    pub(super) id: String,
}

impl Settings {
    /// Reads an entry, and its client's secret.
    pub(super) fn read(entry: &ProviderEntry) -> Result<Self, ConfigError> {
        let written: Written = entry.settings()?;
        let name = written.name.unwrap_or_else(|| entry.id.to_string());
        if name.trim().is_empty() || name.chars().count() > 40 || !name.chars().all(is_shown) {
            return Err(entry.wrong_value("name", "expected one line of at most 40 characters"));
        }
        let safe = match written.issuer.scheme() {
            "https" => true,
            "http" => is_at_loopback(&written.issuer),
            _ => false,
        };
        let bare = written.issuer.username().is_empty() && written.issuer.password().is_none();
        if !safe || !bare || written.issuer.query().is_some() || written.issuer.fragment().is_some() {
            return Err(entry.wrong_value(
                "issuer",
                "expected an https address, or http on loopback, without a query or a password",
            ));
        }
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'');
        if written.client_id.is_empty() || !written.client_id.bytes().all(plain) {
            return Err(entry.wrong_value("client_id", "expected the id that the server gave to this client"));
        }
        let env_prefix = written
            .env_prefix
            .unwrap_or_else(|| entry.id.as_str().to_ascii_uppercase().replace('-', "_"));
        if !is_prefix(&env_prefix) {
            let expected =
                "expected capital letters, digits and _, such as ACME; GOOGLE and TOKEN_BROKER are taken";
            return Err(entry.wrong_value("env_prefix", expected));
        }
        let secret = written.client_secret_file.as_deref();
        Ok(Self {
            name,
            issuer: written.issuer,
            client_id: written.client_id,
            client_secret: secret.map(|file| entry.secret_in(file)).transpose()?,
            dpop: written.dpop,
            env_prefix,
            id: entry.id.to_string(),
        })
    }
}

fn is_prefix(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    (1..=32).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(fits)
        && !["GOOGLE", "TOKEN_BROKER"].contains(&text)
}
