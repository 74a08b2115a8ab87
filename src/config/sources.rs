//! What the file and the environment say, key by key, before any of it means something.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use crate::text::ShowPath;

use super::{
    error::ConfigError,
    kubernetes_service::KubernetesService,
    schema::{Key, Sections, VARIABLE_PREFIX, variable},
    suggest,
    table::{no_such, no_such_key},
    toml_error::{from_toml, line_of},
};

/// A value as it was written.
#[derive(Clone)]
pub(super) enum Data {
    Text(String),
    /// `None` where it is too large.
    Number(Option<i64>),
    Flag(bool),
    List(Vec<String>),
    /// Of a type that no key has; its name.
    Other(&'static str),
}

/// Where a value comes from.
#[derive(Clone)]
pub(super) enum Origin {
    Line(usize),
    Variable(String),
    Default,
}

/// A value, and where it comes from.
#[derive(Clone)]
pub(super) struct Value {
    pub(super) data: Data,
    pub(super) origin: Origin,
}

/// Lists that are read by themselves: their forms are those of the catalogue, of each type of provider, and of clients.
const LISTS: [&str; 3] = ["capabilities", "providers", "admin.clients"];

/// What was found for each key.
pub(super) struct Sources {
    file: PathBuf,
    /// The keys that there are.
    keys: Sections,
    found: HashMap<&'static str, Value>,
    /// The text of `[[capabilities]]` in the environment.
    pub(super) capabilities_variable: Option<String>,
    /// What Kubernetes tells every container.
    pub(super) kubernetes_service: KubernetesService,
    /// Variables that look like a slip, and names that are out of date.
    pub(super) warnings: Vec<String>,
}

impl Sources {
    /// Nothing yet, for a configuration whose file is or would be `file`.
    pub(super) fn new(file: &Path, keys: Sections) -> Self {
        Self {
            file: file.to_owned(),
            keys,
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
                _ if LISTS.contains(&path.as_str()) => {}
                DeValue::Table(inner) if self.keys.is_section(&path) => {
                    self.read_table(text, &path, inner)?;
                }
                _ if self.keys.is_section(&path) => {
                    let message = format!("{path}: expected a section, written as [{path}]");
                    return Err(ConfigError::in_line(&self.file, line, message));
                }
                value => self.take_line(&path, line, value)?,
            }
        }
        Ok(())
    }

    fn take_line(&mut self, path: &str, line: usize, value: &DeValue<'_>) -> Result<(), ConfigError> {
        let Some(key) = self.keys.find(path) else {
            return Err(ConfigError::in_line(&self.file, line, self.unknown(path, value)));
        };
        let value = Value {
            data: data(value),
            origin: Origin::Line(line),
        };
        if path != key.path {
            let renamed = format!("{path} is called {} now: rename it", key.path);
            let renamed = ConfigError::in_line(&self.file, line, renamed);
            self.warnings.push(renamed.to_string());
        }
        match self.found.insert(key.path, value).map(|first| first.origin) {
            Some(Origin::Line(first)) => {
                let twice = format!("{} is in line {first} already: keep one of the two", key.path);
                Err(ConfigError::in_line(&self.file, line, twice))
            }
            _ => Ok(()),
        }
    }

    /// Takes the values of the environment; they win. An empty variable is none. One that names a section would be ignored
    /// by whoever counts on it, and is refused.
    pub(super) fn read_env(
        &mut self,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        let by_variable: HashMap<_, _> = self
            .keys
            .keys()
            .flat_map(|key| key.paths().map(move |path| (variable(path), key)))
            .collect();
        for (name, text) in env.filter(|(_, text)| !text.is_empty()) {
            let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else {
                self.kubernetes_service.take(&name, &text);
                continue;
            };
            if let Some(key) = by_variable.get(&name) {
                self.take_variable(key, name, text);
            } else if rest == "CAPABILITIES" {
                self.capabilities_variable = Some(text);
            } else if let Some(section) = self.section_of(&name) {
                return Err(ConfigError::new(format!("{name} is no key: {section}")));
            } else {
                self.warn_of_slip(&name, rest);
            }
        }
        self.warnings.sort();
        Ok(())
    }

    /// What to do instead of naming a section by this variable.
    fn section_of(&self, name: &str) -> Option<String> {
        if let Some(list) = LISTS.iter().find(|list| variable(list) == name) {
            return Some(format!("write [[{list}]] in the configuration file"));
        }
        let mut sections = self.keys.0.iter().filter(|section| !section.name.is_empty());
        let section = sections.find(|section| variable(section.name) == name)?;
        let key = section.keys.first()?;
        Some(format!(
            "[{}] has a variable for each of its keys, such as {}",
            section.name,
            key.variable()
        ))
    }

