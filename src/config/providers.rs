//! `[[providers]]`: who gives tokens besides Google.
//!
//! What there is to say of a provider depends on its `type`, so each type reads its own settings.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use toml::{Spanned, Table};

use crate::{
    id::ProviderId,
    secret::{ClientSecret, shape::without_quotes},
    text::ShowPath,
};

use super::{
    error::ConfigError,
    secret_file::{self, Access},
    table::{Keys, keys_of, no_such_key},
    toml_error::{from_toml, line_of},
};

/// A provider as the file spells it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProviderEntry {
    /// Its key, by which manifests and capabilities name it.
    pub id: ProviderId,
    /// Of which type it is.
    pub kind: String,
    /// Everything else, as TOML.
    settings: String,
    /// The lines of all its keys.
    lines: BTreeMap<String, usize>,
    /// The configuration file.
    file: PathBuf,
    /// Where it begins.
    line: usize,
}

#[derive(Deserialize)]
struct Entry {
    id: ProviderId,
    r#type: String,
    #[serde(flatten)]
    settings: Table,
}

/// The part of the file that this section reads; the rest is checked elsewhere.
#[derive(Deserialize)]
struct Additions {
    #[serde(default)]
    providers: Vec<Spanned<Entry>>,
}

/// The same part, by its keys alone.
#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    providers: Vec<Keys>,
}

/// What every entry has. The rest is its type's.
const NEEDED: [&str; 2] = ["id", "type"];

/// The keys of each entry in `text`.
fn listed(text: &str) -> Vec<Keys> {
    // What is no list of tables is told of by who reads the entries.
    toml::from_str(text).map_or_else(|_| Vec::new(), |listed: Listed| listed.providers)
}

