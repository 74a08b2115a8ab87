//! Binds what lies in the open to the key: without the key nobody can write it.
//!
//! A MAC is HMAC-SHA-256 under a key that is derived from the key (HKDF-SHA-256), and names that key:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | format version |
//! | 1 | 8 | id of the key |
//! | 9 | 32 | HMAC over the purpose and the fields |
//!
//! Purpose and fields go in each behind its type and its length, so that no two lists share an encoding.

use aws_lc_rs::{hkdf, hmac};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::secret::Key;

use super::key_id::KeyId;

const VERSION: u8 = 1;
const TAG_LEN: usize = 32;
/// How long a MAC is.
const LEN: usize = 1 + 8 + TAG_LEN;

/// One thing that a MAC covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// A text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A number.
    Number(i64),
    /// Nothing, where something may be.
    Absent,
}

impl<'a> From<&'a str> for Field<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Field<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<i64> for Field<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl<'a, T: Into<Field<'a>>> From<Option<T>> for Field<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Into::into)
    }
}

/// What shows that its fields were written by who has the key. No secret; it is stored beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac([u8; LEN]);

impl Mac {
    /// The MAC, to be stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Why a MAC does not confirm what it is beside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// No MAC, one of another length, or of a version that this program does not know.
    #[error("it was not written by this broker")]
    Foreign,
    /// The keyring lacks the key, or has retired it.
    #[error(
        "it is bound to key {0}, which the keyring does not have or has retired: it was put there from another database, or \
         from an old copy of this one"
    )]
    UnknownKey(KeyId),
    /// The fields are not those that it was made over.
    #[error("it was altered, or moved there from another record")]
    Differs,
}

/// The key that MACs are made with, derived from a key. No `Debug`.
pub(super) struct MacKey(Key);

impl MacKey {
    pub(super) fn of(master: &Key) -> Self {
        let info: [&[u8]; 1] = [b"token-broker mac key v1"];
        let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(master.expose());
        let mut key = [0; 32];
        derived
            .expand(&info, hkdf::HKDF_SHA256)
            .and_then(|derived| derived.fill(&mut key))
            .expect("one block is not too long for HKDF");
        let kept = Key::new(key);
        key.zeroize();
        Self(kept)
    }

    pub(super) fn make(&self, key_id: KeyId, purpose: &str, fields: &[Field<'_>]) -> Mac {
        let mut mac = [VERSION; LEN];
        mac[1..9].copy_from_slice(&key_id.to_bytes());
        mac[9..].copy_from_slice(self.context(purpose, fields).sign().as_ref());
        Mac(mac)
    }

    /// In constant time.
    pub(super) fn confirms(&self, purpose: &str, fields: &[Field<'_>], tag: &[u8; TAG_LEN]) -> bool {
        self.context(purpose, fields)
            .sign()
            .as_ref()
            .ct_eq(&tag[..])
            .into()
    }

    fn context(&self, purpose: &str, fields: &[Field<'_>]) -> hmac::Context {
        // Made each time: what is derived from the key lies nowhere for longer than a MAC takes.
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.expose());
        let mut context = hmac::Context::with_key(&key);
        for field in std::iter::once(&Field::Text(purpose)).chain(fields) {
            add(&mut context, *field);
        }
        context
    }
}

fn add(context: &mut hmac::Context, field: Field<'_>) {
    let number;
    let (kind, bytes): (u8, &[u8]) = match field {
        Field::Absent => (0, &[]),
        Field::Text(text) => (1, text.as_bytes()),
        Field::Bytes(bytes) => (2, bytes),
        Field::Number(value) => {
            number = value.to_be_bytes();
            (3, &number)
        }
    };
    let mut head = [kind; 9];
    head[1..].copy_from_slice(&(bytes.len() as u64).to_be_bytes());
    context.update(&head);
    context.update(bytes);
}

/// A stored MAC, taken apart.
pub(super) fn parse(bytes: &[u8]) -> Result<(KeyId, &[u8; TAG_LEN]), MacError> {
    let Some((&[VERSION], rest)) = bytes.split_first_chunk() else {
        return Err(MacError::Foreign);
    };
    let (key_id, tag) = rest.split_first_chunk().ok_or(MacError::Foreign)?;
    let tag = tag.try_into().map_err(|_| MacError::Foreign)?;
    Ok((KeyId::from_bytes(*key_id), tag))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> (KeyId, MacKey) {
        let master = Key::new([byte; 32]);
        (KeyId::of(&master), MacKey::of(&master))
    }

    fn mac(purpose: &str, fields: &[Field<'_>]) -> Mac {
        let (id, key) = key(1);
        key.make(id, purpose, fields)
    }

    #[test]
    fn a_mac_is_stable() {
        // Stored beside every row: it must never change. Computed with Python's hmac and hashlib.
        let made = mac(
            "a row",
            &[
                "alice".into(),
                7_i64.into(),
                Field::Absent,
                (&[1_u8, 2][..]).into(),
            ],
        );
        let hex = made
            .as_bytes()
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        assert_eq!(
            hex,
            "01373b2f09306215a2d7e3708f7955de500272a4e7850fae87ea811bef0d537ee2c8e24e7a84749246"
        );
    }

    #[test]
    fn what_is_no_mac_is_foreign() {
        let made = mac("a row", &[]);
        assert!(parse(made.as_bytes()).is_ok());
        let mut newer = made.as_bytes().to_vec();
        newer[0] = 2;
        for bytes in [
            &[][..],
            &made.as_bytes()[..40],
            &[made.as_bytes(), &[0]].concat(),
            &newer,
        ] {
            assert_eq!(parse(bytes).err(), Some(MacError::Foreign), "{bytes:?}");
        }
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let lists: [&[Field<'_>]; 8] = [
            &[],
            &["".into()],
            &[Field::Absent],
            &["ab".into(), "c".into()],
            &["a".into(), "bc".into()],
            &["abc".into()],
            &[(&b"abc"[..]).into()],
            &[i64::from_be_bytes(*b"abcdefgh").into()],
        ];
        for (first, one) in lists.iter().enumerate() {
            for (second, other) in lists.iter().enumerate() {
                assert_eq!(
                    mac("p", one) == mac("p", other),
                    first == second,
                    "{one:?} {other:?}"
                );
            }
        }
        assert_ne!(
            mac("a", &["b".into()]),
            mac("ab", &[]),
            "the purpose is one of them"
        );
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(
            text in ".{0,20}", number in any::<i64>(), place in any::<prop::sample::Index>(), bit in 0..8_u32,
        ) {
            let (_, key) = key(1);
            let fields = [Field::from(text.as_str()), number.into()];
            let made = mac("a row", &fields);
            let mut bytes = made.as_bytes().to_vec();
            let (_, tag) = parse(&bytes).unwrap();
            prop_assert!(key.confirms("a row", &fields, tag));
            prop_assert!(!key.confirms("another", &fields, tag));
            prop_assert!(!key.confirms("a row", &fields[..1], tag));
            let place = 9 + place.index(TAG_LEN);
            bytes[place] ^= 1_u8 << bit;
            let (_, tag) = parse(&bytes).unwrap();
            prop_assert!(!key.confirms("a row", &fields, tag));
        }
    }
}
