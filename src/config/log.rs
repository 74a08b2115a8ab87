//! `[log]`: how the daemon logs.

use std::str::FromStr;

use tracing_subscriber::EnvFilter;

use super::{
    error::ConfigError,
    schema::{Key, Kind, Section, Unset},
    values::{Values, required},
};

/// The keys of `[log]`.
pub(super) const SECTION: Section = Section {
    name: "log",
    about: "How the daemon logs",
    keys: &[
        Key {
            path: "log.format",
            kind: Kind::Choice(&["text", "json"]),
            unset: Unset::Default("text"),
            doc: "\"text\" for people, \"json\" for programs.",
            ..Key::USUAL
        },
        Key {
            path: "log.level",
            unset: Unset::Default("info"),
            form: "error, warn, info, debug or trace, or a list such as \"info,token_broker=debug\"",
            doc: "error, warn, info, debug or trace; also per module, as in \"info,token_broker::broker=debug\".",
            is_live: true,
            ..Key::USUAL
        },
    ],
};

/// The `[log]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSection {
    /// For people or for programs.
    pub format: LogFormat,
    /// What is logged: a valid filter of `tracing_subscriber`.
    pub level: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `text`.
    Text,
    /// `json`, one object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

impl LogSection {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        let level = required(values, values.text("log.level")?, "log.level")?;
        // A lone word that is no level would be taken for the name of a module, and nothing be logged.
        let lone_word = !level.contains(['=', ',', ':']);
        let no_level = lone_word && level.parse::<tracing_subscriber::filter::LevelFilter>().is_err();
        if no_level || EnvFilter::builder().parse(&level).is_err() {
            return Err(values.wrong("log.level"));
        }
        Ok(Self {
            format: required(values, values.parsed("log.format")?, "log.format")?,
            level,
        })
    }
}
