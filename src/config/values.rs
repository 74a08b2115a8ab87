//! Values by key, read as what their section needs: a text, a path, a number in the key's range.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use url::Url;

use crate::{secret::shape::redacted, text};

use super::{
    error::ConfigError,
    kubernetes_service::KubernetesService,
    schema::{Key, LIST, TEXT},
    sources::{Data, Origin, Sources, Value},
    urls::is_plain_web,
};

/// What was found for each key, for the sections to take.
pub(super) struct Values(Sources);

impl Values {
    /// What these sources say.
    pub(super) fn new(sources: Sources) -> Self {
        Self(sources)
    }

    /// Where they come from.
    pub(super) fn sources(&self) -> &Sources {
        &self.0
    }

    /// What Kubernetes tells every container.
    pub(super) fn kubernetes_service(&self) -> &KubernetesService {
        &self.0.kubernetes_service
    }

    /// True when the value was written in the file.
    pub(super) fn is_in_file(&self, path: &str) -> bool {
        matches!(
            self.0.found(path),
            Some(Value {
                origin: Origin::Line(_),
                ..
            })
        )
    }

    /// Which of two keys that exclude each other counts: the environment's one before the file's.
    pub(super) fn prefer<'k>(&self, one: &'k str, other: &'k str) -> Result<Option<&'k str>, ConfigError> {
        let origin = |path| self.0.found(path).map(|value: &Value| &value.origin);
        match (origin(one), origin(other)) {
            (None, None) => Ok(None),
            (Some(_), None) | (Some(Origin::Variable(_)), Some(Origin::Line(_))) => Ok(Some(one)),
            (None, Some(_)) | (Some(Origin::Line(_)), Some(Origin::Variable(_))) => Ok(Some(other)),
            (Some(_), Some(_)) => {
                let place = self.place(other);
                Err(ConfigError::new(format!(
                    "{place} excludes {one}: set one of the two"
                )))
            }
        }
    }

    /// A text; `None` without value and default.
    pub(super) fn text(&self, path: &str) -> Result<Option<String>, ConfigError> {
        match self.value(path)? {
            None => Ok(None),
            Some(Value {
                data: Data::Text(text),
                ..
            }) => Ok(Some(text)),
            Some(_) => Err(self.unlike(path, TEXT)),
        }
    }

    /// A value that is spelled as a text.
    pub(super) fn parsed<T: FromStr>(&self, path: &str) -> Result<Option<T>, ConfigError> {
        let parse = |text: String| text.parse().map_err(|_| self.wrong(path));
        self.text(path)?.map(parse).transpose()
    }

    /// An address and port.
    pub(super) fn address(&self, path: &str) -> Result<Option<SocketAddr>, ConfigError> {
        self.parsed(path)
    }

    /// A URL of the web, without user, query or fragment.
    pub(super) fn url(&self, path: &str) -> Result<Option<Url>, ConfigError> {
        match self.parsed(path)? {
            Some(url) if !is_plain_web(&url) => Err(self.wrong(path)),
            other => Ok(other),
        }
    }

    /// A path: relative to the folder of the file where it was written there, else to the working directory.
    pub(super) fn path(&self, path: &str) -> Result<Option<PathBuf>, ConfigError> {
        self.text(path)?
            .map(|text| match text.trim() {
                // The folder that relative paths begin at would be meant by it.
                "" => Err(self.wrong(path)),
                _ => self.resolve(path, Path::new(&text)),
            })
            .transpose()
    }

    /// A path inside the value of a key, made absolute like [`Values::path`].
    pub(super) fn resolve(&self, path: &str, value: &Path) -> Result<PathBuf, ConfigError> {
        let from_file = self.file().parent().filter(|_| self.is_in_file(path));
        let value = from_file.map_or_else(|| value.to_owned(), |folder| folder.join(value));
        std::path::absolute(value).map_err(|_| self.unlike(path, "a path"))
    }

    /// A file in the folder of the configuration file.
    pub(super) fn beside_file(&self, name: &str) -> Result<PathBuf, ConfigError> {
        let folder = self.file().parent().unwrap_or(Path::new("/"));
        std::path::absolute(folder.join(name))
            .map_err(|error| ConfigError::in_file(self.file(), error.to_string()))
    }

    /// The configuration file, present or not.
    pub(super) fn file(&self) -> &Path {
        self.0.file()
    }

