//! What a configuration file reaches first, for the fuzzers in `fuzz/`.

use std::path::Path;

use super::{Config, client_secret};

/// A configuration file; and what may be in the file with the client's secret.
pub fn config(text: &str) {
    if let Ok(secret) = client_secret::read(text.trim(), "client") {
        let secret = secret.expose();
        assert!(
            secret.bytes().all(|b| (b' '..=b'~').contains(&b)),
            "a secret that can be sent"
        );
    }
    if let Err(error) = Config::from_parts(Path::new("/config.toml"), Some(text), std::iter::empty()) {
        assert!(!error.to_string().is_empty(), "an error says something");
    }
}
