//! `key.transit_…`: how a Transit engine of Vault or OpenBao is spoken to.

use std::path::PathBuf;

use super::{
    error::ConfigError,
    secret_file::{self, Access},
    values::Values,
};
use crate::{
    secret::{AccessToken, shape::redacted},
    text::ShowPath,
};

const TOKEN_FILE: &str = "key.transit_token_file";
const NAMESPACE: &str = "key.transit_namespace";

/// What a request to a Transit engine needs besides the key's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitSection {
    /// What the daemon proves itself with there, exchanged by who keeps it fresh.
    pub token_file: PathBuf,
    /// The authorities of the server's certificate, in PEM; the system's without it.
    pub ca_file: Option<PathBuf>,
    /// The namespace that the engine is mounted in.
    pub namespace: Option<String>,
}

impl TransitSection {
    /// `None` without a token's file, which only a Transit engine needs.
    pub(super) fn read(values: &Values, is_needed: bool) -> Result<Option<Self>, ConfigError> {
        let token_file = values.path(TOKEN_FILE)?;
        let ca_file = values.path("key.transit_ca_file")?;
        let namespace = values.text(NAMESPACE)?;
        let fits = |name: &String| {
            !name.is_empty() && name.len() <= 256 && name.bytes().all(|b| b.is_ascii_graphic())
        };
        if !namespace.as_ref().is_none_or(fits) {
            return Err(values.wrong(NAMESPACE));
        }
        match token_file {
            Some(token_file) => Ok(Some(Self {
                token_file,
                ca_file,
                namespace,
            })),
            None if is_needed => Err(ConfigError::new(format!(
                "{TOKEN_FILE} is not set: transit: needs a token, from a file that Vault Agent or somebody else keeps fresh"
            ))),
            None => Ok(None),
        }
    }

    /// The token that is in its file now.
    ///
    /// # Errors
    /// A file that is not there, that others may read, or that holds no token.
    pub fn token(&self) -> Result<AccessToken, ConfigError> {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        let access = Access::of(&self.token_file, credentials.as_deref());
        let wrong = |reason: String| {
            // Somebody may have written the token itself there.
            let file = redacted(&self.token_file.shown().to_string());
            ConfigError::new(format!("{TOKEN_FILE} {file}: {reason}"))
        };
        let token = secret_file::read(&self.token_file, access).map_err(wrong)?;
        if !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong("it holds no token".to_owned()));
        }
        Ok(token.as_str().into())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use super::*;
    use crate::config::{Config, KeySource};

    const SEAL: &str = "transit:https://vault.example/v1/transit/keys/tb";

    fn parse(key: &str) -> Result<Config, String> {
        let text = format!("[key]\n{key}");
        let none = std::iter::empty();
        Config::from_parts(Path::new("/etc/token-broker/config.toml"), Some(&text), none)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_transit_engine_needs_a_token_wherever_it_is_named() {
        let needs = "key.transit_token_file is not set: transit: needs a token, from a file that Vault Agent or somebody else \
                     keeps fresh";
        for source in [format!("source = '{SEAL}'"), format!("previous = ['{SEAL}']")] {
            assert_eq!(parse(&source).err().unwrap(), needs);
            let config = parse(&format!("{source}\ntransit_token_file = 'token'"))
                .ok()
                .unwrap();
            let section = config.key.transit.unwrap();
            assert_eq!(section.token_file, Path::new("/etc/token-broker/token"));
            assert_eq!((section.ca_file, section.namespace), (None, None));
        }
        assert_eq!(parse("source = 'file:/k'").ok().unwrap().key.transit, None);
    }

    #[test]
    fn an_authority_and_a_namespace_are_taken() {
        let config = parse(&format!(
            "source = 'kms:unix:///run/kms.sock'\nprevious = ['{SEAL}']\ntransit_token_file = '/t'\n\
             transit_ca_file = 'ca.pem'\ntransit_namespace = 'team/a'"
        ))
        .ok()
        .unwrap();
        assert_eq!(config.key.source, KeySource::Kms("/run/kms.sock".into()));
        let section = config.key.transit.unwrap();
        assert_eq!(
            section.ca_file.as_deref(),
            Some(Path::new("/etc/token-broker/ca.pem"))
        );
        assert_eq!(section.namespace.as_deref(), Some("team/a"));
        for wrong in ["", "a b", "a\\n"] {
            let error = parse(&format!("transit_namespace = \"{wrong}\"")).err().unwrap();
            assert!(error.contains("key.transit_namespace is"), "{error}");
        }
    }

    #[test]
    fn a_token_is_read_anew_and_only_from_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let section = TransitSection {
            token_file: folder.path().join("token"),
            ca_file: None,
            namespace: None,
        };
        let write = |text: &str, mode| {
            fs::write(&section.token_file, text).unwrap();
            fs::set_permissions(&section.token_file, fs::Permissions::from_mode(mode)).unwrap();
        };
        for token in ["hvs.one", "s.two"] {
            write(&format!("{token}\n"), 0o600);
            assert_eq!(section.token().ok().unwrap().expose(), token);
        }
        for (text, mode) in [("hvs.one", 0o644), ("{\"token\": \"x\"}", 0o600), ("", 0o600)] {
            write(text, mode);
            assert!(section.token().is_err(), "{text}");
        }
    }
}
