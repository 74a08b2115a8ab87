//! `[log]`: how the daemon logs.

use std::str::FromStr;

use tracing_subscriber::EnvFilter;

use super::{error::ConfigError, values::Values};

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
        let level = values.text("log.level")?.unwrap_or_default();
        // A lone word that is no level would be taken for the name of a module, and nothing be logged.
        let lone_word = !level.contains(['=', ',', ':']);
        let no_level = lone_word && level.parse::<tracing_subscriber::filter::LevelFilter>().is_err();
        if no_level || EnvFilter::builder().parse(&level).is_err() {
            let expected = "error, warn, info, debug or trace, or a list such as \"info,token_broker=debug\"";
            return Err(values.wrong("log.level", expected));
        }
        Ok(Self {
            format: values
                .parsed("log.format", "\"text\" or \"json\"")?
                .unwrap_or(LogFormat::Text),
            level,
        })
    }
}
