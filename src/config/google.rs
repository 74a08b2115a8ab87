//! `[google]`: the OAuth client.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use url::Url;

use super::{
    client_secret,
    error::ConfigError,
    schema::{Key, Kind, Section, Unset, variable},
    secret_file::{self, Access},
    urls::below,
    values::{Values, required},
};
use crate::{
    address::is_at_loopback,
    secret::{ClientSecret, shape::redacted},
    text::ShowPath,
};

/// The keys of `[google]`.
pub(super) const SECTION: Section = Section {
    name: "google",
    about: "The OAuth client",
    keys: &[
        Key {
            path: "google.client_id",
            unset: Unset::Nothing("….apps.googleusercontent.com"),
            form: "a client id, such as 1234-abcd.apps.googleusercontent.com",
            doc: "The OAuth client, from https://console.cloud.google.com/auth/clients.",
            ..Key::USUAL
        },
        Key {
            path: "google.client_secret_file",
            kind: Kind::Path,
            unset: Unset::Nothing("/etc/token-broker/client_secret"),
            doc: "A file that nobody else can read, with its secret or the whole client_secret.json.",
            ..Key::USUAL
        },
        Key {
            path: "google.client_secret",
            unset: Unset::Nothing("…"),
            doc: "The secret itself, better kept in the environment than here.",
            is_secret: true,
            ..Key::USUAL
        },
        Key {
            path: "google.client_type",
            kind: Kind::Choice(&["web", "desktop"]),
            unset: Unset::Default("web"),
            doc: "\"web\", or \"desktop\" for a client of that type: Google adds no permissions to its grants, so\n\
             old and new ones are asked for together.",
            ..Key::USUAL
        },
        Key {
            path: "google.redirect_uri",
            kind: Kind::Url,
            unset: Unset::Derived("http://127.0.0.1:8420/oauth/callback"),
            doc: "Must be registered with the client exactly so. <public_url>/oauth/callback unless set.",
            ..Key::USUAL
        },
        Key {
            path: "google.dpop",
            kind: Kind::Flag,
            unset: Unset::Default("false"),
            doc: "Binds each new grant to a key of its own (DPoP, RFC 9449): whoever has the refresh token alone can do nothing\n\
             with it. Accounts that are connected already stay as they are until they are connected again.",
            ..Key::USUAL
        },
        Key {
            path: "google.endpoint_base",
            kind: Kind::Url,
            unset: Unset::Nothing("http://127.0.0.1:9005"),
            form: "an origin, such as https://emulator.example; plain http:// only on a loopback address, because \
                   secrets travel there",
            doc: "An emulator that serves Google's paths. HTTPS, or plain HTTP on a loopback address.",
            ..Key::USUAL
        },
    ],
};

/// The `[google]` section. No `Debug`: it may hold the client's secret.
#[derive(Clone, PartialEq, Eq)]
pub struct GoogleSection {
    /// The client's id; without it no account can be connected.
    pub client_id: Option<String>,
    /// What kind of client Google knows it as.
    pub client_type: ClientType,
    /// New grants are bound to a key of their own.
    pub dpop: bool,
    /// Where Google sends people back to.
    pub redirect_uri: Url,
    /// An emulator's origin instead of Google's.
    pub endpoint_base: Option<Url>,
    secret: Secret,
}

/// What kind of OAuth client it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientType {
    /// `web`.
    Web,
    /// `desktop`: Google does not support `include_granted_scopes` for it.
    Desktop,
}

impl FromStr for ClientType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "web" => Ok(Self::Web),
            "desktop" => Ok(Self::Desktop),
            _ => Err(()),
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Secret {
    None,
    Value(ClientSecret),
    File(PathBuf),
}

/// A client that is complete. No `Debug`: it holds a secret.
pub struct OAuthClient {
    /// Its id.
    pub id: String,
    /// Its secret; a desktop client may have none.
    pub secret: Option<ClientSecret>,
}

