//! A wrapped key, and what it is bound to.

use crate::{text::quoted, vault::KeyId};

/// What a wrapped key is bound to: it opens nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The id of the store that keeps it.
    pub store: &'a str,
    /// The id of the key that is wrapped.
    pub key: KeyId,
}

/// A key of the keyring as the database keeps it. No secret.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// The seal, as the configuration named it; a command without its arguments.
    pub seal: String,
    /// The id of the seal's own key: a local master key's [`KeyId`], what a plugin calls it, or a Transit key's `NAME:v3`.
    pub seal_key: String,
    /// The key, encrypted.
    pub bytes: Vec<u8>,
}

impl Place<'_> {
    /// Both, each behind its length, so that no two places share an encoding.
    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut data = Vec::new();
        for field in [self.store.as_bytes(), &self.key.to_bytes()] {
            data.extend_from_slice(&(field.len() as u64).to_be_bytes());
            data.extend_from_slice(field);
        }
        data
    }
}

impl WrappedKey {
    /// Who wrapped it, for people: the seal, and which key of its own it used.
    pub fn wrapped_by(&self) -> String {
        let kind = if self.is_local() { "master key" } else { "key" };
        let shown = |text: &str| quoted(text, 200);
        format!("{} ({kind} {})", shown(&self.seal), shown(&self.seal_key))
    }

    /// It was wrapped by a master key that this program held itself.
    pub(super) fn is_local(&self) -> bool {
        matches!(self.kind(), "file" | "env" | "credential" | "command")
    }

    /// Of which kind the seal is, as the configuration begins its name.
    pub(super) fn kind(&self) -> &str {
        self.seal.split(':').next().unwrap_or_default()
    }
}