    fn take_variable(&mut self, key: &'static Key, name: String, text: String) {
        let present = key.variable();
        if name != present {
            self.warnings
                .push(format!("{name} is called {present} now: rename it"));
            let given = self.found.get(key.path).map(|value| &value.origin);
            if matches!(given, Some(Origin::Variable(given)) if *given == present) {
                return;
            }
        }
        let value = Value {
            data: Data::Text(text),
            origin: Origin::Variable(name),
        };
        self.found.insert(key.path, value);
    }

    /// Others use the prefix too (Kubernetes for a service of that name), so no error.
    fn warn_of_slip(&mut self, name: &str, rest: &str) {
        let names: Vec<_> = self.keys.keys().map(|key| key.path.replace('.', "_")).collect();
        if let Some(meant) = suggest::closest(rest, names.iter().map(String::as_str)) {
            let meant = variable(meant);
            self.warnings
                .push(format!("{name} is not used: did you mean {meant}?"));
        }
    }

    fn unknown(&self, path: &str, value: &DeValue<'_>) -> String {
        if !is_section(value) {
            return no_such_key(path, self.keys.keys().map(|key| key.path));
        }
        let list = suggest::closest(path, LISTS).map(|list| format!("[[{list}]]"));
        let sections = self.keys.0.iter().map(|section| section.name);
        let section = || suggest::closest(path, sections.filter(|name| !name.is_empty()));
        let meant = list.or_else(|| Some(format!("[{}]", section()?)));
        no_such(path, meant.as_deref())
    }

    /// The keys that there are.
    pub(super) fn keys(&self) -> Sections {
        self.keys
    }

    /// The configuration file, present or not.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// What was written for the key with this path.
    pub(super) fn found(&self, path: &str) -> Option<&Value> {
        self.found.get(path)
    }

    /// The same, taken out.
    pub(super) fn take(&mut self, path: &str) -> Option<Value> {
        self.found.remove(path)
    }

    /// What holds for the key: what was written, or its default.
    pub(super) fn value(&self, key: &Key) -> Option<Value> {
        self.found.get(key.path).cloned().or_else(|| {
            Some(Value {
                data: Data::Text(key.default()?.to_owned()),
                origin: Origin::Default,
            })
        })
    }

    /// Where a value comes from, and its key.
    pub(super) fn place(&self, path: &str) -> String {
        match self.found.get(path).map(|value| &value.origin) {
            Some(Origin::Line(line)) => format!("{}:{line}: {path}", self.file.shown()),
            Some(Origin::Variable(name)) => name.clone(),
            Some(Origin::Default) | None => path.to_owned(),
        }
    }
}

/// True where a section was written, or a list of them.
fn is_section(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Table(_) => true,
        DeValue::Array(items) => items
            .iter()
            .any(|item| matches!(item.get_ref(), DeValue::Table(_))),
        _ => false,
    }
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
        DeValue::Boolean(flag) => Data::Flag(*flag),
        other => Data::Other(other.type_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::Section;

    /// A key that was renamed, into another section.
    const RENAMED: Sections = Sections(&[&Section {
        name: "new",
        about: "",
        keys: &[Key {
            path: "new.name",
            former: &["old.name"],
            ..Key::USUAL
        }],
    }]);

    fn read(text: &str, env: &[(&str, &str)]) -> Result<(String, Vec<String>), String> {
        let mut sources = Sources::new(Path::new("/c.toml"), RENAMED);
        sources.read_file(text).map_err(|error| error.to_string())?;
        let env = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        sources.read_env(env).map_err(|error| error.to_string())?;
        match sources.take("new.name").map(|value| value.data) {
            Some(Data::Text(text)) => Ok((text, sources.warnings)),
            _ => Err("nothing".to_owned()),
        }
    }

    #[test]
    fn a_former_name_works_with_a_warning() {
        let file = "/c.toml:2: old.name is called new.name now: rename it";
        let variable = "TOKEN_BROKER_OLD_NAME is called TOKEN_BROKER_NEW_NAME now: rename it";
        let said = |text: &str, warnings: &[&str]| {
            Ok((
                text.to_owned(),
                warnings.iter().map(|text| (*text).to_owned()).collect(),
            ))
        };
        assert_eq!(read("[new]\nname = 'a'", &[]), said("a", &[]));
        assert_eq!(read("[old]\nname = 'a'", &[]), said("a", &[file]));
        let old = ("TOKEN_BROKER_OLD_NAME", "b");
        let new = ("TOKEN_BROKER_NEW_NAME", "c");
        assert_eq!(read("[old]\nname = 'a'", &[old]), said("b", &[file, variable]));
        for both in [[old, new], [new, old]] {
            assert_eq!(read("", &both), said("c", &[variable]));
        }
        assert_eq!(
            read("[new]\nname = 'a'\n[old]\nname = 'b'", &[]),
            Err("/c.toml:4: new.name is in line 2 already: keep one of the two".to_owned())
        );
        assert_eq!(
            read("[old]\nnames = 'a'", &[]),
            Err("/c.toml:2: old.names: there is no such key".to_owned())
        );
    }
}
