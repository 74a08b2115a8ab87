//! `[google]`: the OAuth client.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use url::Url;

use super::{
    client_secret,
    error::ConfigError,
    secret_file::{self, Access},
    urls::{below, is_plain_web},
    values::Values,
};
use crate::{
    address::is_at_loopback,
    secret::{ClientSecret, shape::redacted},
    text::ShowPath,
};

/// The `[google]` section. No `Debug`: it may hold the client's secret.
#[derive(Clone, PartialEq, Eq)]
pub struct GoogleSection {
    /// The client's id; without it no account can be connected.
    pub client_id: Option<String>,
    /// What kind of client Google knows it as.
    pub client_type: ClientType,
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
        const CLIENT_ID: &str = "a client id, such as 1234-abcd.apps.googleusercontent.com";
        let client_id = values.text("google.client_id")?;
        let fits = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'');
        let printable = |id: &String| id.len() <= 256 && id.bytes().all(fits);
        if !client_id.as_ref().is_none_or(printable) {
            return Err(values.wrong("google.client_id", CLIENT_ID));
        }
        Ok(Self {
            client_id,
            client_type: values
                .parsed("google.client_type", "\"web\" or \"desktop\"")?
                .unwrap_or(ClientType::Web),
            redirect_uri: redirect_uri(values, public_url)?,
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
            return Err(ConfigError::new(
                "google.client_id is not set: create an OAuth client at \
                 https://console.cloud.google.com/auth/clients and set it, or TOKEN_BROKER_GOOGLE_CLIENT_ID",
            ));
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
                return Err(ConfigError::new(
                    "google.client_secret_file is not set: a web client has a secret; set the file, or \
                     TOKEN_BROKER_GOOGLE_CLIENT_SECRET",
                ));
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

fn redirect_uri(values: &Values, public_url: &Url) -> Result<Url, ConfigError> {
    const EXPECTED: &str = "an http:// or https:// URL without user, query or fragment";
    let given: Option<Url> = values.parsed("google.redirect_uri", EXPECTED)?;
    match given {
        None => Ok(below(public_url, "oauth/callback")),
        Some(url) if is_plain_web(&url) => Ok(url),
        Some(_) => Err(values.wrong("google.redirect_uri", EXPECTED)),
    }
}

fn endpoint_base(values: &Values) -> Result<Option<Url>, ConfigError> {
    const EXPECTED: &str = "an origin, such as https://emulator.example; plain http:// only on a loopback \
                            address, because secrets travel there";
    let given: Option<Url> = values.parsed("google.endpoint_base", EXPECTED)?;
    let safe = |url: &Url| {
        let origin = is_plain_web(url) && url.path() == "/";
        origin && (url.scheme() == "https" || is_at_loopback(url))
    };
    match given {
        Some(url) if !safe(&url) => Err(values.wrong("google.endpoint_base", EXPECTED)),
        other => Ok(other),
    }
}
