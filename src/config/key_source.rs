//! The forms of a seal in the configuration, and how a master key is read from where it is.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use url::Url;
use zeroize::Zeroizing;

use crate::{address::is_at_loopback, secret::shape::is_key, text::ShowPath};

use super::{
    error::ConfigError,
    helper,
    secret_file::{self, Access},
    urls::is_plain_web,
};

/// How long a `command:` source may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// What a seal looks like.
pub(super) const FORM: &str = "file:PATH, env:VARIABLE, credential:NAME, command:PROGRAM ARGUMENTS, kms:unix://SOCKET or \
                               transit:https://HOST/v1/MOUNT/keys/NAME";

/// A seal as the configuration names it: where a master key comes from, or who wraps keys. It holds the way to a key, not the
/// key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `file:`, readable by its owner alone.
    File(PathBuf),
    /// `env:`, an environment variable.
    Variable(String),
    /// `credential:`, a file in `$CREDENTIALS_DIRECTORY` (systemd's `LoadCredential=`).
    Credential(String),
    /// `command:`, the output of a program, started without a shell.
    Command(Vec<String>),
    /// `kms:unix://`, the socket of a plugin of the Kubernetes KMS v2 protocol. It keeps its key to itself.
    Kms(PathBuf),
    /// `transit:`, the address of a key of Vault's or OpenBao's Transit engine. It keeps its key to itself.
    Transit(Url),
}

/// The address of a key of a Transit engine, wherever that is mounted. Plain HTTP is for loopback alone, because a token and
/// keys travel there.
fn transit_key(text: &str) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    let is_part = |part: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        !part.is_empty() && part.bytes().all(fits)
    };
    let (mount, name) = url.path().strip_prefix("/v1/")?.rsplit_once("/keys/")?;
    let is_key = mount.split('/').all(is_part) && is_part(name);
    let is_safe = url.scheme() == "https" || is_at_loopback(&url);
    (is_plain_web(&url) && is_safe && is_key).then_some(url)
}

/// A text that is no [`KeySource`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {FORM}")]
pub struct InvalidKeySource;

impl FromStr for KeySource {
    type Err = InvalidKeySource;

    fn from_str(text: &str) -> Result<Self, InvalidKeySource> {
        let (kind, value) = text.split_once(':').ok_or(InvalidKeySource)?;
        let value = value.trim();
        // The key itself, in the place of its name, would be named in messages.
        if value.is_empty() || value.chars().any(char::is_control) || is_key(value) {
            return Err(InvalidKeySource);
        }
        match kind {
            "file" => Ok(Self::File(value.into())),
            "env" if !value.contains([' ', '=']) => Ok(Self::Variable(value.to_owned())),
            "credential" if !value.contains('/') && value != ".." => Ok(Self::Credential(value.to_owned())),
            "command" => Ok(Self::Command(
                value.split_whitespace().map(str::to_owned).collect(),
            )),
            "kms" => match value.strip_prefix("unix://") {
                Some(socket) if socket.starts_with('/') => Ok(Self::Kms(socket.into())),
                _ => Err(InvalidKeySource),
            },
            "transit" => transit_key(value).map(Self::Transit).ok_or(InvalidKeySource),
            _ => Err(InvalidKeySource),
        }
    }
}

/// As it is written, but for a command's arguments, which are the operator's own.
impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.shown()),
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Command(words) => write!(f, "command:{}", words.first().map_or("", String::as_str)),
            Self::Transit(key) => write!(f, "transit:{key}"),
            Self::Kms(socket) => write!(f, "kms:unix://{}", socket.shown()),
        }
    }
}

impl KeySource {
    /// Whether the daemon reads the key itself; false where its holder keeps it, and wraps with it.
    pub fn is_read(&self) -> bool {
        !matches!(self, Self::Kms(_) | Self::Transit(_))
    }

