//! Keys: how master keys are written, and the keys in use, kept together.

use std::sync::Arc;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use zeroize::Zeroizing;

use crate::{entropy::Entropy, secret::Key, text::without_bom};

use super::{key_id::KeyId, mac::MacKey};

/// The keys in use: one that seals, and older ones that still open. No `Debug`.
#[derive(Clone)]
pub struct Keyring {
    active: Arc<Named>,
    others: Vec<Other>,
}

/// A key, and what follows from it.
struct Named {
    id: KeyId,
    key: Key,
    mac: MacKey,
}

impl Named {
    fn new(key: Key) -> Self {
        Self {
            id: KeyId::of(&key),
            mac: MacKey::of(&key),
            key,
        }
    }
}

/// A key that seals nothing any more.
#[derive(Clone)]
struct Other {
    named: Arc<Named>,
    /// A row may be bound to it. To one that is retired none is: who has it could write rows.
    binds: bool,
}

impl Keyring {
    /// A keyring that seals with `active` and opens with `previous`, too.
    pub fn new(active: Key, previous: Vec<Key>) -> Self {
        let other = |key| Other {
            named: Arc::new(Named::new(key)),
            binds: true,
        };
        Self {
            active: Arc::new(Named::new(active)),
            others: previous.into_iter().map(other).collect(),
        }
    }

    /// The same, where `key` seals, and the one that did so still opens.
    #[must_use]
    pub fn activated(&self, key: Key) -> Self {
        let active = Arc::new(Named::new(key));
        let former = Other {
            named: self.active.clone(),
            binds: true,
        };
        let others = self.others.iter().cloned().chain([former]);
        let others = others.filter(|other| other.named.id != active.id).collect();
        Self { active, others }
    }

    /// The same, where nothing is believed that is bound to key `id`. What was sealed with it and is still in memory opens.
    #[must_use]
    pub fn retired(&self, id: KeyId) -> Self {
        let mut ring = self.clone();
        for other in &mut ring.others {
            other.binds &= other.named.id != id;
        }
        ring
    }

    /// The id of the key that seals.
    pub fn active_id(&self) -> KeyId {
        self.active.id
    }

    /// Whether it opens what is sealed with this key, and believes what is bound to it.
    pub fn has(&self, id: KeyId) -> bool {
        self.find_mac(id).is_some()
    }

    /// A key that it has, also one that is retired.
    pub(crate) fn key(&self, id: KeyId) -> Option<&Key> {
        let mut all = std::iter::once(&self.active).chain(self.others.iter().map(|other| &other.named));
        all.find(|named| named.id == id).map(|named| &named.key)
    }

    pub(super) fn active(&self) -> (KeyId, &Key) {
        (self.active.id, &self.active.key)
    }

    /// The active key's, for MACs.
    pub(super) fn active_mac(&self) -> (KeyId, &MacKey) {
        (self.active.id, &self.active.mac)
    }

    pub(super) fn find_mac(&self, id: KeyId) -> Option<&MacKey> {
        let binding = self.others.iter().filter(|other| other.binds);
        let mut all = std::iter::once(&self.active).chain(binding.map(|other| &other.named));
        all.find(|named| named.id == id).map(|named| &named.mac)
    }
}

/// Why a text is not a master key. Holds nothing of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing there.
    #[error("the master key is empty: it is 32 random bytes in base64, as `token-broker init` writes it")]
    Empty,
    /// Some other text.
    #[error(
        "the master key is not base64: it is 32 random bytes in base64, as `token-broker init` writes it"
    )]
    NotBase64,
    /// Base64 of something else.
    #[error(
        "the master key has {0} bytes after base64 decoding, not 32: it is 32 random bytes in base64, as \
         `token-broker init` writes it"
    )]
    Length(usize),
}

// Whatever wrote the key, `=` at the end says nothing that the length does not.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads a master key: 32 bytes in standard base64; white space around it does not matter.
pub fn parse(text: &[u8]) -> Result<Key, KeyError> {
    let text = without_bom(text).trim_ascii();
    if text.is_empty() {
        return Err(KeyError::Empty);
    }
    let mut decoded = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let length = LENIENT
        .decode_slice(text, &mut decoded)
        .map_err(|_| KeyError::NotBase64)?;
    let bytes = decoded[..length]
        .try_into()
        .map_err(|_| KeyError::Length(length))?;
    Ok(Key::new(bytes))
}

/// A new random master key.
pub fn generate(entropy: &dyn Entropy) -> Key {
    Key::new(entropy.bytes())
}

/// A master key as [`parse`] reads it.
pub fn encode(key: &Key) -> Zeroizing<String> {
    Zeroizing::new(BASE64_STANDARD.encode(key.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    #[test]
    fn a_written_key_reads_back() {
        let key = generate(&SystemEntropy);
        let text = encode(&key);
        for written in [
            text.to_string(),
            format!("{}\n", *text),
            format!(" {}\r\n", text.trim_end_matches('=')),
            format!("\u{feff}{}\n", *text),
        ] {
            assert!(
                parse(written.as_bytes()).is_ok_and(|read| read.expose() == key.expose()),
                "{written:?}"
            );
        }
    }

    #[test]
    fn what_is_no_key_is_said_plainly() {
        let error = |text: &[u8]| parse(text).err();
        assert_eq!(error(b" \n"), Some(KeyError::Empty));
        assert_eq!(error(b"not a key!"), Some(KeyError::NotBase64));
        assert_eq!(error(&[0xff; 32]), Some(KeyError::NotBase64));
        assert_eq!(error(b"AAAA"), Some(KeyError::Length(3)));
        assert_eq!(error("ab".repeat(32).as_bytes()), Some(KeyError::Length(48)));
        assert_eq!(
            error(BASE64_STANDARD.encode([7; 33]).as_bytes()),
            Some(KeyError::Length(33))
        );
    }

    #[test]
    fn an_id_is_stable_and_tells_keys_apart() {
        // Stored in every envelope: it must never change.
        assert_eq!(KeyId::of(&Key::new([7; 32])).to_string(), "b8080401d6757196");
        assert_ne!(KeyId::of(&Key::new([7; 32])), KeyId::of(&Key::new([8; 32])));
    }

    #[test]
    fn a_keyring_finds_each_of_its_keys() {
        let keyring = Keyring::new(Key::new([1; 32]), vec![Key::new([2; 32]), Key::new([3; 32])]);
        for byte in 1..=3 {
            let key = Key::new([byte; 32]);
            assert!(
                keyring
                    .key(KeyId::of(&key))
                    .is_some_and(|found| found.expose() == key.expose())
            );
        }
        assert!(keyring.key(KeyId::of(&Key::new([4; 32]))).is_none());
    }
}