impl GoogleSection {
    pub(super) fn read(values: &mut Values, public_url: &Url) -> Result<Self, ConfigError> {
        let client_id = values.text("google.client_id")?;
        let fits = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'');
        let printable = |id: &String| id.len() <= 256 && id.bytes().all(fits);
        if !client_id.as_ref().is_none_or(printable) {
            return Err(values.wrong("google.client_id"));
        }
        Ok(Self {
            client_id,
            client_type: required(values, values.parsed("google.client_type")?, "google.client_type")?,
            dpop: values.flag("google.dpop")?,
            redirect_uri: values
                .url("google.redirect_uri")?
                .unwrap_or_else(|| below(public_url, "oauth/callback")),
            endpoint_base: endpoint_base(values)?,
            secret: secret(values)?,
        })
    }

    /// The file that holds the client's secret, where one does.
    pub(super) fn secret_file(&self) -> Option<&Path> {
        match &self.secret {
            Secret::File(path) => Some(path),
            Secret::None | Secret::Value(_) => None,
        }
    }

    /// Whether the secret is written in the same way, and is the same where it is written in the configuration itself.
    pub(super) fn has_same_secret(&self, other: &Self) -> bool {
        self.secret == other.secret
    }

    /// The client with its secret, which is read now where it is in a file.
    pub fn client(&self) -> Result<OAuthClient, ConfigError> {
        let Some(id) = self.client_id.clone() else {
            return Err(ConfigError::new(format!(
                "google.client_id is not set: create an OAuth client at \
                 https://console.cloud.google.com/auth/clients and set it, or {}",
                variable("google.client_id")
            )));
        };
        let secret = match &self.secret {
            Secret::Value(secret) => {
                let secret = client_secret::read(secret.expose().trim(), &id);
                Some(secret.map_err(|reason| ConfigError::new(format!("google.client_secret: {reason}")))?)
            }
            Secret::File(path) => {
                let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
                let access = Access::of(path, credentials.as_deref());
                let secret = secret_file::read(path, access).and_then(|text| client_secret::read(&text, &id));
                Some(secret.map_err(|reason| {
                    // Somebody may have written the secret itself there.
                    let file = redacted(&path.shown().to_string());
                    ConfigError::new(format!("google.client_secret_file {file}: {reason}"))
                })?)
            }
            Secret::None if self.client_type == ClientType::Web => {
                return Err(ConfigError::new(format!(
                    "google.client_secret_file is not set: a web client has a secret; set the file, or {}",
                    variable("google.client_secret")
                )));
            }
            Secret::None => None,
        };
        Ok(OAuthClient { id, secret })
    }
}

fn secret(values: &mut Values) -> Result<Secret, ConfigError> {
    const VALUE: &str = "google.client_secret";
    const FILE: &str = "google.client_secret_file";
    match values.prefer(VALUE, FILE)? {
        Some(VALUE) => {
            if values.is_in_file(VALUE) {
                check_config_is_private(values)?;
            }
            let text = values.take_secret(VALUE)?;
            Ok(text.map_or(Secret::None, |text| Secret::Value(ClientSecret::from(text))))
        }
        Some(_) => Ok(values.path(FILE)?.map_or(Secret::None, Secret::File)),
        None => Ok(Secret::None),
    }
}

/// A secret written into the configuration makes that file a secret.
fn check_config_is_private(values: &Values) -> Result<(), ConfigError> {
    use std::os::unix::fs::MetadataExt;
    let file = values.file();
    let mode = std::fs::metadata(file)
        .map_err(|error| ConfigError::in_file(file, error.to_string()))?
        .mode();
    secret_file::check_mode(file, mode).map_err(|reason| {
        let place = values.place("google.client_secret");
        ConfigError::new(format!(
            "{place} is a secret in a file that is not: {reason}, or use google.client_secret_file"
        ))
    })
}

fn endpoint_base(values: &Values) -> Result<Option<Url>, ConfigError> {
    let safe = |url: &Url| url.path() == "/" && (url.scheme() == "https" || is_at_loopback(url));
    match values.url("google.endpoint_base")? {
        Some(url) if !safe(&url) => Err(values.wrong("google.endpoint_base")),
        other => Ok(other),
    }
}
