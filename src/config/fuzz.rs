//! What a configuration file reaches first, for the fuzzers in `fuzz/`.

use std::path::Path;

use super::Config;

/// A configuration file.
pub fn config(text: &str) {
    if let Err(error) = Config::from_parts(Path::new("/config.toml"), Some(text), std::iter::empty()) {
        assert!(!error.to_string().is_empty(), "an error says something");
    }
}