    /// A whole number in the key's range.
    pub(super) fn number<N: TryFrom<i64>>(&self, path: &str) -> Result<N, ConfigError> {
        let number = match self.value(path)? {
            Some(Value {
                data: Data::Number(number),
                ..
            }) => number,
            Some(Value {
                data: Data::Text(text),
                origin,
            }) if !matches!(origin, Origin::Line(_)) => text.parse().ok(),
            _ => None,
        };
        let range = self.key(path)?.range();
        number
            .filter(|number| range.is_some_and(|range| range.contains(number)))
            .and_then(|number| N::try_from(number).ok())
            .ok_or_else(|| self.wrong(path))
    }

    /// Yes or no; no without value and default.
    pub(super) fn flag(&self, path: &str) -> Result<bool, ConfigError> {
        match self.value(path)? {
            None => Ok(false),
            Some(Value {
                data: Data::Flag(flag),
                ..
            }) => Ok(flag),
            Some(Value {
                data: Data::Text(text),
                origin,
            }) if !matches!(origin, Origin::Line(_)) => text.parse().map_err(|_| self.wrong(path)),
            Some(_) => Err(self.wrong(path)),
        }
    }

    /// A list of texts.
    pub(super) fn list(&self, path: &str) -> Result<Vec<String>, ConfigError> {
        match self.value(path)? {
            None => Ok(Vec::new()),
            Some(Value {
                data: Data::List(list),
                ..
            }) => Ok(list),
            Some(Value {
                data: Data::Text(text),
                origin,
            }) if !matches!(origin, Origin::Line(_)) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Ok(parts.map(str::to_owned).collect())
            }
            Some(_) => Err(self.unlike(path, LIST)),
        }
    }

    /// A list of texts that each mean something.
    pub(super) fn list_of<T>(
        &self,
        path: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ConfigError> {
        let texts = self.list(path)?;
        let parsed: Option<_> = texts.iter().map(|text| parse(text)).collect();
        parsed.ok_or_else(|| self.wrong(path))
    }

    /// The error that names a key, its value and what its table expects instead.
    pub(super) fn wrong(&self, path: &str) -> ConfigError {
        let expected = self.0.keys().find(path).map(Key::expected);
        self.unlike(path, &expected.unwrap_or_default())
    }

    /// The same, with a reason.
    pub(super) fn wrong_because(&self, path: &str, why: &str) -> ConfigError {
        let expected = self.0.keys().find(path).map(Key::expected);
        self.unlike(path, &format!("{}: {why}", expected.unwrap_or_default()))
    }

    /// The same, with something else that is expected.
    pub(super) fn unlike(&self, path: &str, expected: &str) -> ConfigError {
        let is_secret = self.0.keys().find(path).is_some_and(|key| key.is_secret);
        let value = match self.0.found(path).map(|value| &value.data) {
            _ if is_secret => "not usable".to_owned(),
            Some(Data::Text(text)) => format!("\"{}\"", shown(text)),
            Some(Data::Number(Some(number))) => number.to_string(),
            Some(Data::Number(None)) => "a number too large".to_owned(),
            Some(Data::Flag(flag)) => flag.to_string(),
            Some(Data::List(list)) => format!("\"{}\"", shown(&list.join("\", \""))),
            Some(Data::Other(kind)) => format!("a value of type {kind}"),
            None => "not set".to_owned(),
        };
        ConfigError::new(format!("{} is {value}: expected {expected}", self.place(path)))
    }

    /// Where a value comes from, and its key.
    pub(super) fn place(&self, path: &str) -> String {
        self.0.place(path)
    }

    /// Takes a secret text out, so that no copy stays behind.
    pub(super) fn take_secret(&mut self, path: &str) -> Result<Option<String>, ConfigError> {
        if let Some(value) = self.0.found(path)
            && !matches!(value.data, Data::Text(_))
        {
            return Err(self.unlike(path, TEXT));
        }
        Ok(self.0.take(path).and_then(|value| match value.data {
            Data::Text(text) => Some(text),
            _ => None,
        }))
    }

    fn value(&self, path: &str) -> Result<Option<Value>, ConfigError> {
        Ok(self.0.value(self.key(path)?))
    }

    /// The key that a section reads. One that its table lacks is a mistake in the code, which every start shows.
    fn key(&self, path: &str) -> Result<&'static Key, ConfigError> {
        let key = self.0.keys().find(path);
        key.ok_or_else(|| ConfigError::new(format!("{path}: there is no such key")))
    }
}

/// A key that has a default in the table has a value.
pub(super) fn required<T>(values: &Values, value: Option<T>, path: &str) -> Result<T, ConfigError> {
    value.ok_or_else(|| values.unlike(path, "a value"))
}

/// A text that a person wrote, neither endless nor able to move their cursor. A secret in the wrong place stays
/// out of it.
fn shown(text: &str) -> String {
    text::quoted(&redacted(text), 120)
}
