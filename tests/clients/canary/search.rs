//! The search: secrets in every form that text takes, whole or in pieces.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
    fs,
    path::Path,
};

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};

/// A piece of a secret that is this long is a leak.
const PIECE: usize = 12;

/// Every piece of every secret, with its secret's name.
#[derive(Default)]
pub(super) struct Secrets(HashMap<Vec<u8>, String>);

impl Secrets {
    /// Adds a secret: as it is, in hexadecimal, in base64 and percent-encoded.
    pub(super) fn add(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= PIECE, "{name} is too short to be looked for");
        let mut hexadecimal = String::new();
        for byte in secret {
            write!(hexadecimal, "{byte:02x}").unwrap();
        }
        let encoded: String = url::form_urlencoded::byte_serialize(secret).collect();
        for form in [
            secret.to_vec(),
            hexadecimal.to_uppercase().into_bytes(),
            hexadecimal.into_bytes(),
            BASE64_STANDARD.encode(secret).into_bytes(),
            BASE64_URL_SAFE_NO_PAD.encode(secret).into_bytes(),
            encoded.into_bytes(),
        ] {
            for piece in form.windows(PIECE) {
                // "AAAAAAAAAAAA" is nobody's secret.
                if piece.iter().collect::<HashSet<_>>().len() >= PIECE / 2 {
                    self.0.entry(piece.to_vec()).or_insert_with(|| name.to_owned());
                }
            }
        }
    }

    /// The names of the secrets that `text` holds a piece of, and what stands around the first piece of each.
    pub(super) fn within(&self, text: &[u8]) -> HashMap<&str, String> {
        let mut found = HashMap::new();
        for (place, piece) in text.windows(PIECE).enumerate() {
            if let Some(name) = self.0.get(piece) {
                found.entry(name.as_str()).or_insert_with(|| {
                    let around = &text[place.saturating_sub(100)..text.len().min(place + 60)];
                    String::from_utf8_lossy(around).into_owned()
                });
            }
        }
        found
    }
}

/// Places where no secret may be.
#[derive(Default)]
pub(super) struct Places(Vec<(String, Vec<u8>)>);

impl Places {
    pub(super) fn add(&mut self, name: impl Into<String>, text: impl Into<Vec<u8>>) {
        self.0.push((name.into(), text.into()));
    }

    /// Every file below `folder`, but those of these names.
    pub(super) fn add_files(&mut self, folder: &Path, but: &[&str]) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.add_files(&path, but);
            } else if path.is_file() && !but.iter().any(|name| path.ends_with(name)) {
                self.add(path.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }

    /// How many places have a name that holds this text and are not empty.
    pub(super) fn count(&self, name: &str) -> usize {
        let named = self
            .0
            .iter()
            .filter(|(place, text)| place.contains(name) && !text.is_empty());
        named.count()
    }

    /// Fails when one of them holds a secret.
    pub(super) fn expect_none_of(&self, secrets: &Secrets) {
        let mut leaks = String::new();
        for (place, text) in &self.0 {
            for (secret, around) in secrets.within(text) {
                writeln!(leaks, "{place} holds {secret}: …{around}…").unwrap();
            }
        }
        assert!(leaks.is_empty(), "{leaks}");
    }
}

#[test]
fn the_search_finds_secrets_in_every_form() {
    let mut secrets = Secrets::default();
    secrets.add("the token", b"ya29.a0Af/B_by-x~y+z=w");
    for text in [
        "Bearer ya29.a0Af/B_by-x~y+z=w",
        "the end: B_by-x~y+z=w",
        "ya29.a0Af%2FB_by-x",
        "796132392e61304166",
        "token=eWEyOS5hMEFmL0JfYnkteH55K3o9dw",
    ] {
        assert_eq!(secrets.within(text.as_bytes()).len(), 1, "{text}");
    }
    for text in ["ya29.a0Af…", "", "AAAAAAAAAAAAAAAAAAAA"] {
        assert!(secrets.within(text.as_bytes()).is_empty(), "{text}");
    }
}
