//! What the TOML reader finds wrong, said with file and line.

use std::path::Path;

use crate::secret::shape::without_quotes;

use super::{error::ConfigError, twice};

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
