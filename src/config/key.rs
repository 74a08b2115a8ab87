//! `[key]`: what the keys of the keyring are wrapped with.

use super::{
    error::ConfigError,
    key_source::{FORM, InvalidKeySource, KeySource},
    schema::{Key, Kind, Section, Unset},
    transit::TransitSection,
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
             credential:NAME (systemd) or command:PROGRAM ARGUMENTS (its output); the socket of a KMS plugin of Kubernetes,\n\
             kms:unix://SOCKET; or a key of Vault's or OpenBao's, transit:https://HOST/v1/MOUNT/keys/NAME. master.key beside\n\
             this file unless set.",
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
            path: "key.transit_token_file",
            kind: Kind::Path,
            unset: Unset::Nothing("/run/vault-agent/token"),
            doc: "A file that nobody else can read, with the token for transit:. It is read for each use: Vault Agent, or who else\n\
             writes it, may exchange it.",
            ..Key::USUAL
        },
        Key {
            path: "key.transit_ca_file",
            kind: Kind::Path,
            unset: Unset::Derived("/etc/token-broker/vault-ca.pem"),
            doc: "The authorities of that server's certificate, in PEM. The system's unless set.",
            ..Key::USUAL
        },
        Key {
            path: "key.transit_namespace",
            unset: Unset::Nothing("team-a"),
            form: "a namespace, such as {example}",
            doc: "The namespace that the engine is mounted in, where the server has some.",
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
    /// How a Transit engine is spoken to, where one may be.
    pub transit: Option<TransitSection>,
    /// For how many days a key of the keyring that was replaced is kept, wrapped.
    pub keep_days: u16,
}

impl KeySection {
    /// The seal, and those from before.
    pub fn sources(&self) -> impl Iterator<Item = &KeySource> {
        std::iter::once(&self.source).chain(&self.previous)
    }

    /// Whether it names a program that the daemon starts: one that prints a key.
    pub fn starts_programs(&self) -> bool {
        let mut sources = self.sources();
        sources.any(|source| matches!(source, KeySource::Command(_)))
    }

    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        let parse = |path: &str, text: &str| match text.parse() {
            Ok(KeySource::File(file)) => Ok(KeySource::File(values.resolve(path, &file)?)),
            Ok(source) => Ok(source),
            Err(InvalidKeySource) => Err(values.wrong(path)),
        };
        let source = match values.text("key.source")? {
            Some(text) => parse("key.source", &text)?,
            None => KeySource::File(values.beside_file("master.key")?),
        };
        let previous = values.list("key.previous")?;
        let previous: Vec<_> = previous
            .iter()
            .map(|text| parse("key.previous", text))
            .collect::<Result<_, _>>()?;
        let mut all = std::iter::once(&source).chain(&previous);
        let is_needed = all.any(|source| matches!(source, KeySource::Transit(_)));
        Ok(Self {
            transit: TransitSection::read(values, is_needed)?,
            source,
            previous,
            command_environment: values.list("key.command_environment")?,
            keep_days: values.number("key.keep_days")?,
        })
    }
}
