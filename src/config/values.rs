//! Values by key, from the file and the environment, before any of them means something.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Display,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
};

use toml::de::{DeTable, DeValue};

use crate::{
    secret::shape::{is_field_name, redacted, without_quotes},
    text::{self, ShowPath},
};

use super::{
    error::ConfigError,
    keys::{self, KEYS, VARIABLE_PREFIX},
    kubernetes_service::KubernetesService,
    suggest, twice,
};

#[derive(Clone)]
enum Data {
    Text(String),
    Number(Option<i64>),
    List(Vec<String>),
    /// Of a type that no key has; its name.
    Other(&'static str),
}

#[derive(Clone)]
enum Origin {
    Line(usize),
    Variable(String),
    Default,
}

#[derive(Clone)]
struct Value {
    data: Data,
    origin: Origin,
}

/// What each key is by the file, or by default, as a variable would spell it; nothing where a variable says it. Secrets are
/// not in it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Written(BTreeMap<&'static str, Option<String>>);

impl Written {
    /// The keys that the file has otherwise, and no variable has, in one and the other.
    pub(super) fn differences(one: &Self, other: &Self) -> Vec<&'static str> {
        let keys: BTreeSet<&'static str> = one.0.keys().chain(other.0.keys()).copied().collect();
        let is_variable = |value: Option<&Option<String>>| value.is_some_and(Option::is_none);
        keys.into_iter()
            .filter(|key| {
                let (one, other) = (one.0.get(key), other.0.get(key));
                one != other && !is_variable(one) && !is_variable(other)
            })
            .collect()
    }
}

/// What was found for each key, with its origin for messages.
pub(super) struct Values {
    file: PathBuf,
    found: HashMap<&'static str, Value>,
    /// The text of `[[capabilities]]` in the environment.
    pub(super) capabilities_variable: Option<String>,
    /// What Kubernetes tells every container.
    pub(super) kubernetes_service: KubernetesService,
    /// Variables that look like a slip.
    pub(super) warnings: Vec<String>,
}

