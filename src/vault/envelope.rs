//! The bytes of a sealed secret.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | format version: 2, or 1 in rows of before what a row says was bound to the key |
//! | 1 | 8 | id of the key |
//! | 9 | 24 | nonce of the wrapped data key |
//! | 33 | 48 | data key, wrapped by the key |
//! | 81 | 24 | nonce of the secret |
//! | 105 | 16 + n | secret of n bytes, encrypted with the data key |

use super::{
    KeyId,
    cipher::{NONCE_LEN, TAG_LEN},
};

/// The format that this program writes.
pub(super) const VERSION: u8 = 2;
/// The same layout, in rows of before what a row says was bound to the key. Nothing new is sealed so, which is how
/// a row that was never bound is told from one whose MAC somebody took away.
pub(super) const UNBOUND: u8 = 1;
/// A data key and its tag.
pub(super) const WRAPPED_LEN: usize = 32 + TAG_LEN;
/// An envelope around nothing.
pub(super) const MIN_LEN: usize = 1 + 8 + NONCE_LEN + WRAPPED_LEN + NONCE_LEN + TAG_LEN;

/// An envelope, taken apart.
pub(super) struct Envelope<'a> {
    pub(super) version: u8,
    pub(super) key_id: KeyId,
    pub(super) wrap_nonce: &'a [u8; NONCE_LEN],
    pub(super) wrapped_key: &'a [u8; WRAPPED_LEN],
    pub(super) nonce: &'a [u8; NONCE_LEN],
    pub(super) ciphertext: &'a [u8],
}

/// Why bytes are not an envelope.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    Truncated(usize),
    Version(u8),
}

impl<'a> Envelope<'a> {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MIN_LEN + self.ciphertext.len());
        bytes.push(self.version);
        bytes.extend_from_slice(&self.key_id.to_bytes());
        bytes.extend_from_slice(self.wrap_nonce);
        bytes.extend_from_slice(self.wrapped_key);
        bytes.extend_from_slice(self.nonce);
        bytes.extend_from_slice(self.ciphertext);
        bytes
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        // The version first: another format may well be shorter.
        let version = match bytes.first() {
            Some(&known @ (VERSION | UNBOUND)) if bytes.len() >= MIN_LEN => known,
            Some(&(VERSION | UNBOUND)) | None => return Err(Malformed::Truncated(bytes.len())),
            Some(&other) => return Err(Malformed::Version(other)),
        };
        Self::split(version, &bytes[1..]).ok_or(Malformed::Truncated(bytes.len()))
    }

    fn split(version: u8, bytes: &'a [u8]) -> Option<Self> {
        let (key_id, bytes) = bytes.split_first_chunk()?;
        let (wrap_nonce, bytes) = bytes.split_first_chunk()?;
        let (wrapped_key, bytes) = bytes.split_first_chunk()?;
        let (nonce, ciphertext) = bytes.split_first_chunk()?;
        Some(Self {
            version,
            key_id: KeyId::from_bytes(*key_id),
            wrap_nonce,
            wrapped_key,
            nonce,
            ciphertext,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_documented_one() {
        let bytes = Envelope {
            version: VERSION,
            key_id: KeyId::from_bytes([1; 8]),
            wrap_nonce: &[2; 24],
            wrapped_key: &[3; 48],
            nonce: &[4; 24],
            ciphertext: &[5; 20],
        }
        .to_bytes();
        assert_eq!(bytes.len(), MIN_LEN + 4);
        assert_eq!(bytes[0], 2);
        for (start, end, value) in [(1, 9, 1), (9, 33, 2), (33, 81, 3), (81, 105, 4), (105, 125, 5)] {
            assert!(
                bytes[start..end].iter().all(|byte| *byte == value),
                "{start}..{end}"
            );
        }
    }

    #[test]
    fn short_and_foreign_bytes_are_told_apart() {
        assert_eq!(Envelope::parse(&[]).err(), Some(Malformed::Truncated(0)));
        assert_eq!(
            Envelope::parse(&[1; MIN_LEN - 1]).err(),
            Some(Malformed::Truncated(MIN_LEN - 1))
        );
        assert_eq!(Envelope::parse(&[3; 8]).err(), Some(Malformed::Version(3)));
        for known in [1, 2] {
            assert!(Envelope::parse(&[known; MIN_LEN]).is_ok_and(|envelope| envelope.version == known));
        }
    }
}
