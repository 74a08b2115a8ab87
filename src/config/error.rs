//! The error of a configuration that cannot be used.

use std::path::Path;

use crate::text::ShowPath;

/// A configuration that cannot be used: where, which key, and what is expected. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    /// An error as a whole sentence.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// An error about a file.
    pub(super) fn in_file(file: &Path, message: impl AsRef<str>) -> Self {
        Self(format!("{}: {}", file.shown(), message.as_ref()))
    }

    /// An error in a line of a file.
    pub(super) fn in_line(file: &Path, line: usize, message: impl AsRef<str>) -> Self {
        Self(format!("{}:{line}: {}", file.shown(), message.as_ref()))
    }
}