impl Values {
    /// No values, for a configuration whose file is or would be `file`.
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            found: HashMap::new(),
            capabilities_variable: None,
            kubernetes_service: KubernetesService::default(),
            warnings: Vec::new(),
        }
    }

    /// Takes the values of the file's text.
    pub(super) fn read_file(&mut self, text: &str) -> Result<(), ConfigError> {
        let table = DeTable::parse(text).map_err(|error| from_toml(&self.file, text, &error))?;
        self.read_table(text, "", table.get_ref())
    }

    fn read_table(&mut self, text: &str, section: &str, table: &DeTable<'_>) -> Result<(), ConfigError> {
        for (name, value) in table {
            let path = join(section, name.get_ref());
            let line = line_of(text, name.span().start);
            match value.get_ref() {
                // It is read by itself: its form is that of the catalogue.
                _ if path == "capabilities" => {}
                DeValue::Table(inner) if keys::is_section(&path) => self.read_table(text, &path, inner)?,
                _ if keys::is_section(&path) => {
                    let message = format!("{path}: expected a section, written as [{path}]");
                    return Err(ConfigError::in_line(&self.file, line, message));
                }
                value => {
                    let Some(key) = keys::find(&path) else {
                        return Err(ConfigError::in_line(&self.file, line, unknown(&path)));
                    };
                    let value = Value {
                        data: data(value),
                        origin: Origin::Line(line),
                    };
                    self.found.insert(key.path, value);
                }
            }
        }
        Ok(())
    }

    /// Takes the values of the environment; they win. An empty variable is none.
    pub(super) fn read_env(&mut self, env: impl Iterator<Item = (String, String)>) {
        let by_variable: HashMap<_, _> = KEYS.iter().map(|key| (keys::variable(key.path), key)).collect();
        for (name, text) in env.filter(|(_, text)| !text.is_empty()) {
            let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else {
                self.kubernetes_service.take(&name, &text);
                continue;
            };
            if let Some(key) = by_variable.get(&name) {
                let value = Value {
                    data: Data::Text(text),
                    origin: Origin::Variable(name),
                };
                self.found.insert(key.path, value);
            } else if rest == "CAPABILITIES" {
                self.capabilities_variable = Some(text);
            } else {
                let names = KEYS
                    .iter()
                    .map(|key| key.path.replace('.', "_"))
                    .collect::<Vec<_>>();
                // Others use the prefix too (Kubernetes for a service of that name), so no error.
                if let Some(meant) = suggest::closest(rest, names.iter().map(String::as_str)) {
                    let meant = keys::variable(meant);
                    self.warnings
                        .push(format!("{name} is not used: did you mean {meant}?"));
                }
            }
        }
        self.warnings.sort();
    }

    /// True when the value was written in the file.
    pub(super) fn is_in_file(&self, path: &str) -> bool {
        matches!(
            self.found.get(path),
            Some(Value {
                origin: Origin::Line(_),
                ..
            })
        )
    }

    /// Which of two keys that exclude each other counts: the environment's one before the file's.
    pub(super) fn prefer<'k>(&self, one: &'k str, other: &'k str) -> Result<Option<&'k str>, ConfigError> {
        let origin = |path| self.found.get(path).map(|value: &Value| &value.origin);
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
    pub(super) fn text(&self, path: &'static str) -> Result<Option<String>, ConfigError> {
        match self.value(path) {
            None => Ok(None),
            Some(Value {
                data: Data::Text(text),
                ..
            }) => Ok(Some(text)),
            Some(_) => Err(self.wrong(path, "a text in quotes")),
        }
    }

    /// A value that is spelled as a text.
    pub(super) fn parsed<T: FromStr>(
        &self,
        path: &'static str,
        expected: &str,
    ) -> Result<Option<T>, ConfigError> {
        let parse = |text: String| text.parse().map_err(|_| self.wrong(path, expected));
        self.text(path)?.map(parse).transpose()
    }

    /// A path: relative to the folder of the file where it was written there, else to the working directory.
    pub(super) fn path(&self, path: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        self.text(path)?
            .map(|text| match text.trim() {
                // The folder that relative paths begin at would be meant by it.
                "" => Err(self.wrong(path, "a path")),
                _ => self.resolve(path, Path::new(&text)),
            })
            .transpose()
    }

    /// A path inside the value of a key, made absolute like [`Values::path`].
    pub(super) fn resolve(&self, path: &'static str, value: &Path) -> Result<PathBuf, ConfigError> {
        let from_file = self.file.parent().filter(|_| self.is_in_file(path));
        let value = from_file.map_or_else(|| value.to_owned(), |folder| folder.join(value));
        std::path::absolute(value).map_err(|_| self.wrong(path, "a path"))
    }

    /// A file in the folder of the configuration file.
    pub(super) fn beside_file(&self, name: &str) -> Result<PathBuf, ConfigError> {
        let folder = self.file.parent().unwrap_or(Path::new("/"));
        std::path::absolute(folder.join(name))
            .map_err(|error| ConfigError::in_file(&self.file, error.to_string()))
    }

    /// The configuration file, present or not.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// A whole number in this range.
    pub(super) fn number(&self, path: &'static str, range: RangeInclusive<u32>) -> Result<u32, ConfigError> {
        self.whole(path, range)
    }

    /// A whole number of this type, in this range.
    pub(super) fn whole<N>(&self, path: &'static str, range: RangeInclusive<N>) -> Result<N, ConfigError>
    where
        N: TryFrom<i64> + FromStr + PartialOrd + Display,
    {
        let number = match self.value(path) {
            Some(Value {
                data: Data::Number(number),
                ..
            }) => number.and_then(|n| N::try_from(n).ok()),
            Some(Value {
                data: Data::Text(text),
                origin,
            }) if !matches!(origin, Origin::Line(_)) => text.parse().ok(),
            _ => None,
        };
        number.filter(|n| range.contains(n)).ok_or_else(|| {
            self.wrong(
                path,
                &format!("a whole number from {} to {}", range.start(), range.end()),
            )
        })
    }

    /// A list of texts.
    pub(super) fn list(&self, path: &'static str) -> Result<Vec<String>, ConfigError> {
        match self.value(path) {
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
            Some(_) => Err(self.wrong(path, "a list of texts, such as [\"one\", \"two\"]")),
        }
    }

    /// The error that names a key, its value and what is expected instead.
    pub(super) fn wrong(&self, path: &str, expected: &str) -> ConfigError {
        let value = match self.found.get(path).map(|value| &value.data) {
            _ if path == "google.client_secret" => "not usable".to_owned(),
            Some(Data::Text(text)) => format!("\"{}\"", shown(text)),
            Some(Data::Number(Some(number))) => number.to_string(),
            Some(Data::Number(None)) => "a number too large".to_owned(),
            Some(Data::List(list)) => format!("\"{}\"", shown(&list.join("\", \""))),
            Some(Data::Other(kind)) => format!("a value of type {kind}"),
            None => "not set".to_owned(),
        };
        ConfigError::new(format!("{} is {value}: expected {expected}", self.place(path)))
    }

    /// Where a value comes from, and its key.
    pub(super) fn place(&self, path: &str) -> String {
        match self.found.get(path).map(|value| &value.origin) {
            Some(Origin::Line(line)) => format!("{}:{line}: {path}", self.file.shown()),
            Some(Origin::Variable(name)) => name.clone(),
            Some(Origin::Default) | None => path.to_owned(),
        }
    }

    /// Takes a secret text out, so that no copy stays behind.
    pub(super) fn take_secret(&mut self, path: &'static str) -> Result<Option<String>, ConfigError> {
        match self.found.remove(path) {
            None => Ok(None),
            Some(Value {
                data: Data::Text(text),
                ..
            }) => Ok(Some(text)),
            Some(other) => {
                self.found.insert(path, other);
                Err(self.wrong(path, "a text in quotes"))
            }
        }
    }

    /// What holds, without where it is written.
    pub(super) fn written(&self) -> Written {
        let spelled = |value: Value| match (value.origin, value.data) {
            (Origin::Variable(_), _) => None,
            (_, Data::Text(text)) => Some(text),
            (_, Data::Number(number)) => Some(number.map_or_else(String::new, |number| number.to_string())),
            (_, Data::List(list)) => Some(list.join(",")),
            (_, Data::Other(kind)) => Some(kind.to_owned()),
        };
        let keys = KEYS
            .iter()
            .filter_map(|key| Some((key.path, spelled(self.value(key.path)?))));
        Written(keys.collect())
    }

    fn value(&self, path: &'static str) -> Option<Value> {
        self.found.get(path).cloned().or_else(|| {
            let default = keys::find(path)?.default?;
            Some(Value {
                data: Data::Text(default.to_owned()),
                origin: Origin::Default,
            })
        })
    }
}

/// A key that has a default in the table has a value.
pub(super) fn required<T>(values: &Values, value: Option<T>, path: &str) -> Result<T, ConfigError> {
    value.ok_or_else(|| values.wrong(path, "a value"))
}

fn join(section: &str, name: &str) -> String {
    if section.is_empty() {
        name.to_owned()
    } else {
        format!("{section}.{name}")
    }
}

fn data(value: &DeValue<'_>) -> Data {
    match value {
        DeValue::String(text) => Data::Text(text.to_string()),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            Data::Number(i64::from_str_radix(&digits, number.radix()).ok())
        }
        DeValue::Array(items) => {
            let texts = items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned));
            texts
                .collect::<Option<_>>()
                .map_or(Data::Other("array"), Data::List)
        }
        other => Data::Other(other.type_str()),
    }
}

