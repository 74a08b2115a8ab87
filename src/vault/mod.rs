//! Seals what must not be read at rest.

/// A sealed secret: an envelope of bytes that only the vault opens.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// An envelope as it was stored.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The envelope, to be stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
