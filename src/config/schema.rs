//! What a key of the configuration is: its name, its value, and the sentence that explains it.
//!
//! Each section has a table of its keys, beside the code that reads them. What the file and the environment may hold, the file
//! that `init` writes and the reference page all come from these tables.

use std::ops::RangeInclusive;

/// What the environment variable of every key begins with.
pub(super) const VARIABLE_PREFIX: &str = "TOKEN_BROKER_";

/// One key.
#[derive(Clone, Copy)]
pub(super) struct Key {
    /// Its path, such as `google.client_id`.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    /// What holds without it.
    pub(super) unset: Unset,
    /// What a value has to be, as messages say it; `{example}` becomes the default or the example. Empty where the kind says
    /// it all.
    pub(super) form: &'static str,
    /// What it is for, in the lines of the file that `init` writes.
    pub(super) doc: &'static str,
    /// Its value is never shown. A key `…_file` names a file that may hold it instead.
    pub(super) is_secret: bool,
    /// A daemon that runs takes a changed value over.
    pub(super) is_live: bool,
    /// The version that had it first.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for the reference page, which a test makes")
    )]
    pub(super) since: &'static str,
    /// Paths that it had before; they still work, with a warning.
    pub(super) former: &'static [&'static str],
}

/// How a value is spelled.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Any text, or one of a form that its section checks.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A path, relative to the file's folder.
    Path,
    /// An address and port.
    Address,
    /// A URL of the web, without user, query or fragment.
    Url,
    /// A whole number. The unit may be empty.
    Number {
        least: i64,
        most: i64,
        #[cfg_attr(
            not(test),
            expect(dead_code, reason = "for the reference page, which a test makes")
        )]
        unit: &'static str,
    },
    /// Yes or no.
    Flag,
    /// A list of texts; separated by commas in an environment variable.
    List,
}

/// What holds without a key. Each has a value to show, spelled as an environment variable would have it.
#[derive(Clone, Copy)]
pub(super) enum Unset {
    /// This value.
    Default(&'static str),
    /// What follows from something else, which the key's sentence names; with an example.
    Derived(&'static str),
    /// Nothing; with an example.
    Nothing(&'static str),
}

impl Key {
    /// What most keys have in common.
    pub(super) const USUAL: Self = Self {
        path: "",
        kind: Kind::Text,
        unset: Unset::Nothing(""),
        form: "",
        doc: "",
        is_secret: false,
        is_live: false,
        since: "0.1.0",
        former: &[],
    };

    /// The environment variable.
    pub(super) fn variable(&self) -> String {
        variable(self.path)
    }

    /// Its name within its section.
    pub(super) fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The value that holds without it.
    pub(super) fn default(&self) -> Option<&'static str> {
        match self.unset {
            Unset::Default(value) => Some(value),
            Unset::Derived(_) | Unset::Nothing(_) => None,
        }
    }

    /// A value to show: the default, or the example.
    pub(super) fn shown(&self) -> &'static str {
        let (Unset::Default(value) | Unset::Derived(value) | Unset::Nothing(value)) = self.unset;
        value
    }

    /// The numbers that it may be.
    pub(super) fn range(&self) -> Option<RangeInclusive<i64>> {
        match self.kind {
            Kind::Number { least, most, .. } => Some(least..=most),
            _ => None,
        }
    }

    /// What a value has to be, as messages say it.
    pub(super) fn expected(&self) -> String {
        let form = match self.kind {
            Kind::Number { least, most, .. } => return format!("a whole number from {least} to {most}"),
            Kind::Choice(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                return words.join(" or ");
            }
            _ if !self.form.is_empty() => self.form,
            Kind::Text => TEXT,
            Kind::Path => "a path",
            Kind::Address => "an address and port, such as {example}",
            Kind::Url => "an http:// or https:// URL without user, query or fragment",
            Kind::Flag => "true or false",
            Kind::List => LIST,
        };
        form.replace("{example}", self.shown())
    }

    /// All its paths, the present one first.
    pub(super) fn paths(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.path).chain(self.former.iter().copied())
    }
}

/// What a text has to be in the file.
pub(super) const TEXT: &str = "a text in quotes";

/// What a list has to be in the file.
pub(super) const LIST: &str = "a list of texts, such as [\"one\", \"two\"]";

/// The environment variable of the key with this path: `TOKEN_BROKER_RUNTIME_DIR` of `runtime_dir`.
pub fn variable(path: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", path.replace('.', "_").to_ascii_uppercase())
}

/// A section of the file.
pub(super) struct Section {
    /// Its name; empty for what comes before the first one.
    pub(super) name: &'static str,
    /// What it is about, in a few words.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for the reference page, which a test makes")
    )]
    pub(super) about: &'static str,
    /// Its keys, in the order of the file that `init` writes.
    pub(super) keys: &'static [Key],
}

/// All sections, in the order of the file that `init` writes.
#[derive(Clone, Copy)]
pub(super) struct Sections(pub(super) &'static [&'static Section]);

impl Sections {
    /// All keys.
    pub(super) fn keys(self) -> impl Iterator<Item = &'static Key> {
        self.0.iter().flat_map(|section| section.keys)
    }

    /// The key that has this path, or had it.
    pub(super) fn find(self, path: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.paths().any(|known| known == path))
    }

    /// True when some key lies in the section of this name, or did.
    pub(super) fn is_section(self, name: &str) -> bool {
        let section = |path: &'static str| path.rsplit_once('.').map_or("", |(section, _)| section);
        self.keys()
            .any(|key| key.paths().any(|path| section(path) == name))
    }
}