fn unknown(path: &str) -> String {
    let paths = KEYS.iter().map(|key| key.path);
    match suggest::closest(path, paths) {
        Some(meant) => format!("{}there is no such key: did you mean {meant}?", named(path)),
        None => format!("{}there is no such key", named(path)),
    }
}

/// A key before what is said of it, where it can be the name of one: a file that is no configuration may hold a secret.
fn named(path: &str) -> String {
    if path.split('.').all(is_field_name) {
        format!("{path}: ")
    } else {
        String::new()
    }
}

/// A text that a person wrote, neither endless nor able to move their cursor. A secret in the wrong place stays
/// out of it.
fn shown(text: &str) -> String {
    text::quoted(&redacted(text), 120)
}

/// The line of a position, from 1.
pub(super) fn line_of(text: &str, position: usize) -> usize {
    let before = text.as_bytes().iter().take(position);
    before.filter(|&&byte| byte == b'\n').count() + 1
}

/// An error of the TOML reader, with file and line.
pub(super) fn from_toml(file: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let message = without_quotes(&error.message().replace('\n', ", "));
    match error.span() {
        Some(span) => {
            let line = line_of(text, span.start);
            let again = twice::section(text, line)
                .or_else(|| twice::key(text, &span).filter(|_| message == twice::MESSAGE));
            ConfigError::in_line(file, line, again.unwrap_or(message))
        }
        None => ConfigError::in_file(file, message),
    }
}
