//! The id of a master key.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

use crate::secret::Key;

/// The name of a master key: it says which key is needed and tells nothing about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// The first 8 bytes of SHA-256 over a domain string and the key.
    pub fn of(key: &Key) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(b"token-broker master key id v1\0");
        context.update(key.expose());
        let mut id = [0; 8];
        id.copy_from_slice(&context.finish().as_ref()[..8]);
        Self(id)
    }

    /// An id as it was stored.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The id, to be stored.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

/// 16 hexadecimal digits.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}