/// The providers in the text of the file `file`.
pub(super) fn from_file(file: &Path, text: &str) -> Result<Vec<ProviderEntry>, ConfigError> {
    let listed = listed(text);
    // The first key that is a slip of one that its entry lacks.
    if let Some((position, message)) = listed.iter().find_map(|keys| keys.slip_of(&NEEDED)) {
        let message = format!("providers: {message}");
        return Err(ConfigError::in_line(file, line_of(text, position), message));
    }
    let parsed: Additions = toml::from_str(text).map_err(|error| from_toml(file, text, &error))?;
    let mut entries: Vec<ProviderEntry> = Vec::new();
    for (entry, keys) in parsed.providers.into_iter().zip(&listed) {
        let line = line_of(text, entry.span().start);
        let Entry { id, r#type, settings } = entry.into_inner();
        if entries.iter().any(|other| other.id == id) {
            let message = format!("providers: there is `{id}` twice");
            return Err(ConfigError::in_line(file, line, message));
        }
        entries.push(ProviderEntry {
            id,
            kind: r#type,
            settings: settings.to_string(),
            lines: keys.lines(text),
            file: file.to_owned(),
            line,
        });
    }
    Ok(entries)
}

impl ProviderEntry {
    /// Its settings as its type reads them.
    ///
    /// # Errors
    /// A setting that is missing, of another type, or unknown: with its place, or that of the entry.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let known = keys_of::<T>();
        let unknown = self.lines.iter().filter(|(key, _)| {
            let key = key.as_str();
            !known.contains(&key) && !NEEDED.contains(&key)
        });
        if let Some((key, line)) = unknown.min_by_key(|(_, line)| **line) {
            return Err(self.wrong_in(*line, &no_such_key(key, known.iter().copied())));
        }
        toml::from_str(&self.settings).map_err(|error| {
            let message = without_quotes(error.message());
            match error.span().and_then(|span| self.key_at(span.start)) {
                Some(key) => self.wrong_value(key, message),
                None => self.wrong(message),
            }
        })
    }

    /// The key whose line of the settings holds this position.
    fn key_at(&self, position: usize) -> Option<&str> {
        let line = self.settings.lines().nth(line_of(&self.settings, position) - 1)?;
        let (key, _) = line.split_once(" = ")?;
        self.lines.contains_key(key).then_some(key)
    }

    /// An error about it.
    pub fn wrong(&self, message: impl AsRef<str>) -> ConfigError {
        self.wrong_in(self.line, message.as_ref())
    }

    /// An error about the value of this key.
    pub fn wrong_value(&self, key: &str, message: impl AsRef<str>) -> ConfigError {
        let line = self.lines.get(key).copied().unwrap_or(self.line);
        self.wrong_in(line, &format!("{key}: {}", message.as_ref()))
    }

    fn wrong_in(&self, line: usize, message: &str) -> ConfigError {
        ConfigError::in_line(&self.file, line, format!("provider `{}`: {message}", self.id))
    }

    /// The files that its settings name: those of the keys `…_file`.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let settings: Table = toml::from_str(&self.settings).unwrap_or_default();
        let named = settings.iter().filter(|(key, _)| key.ends_with("_file"));
        let files = named.filter_map(|(_, file)| file.as_str());
        files.map(|file| self.beside(Path::new(file))).collect()
    }

    /// A path as its settings have it: relative to the folder of the file they are in.
    fn beside(&self, path: &Path) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("/")).join(path)
    }

    /// The secret in a file that its settings name. Nobody else may be able to read the file.
    ///
    /// # Errors
    /// A file that is not there, that others may read, or that is empty.
    pub fn secret_in(&self, file: &Path) -> Result<ClientSecret, ConfigError> {
        let path = self.beside(file);
        let access = Access::of(&path, std::env::var_os("CREDENTIALS_DIRECTORY").as_deref());
        let wrong =
            |reason: &str| self.wrong_value("client_secret_file", format!("{}: {reason}", path.shown()));
        let secret = secret_file::read(&path, access).map_err(|reason| wrong(&reason))?;
        if secret.is_empty() {
            return Err(wrong("it is empty"));
        }
        Ok(secret.as_str().into())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        issuer: String,
    }

    fn read(text: &str) -> Result<Vec<ProviderEntry>, String> {
        from_file(Path::new("/etc/token-broker/config.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_provider_has_a_key_a_type_and_what_its_type_reads() {
        let text = "[[providers]]\nid = 'acme'\ntype = 'oidc'\nissuer = 'https://acme.example'\n";
        let entries = read(text).unwrap();
        let [acme] = entries.as_slice() else { panic!("one") };
        assert_eq!((acme.id.as_str(), acme.kind.as_str()), ("acme", "oidc"));
        let issuer = "https://acme.example".to_owned();
        assert_eq!(acme.settings::<Settings>().ok(), Some(Settings { issuer }));
    }

    #[test]
    fn what_is_wrong_with_an_entry_is_said_with_its_place() {
        let twice = "[[providers]]\nid = 'a'\ntype = 'x'\n[[providers]]\nid = 'a'\ntype = 'x'\n";
        assert!(
            read(twice)
                .err()
                .unwrap()
                .contains("config.toml:4: providers: there is `a` twice")
        );
        assert!(
            read("[[providers]]\ntype = 'x'\n")
                .err()
                .unwrap()
                .contains("missing field")
        );
        assert!(
            read("[[providers]]\nid = 'A b'\ntype = 'x'\n")
                .err()
                .unwrap()
                .contains("is not a provider")
        );
        let settings = |text: &str| {
            let entries = read(text).unwrap();
            entries[0].settings::<Settings>().unwrap_err().to_string()
        };
        let entry = "\n[[providers]]\nid = 'acme'\ntype = 'oidc'\n";
        for (text, line) in [("issuer = 'x'\n\nisuer = 'y'\n", 7), ("isuer = 'y'\n", 5)] {
            assert_eq!(
                settings(&format!("{entry}{text}")),
                format!(
                    "/etc/token-broker/config.toml:{line}: provider `acme`: isuer: there is no such key: did you mean issuer?"
                )
            );
        }
        let wrong = settings(&format!("{entry}# Where it is.\nissuer = 3\n"));
        assert!(
            wrong.starts_with("/etc/token-broker/config.toml:6: provider `acme`: issuer: invalid type"),
            "{wrong}"
        );
        assert!(settings(entry).contains("missing field"));
    }

    #[test]
    fn a_slip_of_what_every_entry_has_is_named() {
        for (text, said) in [
            (
                "ID = 'acme'\ntype = 'oidc'\n",
                "2: providers: ID: there is no such key: did you mean id?",
            ),
            (
                "id = 'acme'\ntyp = 'oidc'\n",
                "3: providers: typ: there is no such key: did you mean type?",
            ),
        ] {
            let error = read(&format!("[[providers]]\n{text}")).err().unwrap();
            assert_eq!(error, format!("/etc/token-broker/config.toml:{said}"));
        }
    }

    #[test]
    fn a_secret_is_read_from_beside_the_configuration_and_only_where_nobody_else_can() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        let text = "[[providers]]\nid = 'acme'\ntype = 'oidc'\n";
        let entries = from_file(&file, text).unwrap();
        let secret = folder.path().join("acme.secret");
        fs::write(&secret, "sesame\n").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let read = || entries[0].secret_in(Path::new("acme.secret"));
        assert_eq!(read().unwrap().expose(), "sesame");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read().is_err());
    }
}
