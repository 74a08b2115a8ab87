//! The seal that is a master key of this program's own.
//!
//! A wrapped key is encrypted with XChaCha20-Poly1305 under a key that is derived from the master key (HKDF-SHA-256), so that
//! no key is used for two things. Its place is the associated data.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | format version |
//! | 1 | 24 | nonce |
//! | 25 | 48 | the key and the tag |

use anyhow::Context;
use aws_lc_rs::hkdf;
use zeroize::Zeroizing;

use crate::{
    config::{KeySection, KeySource},
    entropy::{Entropy, SystemEntropy},
    secret::Key,
    vault::{
        KeyId,
        cipher::{NONCE_LEN, TAG_LEN, decrypt, encrypt},
        key,
    },
};

use super::{
    error::Problem,
    wrapped::{Place, WrappedKey},
};

const VERSION: u8 = 1;

/// A master key. No `Debug`.
pub(super) struct Local {
    id: KeyId,
    master: Key,
}

impl Local {
    pub(super) async fn read(source: &KeySource, section: &KeySection) -> anyhow::Result<Self> {
        let env = |name: &str| std::env::var(name).ok();
        let text = source.read(env, &section.command_environment).await?;
        let master = key::parse(text.as_bytes()).with_context(|| format!("the key {source}"))?;
        Ok(Self {
            id: KeyId::of(&master),
            master,
        })
    }

    pub(super) fn key_id(&self) -> String {
        self.id.to_string()
    }

    pub(super) fn master_key(&self) -> &Key {
        &self.master
    }

    pub(super) fn fits(&self, wrapped: &WrappedKey) -> bool {
        wrapped.is_local() && wrapped.seal_key == self.key_id()
    }

    pub(super) fn wrap(&self, seal: &str, place: &Place<'_>, key: &Key) -> WrappedKey {
        let entropy: &dyn Entropy = &SystemEntropy;
        let nonce: [u8; NONCE_LEN] = entropy.bytes();
        let mut text = Zeroizing::new([0; 32 + TAG_LEN]);
        text[..32].copy_from_slice(key.expose());
        encrypt(&self.derived(), &nonce, &associated_data(place), &mut *text);
        WrappedKey {
            seal: seal.to_owned(),
            seal_key: self.key_id(),
            bytes: [&[VERSION], &nonce[..], &text[..]].concat(),
        }
    }

    pub(super) fn unwrap(&self, place: &Place<'_>, wrapped: &WrappedKey) -> Result<Key, Problem> {
        self.opened(place, &wrapped.bytes).ok_or_else(|| {
            Problem::Wrong("it was altered, or moved there from another database or key".to_owned())
        })
    }

    fn opened(&self, place: &Place<'_>, bytes: &[u8]) -> Option<Key> {
        let (&[VERSION], rest) = bytes.split_first_chunk()? else {
            return None;
        };
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>()?;
        let text = decrypt(&self.derived(), nonce, &associated_data(place), ciphertext)?;
        Some(Key::new(text.as_slice().try_into().ok()?))
    }

    /// What is encrypted with, in place of the master key.
    fn derived(&self) -> Zeroizing<[u8; 32]> {
        let info: [&[u8]; 1] = [b"token-broker seal key v1"];
        let mut derived = Zeroizing::new([0; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, &[])
            .extract(self.master.expose())
            .expand(&info, hkdf::HKDF_SHA256)
            .and_then(|key| key.fill(&mut *derived))
            .expect("one block is not too long for HKDF");
        derived
    }
}

/// The format and the place.
fn associated_data(place: &Place<'_>) -> Vec<u8> {
    [&[VERSION], &place.encoded()[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Local {
        let master = Key::new([1; 32]);
        Local {
            id: KeyId::of(&master),
            master,
        }
    }

    #[test]
    fn what_was_wrapped_once_opens_for_ever() {
        // Made with Python's hmac and hashlib, and PyNaCl's XChaCha20-Poly1305.
        let bytes = "01000102030405060708090a0b0c0d0e0f1011121314151617f3b9d24bb5535c50f8e9228bee51613431cbc8efa358b42a317a2bbda954d2cc8f6e4673a61d2ff4b2adc606dad74457";
        let bytes: Vec<u8> = (0..bytes.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&bytes[at..at + 2], 16).unwrap())
            .collect();
        let place = Place {
            store: "store_1",
            key: KeyId::from_bytes([7; 8]),
        };
        assert_eq!(local().opened(&place, &bytes).unwrap().expose(), &[9; 32]);
    }

    #[test]
    fn one_key_is_never_wrapped_twice_in_the_same_way_nor_under_the_master_key_itself() {
        let place = Place {
            store: "store_1",
            key: KeyId::from_bytes([7; 8]),
        };
        let wrap = || local().wrap("file:/k", &place, &Key::new([9; 32])).bytes;
        let (one, other) = (wrap(), wrap());
        assert_eq!((one.len(), one[0]), (73, VERSION));
        assert_ne!(one[1..25], other[1..25]);
        assert_ne!(one[25..], other[25..]);
        let nonce = one[1..25].try_into().unwrap();
        let under_master = local().master.expose().to_owned();
        let opened = decrypt(&under_master, &nonce, &associated_data(&place), &one[25..]);
        assert!(opened.is_none());
    }
}