    /// The file or socket that it is, where it is one.
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Self::File(path) | Self::Kms(path) => Some(path.clone()),
            Self::Variable(_) | Self::Credential(_) | Self::Command(_) | Self::Transit(_) => None,
        }
    }

    /// Fetches the key's text, without the white space around it. `env` looks up an environment variable; a command gets
    /// those that `passed` names besides a few that all need.
    ///
    /// # Errors
    /// A key that cannot be read, or that its holder keeps to itself.
    pub async fn read(
        &self,
        env: impl Fn(&str) -> Option<String>,
        passed: &[String],
    ) -> Result<Zeroizing<String>, ConfigError> {
        let text = match self {
            Self::File(path) => secret_file::read(path, Access::Private).map_err(|reason| {
                if path.exists() {
                    reason
                } else {
                    format!(
                        "{reason}: restore the one in use from its copy; only for a new setup, `token-broker init` writes one"
                    )
                }
            }),
            Self::Variable(name) => match env(name).map(Zeroizing::new) {
                Some(value) => secret_file::text(value.as_bytes()),
                None => Err("the variable is not set".to_owned()),
            },
            Self::Credential(name) => match env("CREDENTIALS_DIRECTORY") {
                Some(folder) => secret_file::read(&PathBuf::from(folder).join(name), Access::Given),
                None => Err(format!(
                    "$CREDENTIALS_DIRECTORY is not set: add `LoadCredential={name}:PATH` to the systemd unit"
                )),
            },
            Self::Command(words) => helper::output(words, env, passed, COMMAND_LIMIT).await,
            Self::Kms(_) | Self::Transit(_) => Err("it keeps its key to itself".to_owned()),
        };
        text.map_err(|reason| ConfigError::new(format!("the key {self}: {reason}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|_| name == "PATH")
    }

    async fn read(source: &str) -> Result<String, String> {
        let source: KeySource = source.parse().unwrap();
        source
            .read(path, &[])
            .await
            .map(|text| text.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn sources_are_recognised_and_shown() {
        for text in [
            "file:/k",
            "env:KEY",
            "credential:master",
            "command:/bin/vault",
            "kms:unix:///run/kms.sock",
            "transit:https://vault.example:8200/v1/transit/keys/token-broker",
            "transit:https://vault.example/v1/team/a.b/transit_2/keys/tb",
            "transit:http://127.0.0.1:8200/v1/transit/keys/tb",
            "transit:http://localhost:8200/v1/keys/keys/keys",
        ] {
            assert_eq!(text.parse::<KeySource>().unwrap().to_string(), text);
        }
        let command: KeySource = "command:vault kv get".parse().unwrap();
        assert_eq!(command.to_string(), "command:vault");
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for text in [
            "",
            "/k",
            "file:",
            "vault:x",
            "env:A B",
            "credential:../x",
            "credential:..",
            "command: ",
            "kms:",
            "kms:/run/kms.sock",
            "kms:unix://",
            "kms:unix://run/kms.sock",
            "kms:unix:/run/kms.sock",
            "kms:tcp://127.0.0.1:1",
            "transit:",
            "transit:vault.example",
            "transit:http://vault.example/v1/transit/keys/tb",
            "transit:https://root@vault.example/v1/transit/keys/tb",
            "transit:https://vault.example/v1/transit/keys/tb?version=1",
            "transit:https://vault.example/v1/transit/keys/tb/",
            "transit:https://vault.example/v1/transit/keys/",
            "transit:https://vault.example/v1/keys/tb",
            "transit:https://vault.example/v1//keys/tb",
            "transit:https://vault.example/v1/transit/encrypt/tb",
            "transit:https://vault.example/transit/keys/tb",
            "transit:https://vault.example/v1/transit/keys/t%20b",
            "transit:ftp://vault.example/v1/transit/keys/tb",
        ] {
            assert_eq!(text.parse::<KeySource>(), Err(InvalidKeySource), "{text}");
        }
    }

    #[tokio::test]
    async fn a_variable_and_a_credential_are_looked_up() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("master"), "k1\n").unwrap();
        let folder = dir.path().display().to_string();
        let env = |name: &str| match name {
            "KEY" => Some("k2\n".to_owned()),
            "CREDENTIALS_DIRECTORY" => Some(folder.clone()),
            _ => None,
        };
        let read = async |text: &str| text.parse::<KeySource>().unwrap().read(env, &[]).await.unwrap();
        assert_eq!(read("credential:master").await.as_str(), "k1");
        assert_eq!(read("env:KEY").await.as_str(), "k2");
    }

    #[tokio::test]
    async fn an_error_names_the_source_and_what_to_do() {
        assert_eq!(
            read("env:KEY").await.unwrap_err(),
            "the key env:KEY: the variable is not set"
        );
        assert_eq!(
            read("credential:master").await.unwrap_err(),
            "the key credential:master: $CREDENTIALS_DIRECTORY is not set: add `LoadCredential=master:PATH` \
             to the systemd unit"
        );
        assert_eq!(
            read("file:/does/not/exist").await.unwrap_err(),
            "the key file:/does/not/exist: there is no such file: restore the one in use from its copy; \
             only for a new setup, `token-broker init` writes one"
        );
    }

    #[tokio::test]
    async fn a_command_gives_its_output_or_its_failure() {
        assert_eq!(read("command:echo k3").await.unwrap(), "k3");
        assert_eq!(
            read("command:false").await.unwrap_err(),
            "the key command:false: it failed (exit status: 1): run it by hand to see why"
        );
        let error = read("command:/does/not/exist").await.unwrap_err();
        assert!(
            error.starts_with("the key command:/does/not/exist: it does not start: "),
            "{error}"
        );
        assert_eq!(
            read("command:head -c 70000 /dev/zero").await.unwrap_err(),
            "the key command:head: it is longer than 65536 bytes"
        );
        assert_eq!(
            read("command:yes").await.unwrap_err(),
            "the key command:yes: it is longer than 65536 bytes"
        );
    }
}
