//! `[key]`: what the keys of the keyring are wrapped with.

use super::{
    error::ConfigError,
    key_source::{FORM, InvalidKeySource, KeySource},
    schema::{Key, Kind, Section, Unset},
    values::Values,
};

/// The keys of `[key]`.
pub(super) const SECTION: Section = Section {
    name: "key",
    about: "What the keys in the database are wrapped with",
    keys: &[
        Key {
            path: "key.source",
            unset: Unset::Derived("file:/etc/token-broker/master.key"),
            form: FORM,
            doc: "The seal: what wraps the keys that secrets are sealed with. A master key from file:PATH, env:VARIABLE,\n\
             credential:NAME (systemd) or command:PROGRAM ARGUMENTS (its output); or the socket of a KMS plugin of Kubernetes,\n\
             kms:unix://SOCKET. master.key beside this file unless set.",
            ..Key::USUAL
        },
        Key {
            path: "key.previous",
            kind: Kind::List,
            unset: Unset::Default(""),
            form: FORM,
            doc: "Seals, or keys, from before, in the same form: still needed to open what they wrapped until it is wrapped anew.",
            ..Key::USUAL
        },
        Key {
            path: "key.command_environment",
            kind: Kind::List,
            unset: Unset::Default(""),
            doc: "Variables of the daemon's environment that a command: gets besides PATH, HOME and LANG.",
            ..Key::USUAL
        },
        Key {
            path: "key.keep_days",
            kind: Kind::Number {
                least: 0,
                most: 3650,
                unit: "days",
            },
            unset: Unset::Default("90"),
            doc: "For how many days, from 0 to 3650, a key of the keyring that was replaced is kept, wrapped, so that a backup from\n\
             before can be restored.",
            ..Key::USUAL
        },
    ],
};

/// The `[key]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySection {
    /// The seal.
    pub source: KeySource,
    /// Seals and keys from before, which still open what they wrapped.
    pub previous: Vec<KeySource>,
    /// The variables that a `command:` gets besides `PATH`, `HOME` and `LANG`.
    pub command_environment: Vec<String>,
    /// For how many days a key of the keyring that was replaced is kept, wrapped.
    pub keep_days: u16,
}

impl KeySection {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        let parse = |path: &str, text: &str| match text.parse() {
            Ok(KeySource::File(file)) => Ok(KeySource::File(values.resolve(path, &file)?)),
            Ok(source) => Ok(source),
            Err(InvalidKeySource) => Err(values.wrong(path)),
        };
        Ok(Self {
            source: match values.text("key.source")? {
                Some(text) => parse("key.source", &text)?,
                None => KeySource::File(values.beside_file("master.key")?),
            },
            previous: values
                .list("key.previous")?
                .iter()
                .map(|text| parse("key.previous", text))
                .collect::<Result<_, _>>()?,
            command_environment: values.list("key.command_environment")?,
            keep_days: values.number("key.keep_days")?,
        })
    }
}
