//! The metadata as a tree of folders and values, and the forms in which a client may ask for them.
//!
//! Compute Engine has one rule for all of it: a folder is the names in it, or with `recursive=true` everything below
//! it as JSON; a value is text; `alt=json` and `alt=text` ask for the other form.

use serde_json::Value;

use crate::agent_api::refusal::Refusal;

/// A folder or a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Folder(Vec<(String, Entry)>),
    Text(String),
    Number(u64),
    /// Several values: an array in JSON, a line each in text.
    Lines(Vec<String>),
    /// A token: named among the others, and given to who asks for itself alone.
    Token,
}

impl Entry {
    pub(super) fn folder<'a>(entries: impl IntoIterator<Item = (&'a str, Entry)>) -> Self {
        let named = entries.into_iter().map(|(name, entry)| (name.to_owned(), entry));
        Self::Folder(named.collect())
    }

    /// What is at a path below this folder. Slashes too many do no harm, as on Compute Engine.
    pub(super) fn at(self, path: &str) -> Option<Self> {
        let mut entry = self;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
            // golang.org/x/oauth2 writes it like this.
            let name = if name == "universe_domain" {
                "universe-domain"
            } else {
                &*name
            };
            let Self::Folder(entries) = entry else {
                return None;
            };
            entry = entries.into_iter().find(|(key, _)| key == name)?.1;
        }
        Some(entry)
    }

    /// The names in a folder; folders among them end with a slash.
    pub(super) fn names(&self) -> Vec<String> {
        let Self::Folder(entries) = self else {
            return Vec::new();
        };
        let name = |(name, entry): &(String, Self)| match entry {
            Self::Folder(_) => format!("{name}/"),
            _ => name.clone(),
        };
        entries.iter().map(name).collect()
    }

    /// Everything below as JSON.
    pub(super) fn json(&self) -> Value {
        match self {
            Self::Folder(entries) => {
                let shown = entries.iter().filter(|(_, entry)| *entry != Self::Token);
                let shown = shown.map(|(name, entry)| (json_name(name), entry.json()));
                Value::Object(shown.collect())
            }
            Self::Text(text) => text.as_str().into(),
            Self::Number(number) => (*number).into(),
            Self::Lines(lines) => lines.as_slice().into(),
            Self::Token => Value::Null,
        }
    }

    /// A value as text.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Lines(values) => lines(values),
            Self::Folder(_) | Self::Token => String::new(),
        }
    }

    /// Everything below as lines of path and value.
    pub(super) fn leaves(&self) -> Vec<String> {
        match self {
            Self::Folder(entries) => {
                let below = |(name, entry): &(String, Self)| {
                    let separator = if matches!(entry, Self::Folder(_)) {
                        "/"
                    } else {
                        " "
                    };
                    let leaves = entry.leaves().into_iter();
                    leaves
                        .map(|leaf| format!("{name}{separator}{leaf}"))
                        .collect::<Vec<_>>()
                };
                entries.iter().flat_map(below).collect()
            }
            Self::Text(text) => vec![text.clone()],
            Self::Number(number) => vec![number.to_string()],
            Self::Lines(lines) => lines.clone(),
            Self::Token => Vec::new(),
        }
    }
}

/// A line for each.
pub(super) fn lines(values: &[String]) -> String {
    let mut text = values.join("\n");
    if !values.is_empty() {
        text.push('\n');
    }
    text
}

/// Compute Engine's own names are in camel case in JSON; an account's address is as it is.
fn json_name(name: &str) -> String {
    if name.contains('@') {
        return name.to_owned();
    }
    let mut words = name.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let mut letters = word.chars();
        let initial = letters.next().map(|letter| letter.to_ascii_uppercase());
        name + &initial.into_iter().chain(letters).collect::<String>()
    })
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alt {
    Json,
    Text,
}

/// What a query says of the answer's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Form {
    pub(super) recursive: bool,
    /// `None` for what is usual: JSON for everything below a folder, text for the rest.
    pub(super) alt: Option<Alt>,
}

impl Form {
    /// Reads a query; what it does not know of it, `scopes` for one, is passed over.
    pub(super) fn read(query: &str) -> Result<Self, Refusal> {
        let mut form = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "recursive" => form.recursive = value.eq_ignore_ascii_case("true"),
                "alt" if value.eq_ignore_ascii_case("json") => form.alt = Some(Alt::Json),
                "alt" if value.eq_ignore_ascii_case("text") => form.alt = Some(Alt::Text),
                "alt" => return Err(Refusal::invalid("alt is json or text.".to_owned())),
                _ => {}
            }
        }
        Ok(form)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tree() -> Entry {
        let account = Entry::folder([
            ("aliases", Entry::Lines(vec!["default".to_owned()])),
            ("token", Entry::Token),
        ]);
        Entry::folder([
            ("numeric-project-id", Entry::Number(0)),
            ("service-accounts", Entry::folder([("a-b@x-y.internal", account)])),
        ])
    }

    #[test]
    fn everything_below_in_both_forms_and_without_a_token() {
        assert_eq!(
            tree().json(),
            json!({
                "numericProjectId": 0,
                "serviceAccounts": {"a-b@x-y.internal": {"aliases": ["default"]}},
            })
        );
        assert_eq!(
            tree().leaves(),
            [
                "numeric-project-id 0",
                "service-accounts/a-b@x-y.internal/aliases default"
            ]
        );
    }

    #[test]
    fn a_path_leads_to_one_entry_or_to_none() {
        let at = |path: &str| tree().at(path);
        assert_eq!(at("numeric-project-id"), Some(Entry::Number(0)));
        assert_eq!(
            at("//service-accounts//a-b%40x-y.internal/token/"),
            Some(Entry::Token)
        );
        assert_eq!(at("/"), Some(tree()));
        for nothing in [
            "numeric-project-id/0",
            "service-account",
            "service-accounts/a-b@x-y.internal/x",
        ] {
            assert_eq!(at(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn the_form_is_what_the_query_says() {
        let form = |query: &str| Form::read(query).ok();
        let asked = |recursive, alt| Some(Form { recursive, alt });
        assert_eq!(form(""), asked(false, None));
        assert_eq!(form("recursive=True&alt=text"), asked(true, Some(Alt::Text)));
        assert_eq!(form("alt=json&scopes=a,b"), asked(false, Some(Alt::Json)));
        assert_eq!(form("alt=xml"), None);
    }
}
