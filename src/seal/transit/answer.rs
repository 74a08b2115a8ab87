//! What the Transit engine answers.

use serde::{Deserialize, Deserializer, de::Error};
use zeroize::Zeroizing;

/// Bytes of a ciphertext: many times what this program has encrypted.
const MOST: usize = 4096;

/// The part of every answer that holds what was asked for.
#[derive(Deserialize)]
pub(super) struct Answer<T> {
    pub(super) data: T,
}

/// A key.
#[derive(Deserialize)]
pub(super) struct Latest {
    /// The version that is encrypted with.
    pub(super) latest_version: u64,
}

/// A ciphertext, and the version of the key that it tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Encrypted {
    pub(super) ciphertext: String,
    pub(super) version: u64,
}

impl Encrypted {
    /// Reads `vault:v3:…`; `None` for another text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (version, rest) = text.strip_prefix("vault:v")?.split_once(':')?;
        let is_number = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit());
        // Base64 in either alphabet, perhaps in parts: it stands in JSON as it is.
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"+/-_=:".contains(&b);
        let is_text = !rest.is_empty() && text.len() <= MOST && rest.bytes().all(fits);
        if !is_number || !is_text {
            return None;
        }
        Some(Self {
            ciphertext: text.to_owned(),
            version: version.parse().ok()?,
        })
    }
}

impl<'de> Deserialize<'de> for Encrypted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Written {
            ciphertext: String,
        }
        let written = Written::deserialize(deserializer)?;
        Self::parse(&written.ciphertext).ok_or_else(|| D::Error::custom("no ciphertext of Transit's"))
    }
}

/// What was encrypted, in base64. No `Debug`.
pub(super) struct Decrypted {
    pub(super) plaintext: Zeroizing<String>,
}

impl<'de> Deserialize<'de> for Decrypted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Written {
            plaintext: String,
        }
        let plaintext = Zeroizing::new(Written::deserialize(deserializer)?.plaintext);
        Ok(Self { plaintext })
    }
}

/// What is said of a request that is not done.
#[derive(Deserialize)]
pub(super) struct Errors {
    pub(super) errors: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ciphertext_tells_its_version() {
        let encrypted =
            Encrypted::parse("vault:v12:8SDd3WHDOjf7mq69CyCqYjBXAiQQAVZRkFM13ok481zoCmHnSeDX9vyf7w==")
                .unwrap();
        assert_eq!(encrypted.version, 12);
        assert!(encrypted.ciphertext.starts_with("vault:v12:8SDd"));
        for other in [
            "",
            "vault:",
            "vault:v:x",
            "vault:v1:",
            "vault:1:x",
            "vault:v+1:x",
            "vault:v-1:x",
            "bank:v1:x",
            "vault:v1:a b",
            "vault:v1:a\"b",
            "vault:v1:a\\b",
            "vault:v1:\u{e9}",
            "vault:v99999999999999999999:x",
            &format!("vault:v1:{}", "x".repeat(MOST)),
        ] {
            assert_eq!(Encrypted::parse(other), None, "{other}");
        }
    }
}
