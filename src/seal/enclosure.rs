//! What is wrapped where a seal takes no associated data: the key, and a digest of the key and its place. What another party
//! encrypts may be no authenticated encryption; so the key is in the digest too.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 32 | the key |
//! | 32 | 32 | SHA-256 over a domain string, the place and the key |

use aws_lc_rs::digest::{Context, Digest, SHA256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::secret::Key;

use super::wrapped::Place;

const KEY_LEN: usize = 32;

/// The key for this place, to be encrypted.
pub(super) fn enclose(place: &Place<'_>, key: &Key) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([&key.expose()[..], digest(place, key.expose()).as_ref()].concat())
}

/// Whether who encrypted it left the key as it is: a party that does not encrypt also gives back what it was given.
pub(super) fn shows(encrypted: &[u8], enclosed: &[u8]) -> bool {
    let key = enclosed.get(..KEY_LEN).unwrap_or(enclosed);
    encrypted.windows(key.len().max(1)).any(|part| part == key)
}

/// The key in what was decrypted; why there is none for this place.
pub(super) fn disclose(place: &Place<'_>, enclosed: &[u8]) -> Result<Key, &'static str> {
    let (key, rest) = enclosed
        .split_first_chunk::<KEY_LEN>()
        .ok_or("what it decrypted is no key")?;
    if rest.ct_eq(digest(place, key).as_ref()).into() {
        Ok(Key::new(*key))
    } else {
        Err("what it decrypted is no key, or the key of another database or place")
    }
}

fn digest(place: &Place<'_>, key: &[u8; KEY_LEN]) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(b"token-broker sealed key v1\0");
    context.update(&place.encoded());
    context.update(key);
    context.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::KeyId;

    fn place(store: &str, key: u8) -> Place<'_> {
        Place {
            store,
            key: KeyId::from_bytes([key; 8]),
        }
    }

    #[test]
    fn what_was_enclosed_once_is_disclosed_for_ever() {
        // SHA-256 of Python's hashlib over b"token-broker sealed key v1\0", each field of the place
        // behind its length in 8 bytes, and the key.
        let digest = "ddf21cadfd25353cbaed0c5f2bb7228c5b3b42eea9f2bfed9611e63126d40fb6";
        let made = enclose(&place("store_1", 7), &Key::new([9; 32]));
        let hex = made[32..]
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        assert_eq!((&made[..32], hex.as_str()), (&[9; 32][..], digest));
    }

    #[test]
    fn what_shows_the_key_is_known() {
        let enclosed = enclose(&place("store_1", 7), &Key::new([9; 32]));
        assert!(shows(&enclosed, &enclosed));
        assert!(shows(&[&[1; 5], &enclosed[..32]].concat(), &enclosed));
        assert!(!shows(&[9; 31], &enclosed) && !shows(&enclosed[32..], &enclosed) && !shows(&[], &enclosed));
    }

    #[test]
    fn a_key_is_disclosed_at_its_own_place_and_nowhere_else() {
        let enclosed = enclose(&place("store_1", 7), &Key::new([9; 32]));
        assert!(disclose(&place("store_1", 7), &enclosed).is_ok());
        for elsewhere in [place("store_2", 7), place("store_1", 8), place("store_", 7)] {
            assert!(disclose(&elsewhere, &enclosed).is_err(), "{elsewhere:?}");
        }
    }

    #[test]
    fn what_is_no_enclosure_is_refused() {
        let here = place("store_1", 7);
        let enclosed = enclose(&here, &Key::new([9; 32]));
        let long = [&enclosed[..], &[0]].concat();
        let mut another = enclosed.to_vec();
        another[0] ^= 1;
        for other in [&[][..], &[9; 32], &enclosed[..63], &long, &[9; 64], &another] {
            assert!(disclose(&here, other).is_err(), "{other:?}");
        }
    }
}
