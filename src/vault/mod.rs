//! Encrypts secrets for the database, and opens them again.
//!
//! Each secret gets a data key of its own; the data key is wrapped by the active key of the keyring. Both layers are
//! XChaCha20-Poly1305 with random 192-bit nonces and carry, as associated data, the format version, what
//! the secret is for and which row it belongs to ([`Binding`]): a ciphertext that was moved to another row
//! or purpose does not open.
//!
//! What lies beside a secret in the open is bound to the same key by a MAC ([`Vault::mac`]). The active key may change while
//! the vault is in use ([`Vault::activate`]).

mod binding;
pub(crate) mod cipher;
mod envelope;
#[cfg(fuzzing)]
pub mod fuzz;
pub mod key;
mod key_id;
mod mac;
mod rotating;

use arc_swap::ArcSwap;
use zeroize::Zeroizing;

use crate::{
    entropy::{Entropy, SharedEntropy},
    secret::Key,
};

pub use binding::Binding;
use binding::Layer;
use cipher::{NONCE_LEN, TAG_LEN, decrypt, encrypt};
use envelope::{Envelope, UNBOUND, VERSION};
pub use key::{KeyError, Keyring};
pub use key_id::KeyId;
pub use mac::{Field, Mac, MacError};
pub use rotating::{is_mac_with, key_of_mac, mac_with};

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

    /// The key that its data key is wrapped by; `None` where it is no envelope.
    pub fn key_id(&self) -> Option<KeyId> {
        Envelope::parse(&self.0).ok().map(|envelope| envelope.key_id)
    }

    /// It is from before what a row says was bound to a key: [`Vault::open`] refuses it,
    /// [`Vault::take_over`] seals it anew.
    pub fn is_unbound(&self) -> bool {
        self.0.first() == Some(&UNBOUND)
    }
}

/// Why a sealed secret does not open. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The keyring lacks the key.
    #[error(
        "{what} is sealed with key {found}, which the keyring does not have (the active one is {active}): it was put there \
         from another database, or from a time before this one's keys"
    )]
    UnknownKey {
        /// Which secret.
        what: String,
        /// The key it needs.
        found: KeyId,
        /// The key that new secrets are sealed with.
        active: KeyId,
    },
    /// The key is right and the content is not.
    #[error(
        "{what} does not open with key {key}: it was altered, or moved there from another record; \
         restore it from a backup, or connect the account again"
    )]
    Tampered {
        /// Which secret.
        what: String,
        /// The key it names.
        key: KeyId,
    },
    /// Too short for an envelope.
    #[error(
        "{what} is truncated: it has {length} bytes, an envelope has at least {}; restore it from a backup, \
         or connect the account again",
        envelope::MIN_LEN
    )]
    Truncated {
        /// Which secret.
        what: String,
        /// How many bytes there are.
        length: usize,
    },
    /// From before what a row says was bound to a key.
    #[error(
        "{what} is sealed as it was before rows were bound to the master key: it was put there from an old copy of the \
         database"
    )]
    Outdated {
        /// Which secret.
        what: String,
    },
    /// Written by a version of this program that does not exist yet, or not by this program.
    #[error(
        "{what} is sealed in format {found}, this program knows format {}: install the newer version again, \
         or restore it from a backup",
        envelope::VERSION
    )]
    UnknownFormat {
        /// Which secret.
        what: String,
        /// The version byte.
        found: u8,
    },
}

/// Seals and opens secrets. No `Debug`: it holds the keys.
pub struct Vault {
    keyring: ArcSwap<Keyring>,
    entropy: SharedEntropy,
}

impl Vault {
    /// A vault that seals with the keyring's active key and opens with each of its keys.
    pub fn new(keyring: Keyring, entropy: SharedEntropy) -> Self {
        Self {
            keyring: ArcSwap::from_pointee(keyring),
            entropy,
        }
    }

    /// The master key that new secrets are sealed with.
    pub fn active_key(&self) -> KeyId {
        self.keyring.load().active_id()
    }

    /// Seals `secret` so that it opens for the same `binding` only.
    pub fn seal(&self, binding: &Binding<'_>, secret: &[u8]) -> Sealed {
        let keyring = self.keyring.load();
        let (key_id, master) = keyring.active();
        self.seal_with(key_id, master, binding, secret)
    }

    fn seal_with(&self, key_id: KeyId, master: &Key, binding: &Binding<'_>, secret: &[u8]) -> Sealed {
        let Fresh {
            data_key,
            wrap_nonce,
            nonce,
        } = Fresh::draw(&*self.entropy);

        let wrap_context = binding.associated_data(VERSION, Layer::DataKey(key_id));
        let mut wrapped_key = [0; 32 + TAG_LEN];
        wrapped_key[..32].copy_from_slice(&*data_key);
        encrypt(master.expose(), &wrap_nonce, &wrap_context, &mut wrapped_key);

        let context = binding.associated_data(VERSION, Layer::Payload);
        let mut ciphertext = vec![0; secret.len() + TAG_LEN];
        ciphertext[..secret.len()].copy_from_slice(secret);
        encrypt(&data_key, &nonce, &context, &mut ciphertext);

        Sealed(
            Envelope {
                version: VERSION,
                key_id,
                wrap_nonce: &wrap_nonce,
                wrapped_key: &wrapped_key,
                nonce: &nonce,
                ciphertext: &ciphertext,
            }
            .to_bytes(),
        )
    }

    /// Opens what was sealed for `binding`.
    pub fn open(&self, binding: &Binding<'_>, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let envelope = parse(binding, sealed)?;
        if envelope.version == UNBOUND {
            return Err(VaultError::Outdated {
                what: binding.to_string(),
            });
        }
        self.unseal(binding, &envelope)
    }

    /// Seals anew, with the same key, what is from before what a row says was bound to it.
    pub fn take_over(&self, binding: &Binding<'_>, sealed: &Sealed) -> Result<Sealed, VaultError> {
        let secret = self.unseal(binding, &parse(binding, sealed)?)?;
        self.replace(binding, sealed, &secret)
    }

    /// Seals `secret` in place of what is in `sealed`, with the same key.
    pub fn replace(
        &self,
        binding: &Binding<'_>,
        sealed: &Sealed,
        secret: &[u8],
    ) -> Result<Sealed, VaultError> {
        let key_id = parse(binding, sealed)?.key_id;
        let keyring = self.keyring.load();
        let master = master(&keyring, binding, key_id)?;
        Ok(self.seal_with(key_id, master, binding, secret))
    }

    fn unseal(
        &self,
        binding: &Binding<'_>,
        envelope: &Envelope<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let key_id = envelope.key_id;
        let keyring = self.keyring.load();
        let master = master(&keyring, binding, key_id)?;
        let tampered = || VaultError::Tampered {
            what: binding.to_string(),
            key: key_id,
        };

        let wrap_context = binding.associated_data(envelope.version, Layer::DataKey(key_id));
        let unwrapped = decrypt(
            master.expose(),
            envelope.wrap_nonce,
            &wrap_context,
            envelope.wrapped_key,
        )
        .ok_or_else(tampered)?;
        let data_key: &[u8; 32] = unwrapped.as_slice().try_into().map_err(|_| tampered())?;
        let context = binding.associated_data(envelope.version, Layer::Payload);
        decrypt(data_key, envelope.nonce, &context, envelope.ciphertext).ok_or_else(tampered)
    }
}

fn master<'a>(keyring: &'a Keyring, binding: &Binding<'_>, found: KeyId) -> Result<&'a Key, VaultError> {
    keyring.key(found).ok_or_else(|| VaultError::UnknownKey {
        what: binding.to_string(),
        found,
        active: keyring.active_id(),
    })
}

fn parse<'a>(binding: &Binding<'_>, sealed: &'a Sealed) -> Result<Envelope<'a>, VaultError> {
    let what = || binding.to_string();
    Envelope::parse(&sealed.0).map_err(|problem| match problem {
        envelope::Malformed::Truncated(length) => VaultError::Truncated { what: what(), length },
        envelope::Malformed::Version(found) => VaultError::UnknownFormat { what: what(), found },
    })
}

/// MACs over what lies in the open.
impl Vault {
    /// A MAC over `fields` for `purpose`, with a key derived from the active key. A purpose is a fixed text that
    /// says which kind of record the fields are of.
    pub fn mac(&self, purpose: &str, fields: &[Field<'_>]) -> Mac {
        let keyring = self.keyring.load();
        let (key_id, key) = keyring.active_mac();
        key.make(key_id, purpose, fields)
    }

    /// Whether `mac` was made over these very `fields` for this `purpose`, with a key of the keyring.
    ///
    /// # Errors
    /// Why not.
    pub fn verify_mac(&self, purpose: &str, fields: &[Field<'_>], mac: &[u8]) -> Result<(), MacError> {
        let (key_id, tag) = mac::parse(mac)?;
        let keyring = self.keyring.load();
        let key = keyring.find_mac(key_id).ok_or(MacError::UnknownKey(key_id))?;
        if key.confirms(purpose, fields, tag) {
            Ok(())
        } else {
            Err(MacError::Differs)
        }
    }
}

/// What each envelope has of its own.
struct Fresh {
    data_key: Zeroizing<[u8; 32]>,
    wrap_nonce: [u8; NONCE_LEN],
    nonce: [u8; NONCE_LEN],
}

impl Fresh {
    /// All of it at once: a call of the generator costs more than the bytes.
    fn draw(entropy: &dyn Entropy) -> Self {
        let mut drawn = Zeroizing::new([0; 32 + 2 * NONCE_LEN]);
        entropy.fill(&mut *drawn);
        let mut fresh = Self {
            data_key: Zeroizing::new([0; 32]),
            wrap_nonce: [0; NONCE_LEN],
            nonce: [0; NONCE_LEN],
        };
        let (data_key, nonces) = drawn.split_at(32);
        let (wrap_nonce, nonce) = nonces.split_at(NONCE_LEN);
        fresh.data_key.copy_from_slice(data_key);
        fresh.wrap_nonce.copy_from_slice(wrap_nonce);
        fresh.nonce.copy_from_slice(nonce);
        fresh
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{capability::ScopeSet, entropy::SystemEntropy, id::IntegrationId};

    fn vault_of(active: u8, previous: &[u8]) -> Vault {
        let previous = previous.iter().map(|byte| Key::new([*byte; 32])).collect();
        Vault::new(
            Keyring::new(Key::new([active; 32]), previous),
            Arc::new(SystemEntropy),
        )
    }

    fn id(digit: u8) -> IntegrationId {
        format!("int_{digit:020x}").parse().unwrap()
    }

    fn scopes(text: &str) -> ScopeSet {
        ScopeSet::parse(text).unwrap()
    }

    fn binding<'a>(kind: u8, integration: &'a IntegrationId, requested: &'a ScopeSet) -> Binding<'a> {
        match kind {
            0 => Binding::RefreshToken(integration),
            1 => Binding::AccessToken {
                integration,
                requested,
            },
            2 => Binding::ServiceAccountKey(integration),
            3 => Binding::ProofKey(integration),
            _ => Binding::KeyCheck,
        }
    }

    #[test]
    fn two_seals_of_one_secret_share_nothing_but_the_key_id() {
        let vault = vault_of(1, &[]);
        let id = id(1);
        let binding = Binding::RefreshToken(&id);
        let (a, b) = (vault.seal(&binding, b"secret"), vault.seal(&binding, b"secret"));
        assert_eq!(a.as_bytes()[..9], b.as_bytes()[..9]);
        for range in [9..33, 33..81, 81..105, 105..127] {
            assert_ne!(a.as_bytes()[range.clone()], b.as_bytes()[range]);
        }
        assert!(!a.as_bytes().windows(6).any(|window| window == b"secret"));
    }

    #[test]
    fn a_previous_key_opens_and_the_active_one_seals() {
        let id = id(1);
        let binding = Binding::RefreshToken(&id);
        let old = vault_of(1, &[]).seal(&binding, b"secret");
        let rotated = vault_of(2, &[1]);
        assert_eq!(**rotated.open(&binding, &old).unwrap(), *b"secret");
        let new = rotated.seal(&binding, b"secret");
        assert_eq!(**vault_of(2, &[]).open(&binding, &new).unwrap(), *b"secret");
    }

    #[test]
    fn a_mac_of_a_previous_key_holds_and_one_of_an_unknown_key_does_not() {
        let fields = ["alice".into()];
        let old = vault_of(1, &[]).mac("a row", &fields);
        let rotated = vault_of(2, &[1]);
        assert_eq!(rotated.verify_mac("a row", &fields, old.as_bytes()), Ok(()));
        let unknown = MacError::UnknownKey(KeyId::of(&Key::new([1; 32])));
        assert_eq!(
            vault_of(2, &[]).verify_mac("a row", &fields, old.as_bytes()),
            Err(unknown)
        );
        let new = rotated.mac("a row", &fields);
        assert_eq!(
            vault_of(2, &[]).verify_mac("a row", &fields, new.as_bytes()),
            Ok(())
        );
        let forged = vault_of(2, &[]).mac("a row", &["mallory".into()]);
        assert_eq!(
            rotated.verify_mac("a row", &fields, forged.as_bytes()),
            Err(MacError::Differs)
        );
    }

    #[test]
    fn a_missing_key_is_named_with_what_to_do() {
        let id = id(1);
        let binding = Binding::RefreshToken(&id);
        let sealed = vault_of(1, &[]).seal(&binding, b"secret");
        let (found, active) = (KeyId::of(&Key::new([1; 32])), KeyId::of(&Key::new([2; 32])));
        let error = vault_of(2, &[]).open(&binding, &sealed).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the refresh token of {id} is sealed with key {found}, which the keyring does not have (the active one is \
                 {active}): it was put there from another database, or from a time before this one's keys"
            )
        );
    }

    #[test]
    fn truncated_and_foreign_envelopes_are_told_apart() {
        let vault = vault_of(1, &[]);
        let mut bytes = vault.seal(&Binding::KeyCheck, b"").as_bytes().to_vec();
        let short = Sealed::from_bytes(bytes[..50].to_vec());
        assert!(matches!(
            vault.open(&Binding::KeyCheck, &short),
            Err(VaultError::Truncated { length: 50, .. })
        ));
        bytes[0] = 3;
        assert!(matches!(
            vault.open(&Binding::KeyCheck, &Sealed::from_bytes(bytes)),
            Err(VaultError::UnknownFormat { found: 3, .. })
        ));
    }

    #[test]
    fn what_is_sealed_now_does_not_pass_for_what_was_sealed_before() {
        let vault = vault_of(1, &[]);
        let mut bytes = vault.seal(&Binding::KeyCheck, b"text").as_bytes().to_vec();
        bytes[0] = UNBOUND;
        let relabelled = Sealed::from_bytes(bytes);
        assert!(matches!(
            vault.open(&Binding::KeyCheck, &relabelled),
            Err(VaultError::Outdated { .. })
        ));
        assert!(matches!(
            vault.take_over(&Binding::KeyCheck, &relabelled),
            Err(VaultError::Tampered { .. })
        ));
    }

    #[test]
    fn a_data_key_from_another_row_does_not_help() {
        let vault = vault_of(1, &[]);
        let (mine, other) = (id(1), id(2));
        let ours = vault.seal(&Binding::RefreshToken(&mine), b"mine");
        let theirs = vault.seal(&Binding::RefreshToken(&other), b"them");
        // The other row's payload under its own data key, with our wrapped key in front, and the reverse.
        for (head, tail) in [(&ours, &theirs), (&theirs, &ours)] {
            let mixed = [&head.as_bytes()[..81], &tail.as_bytes()[81..]].concat();
            assert!(
                vault
                    .open(&Binding::RefreshToken(&mine), &Sealed::from_bytes(mixed))
                    .is_err()
            );
        }
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens(secret in prop::collection::vec(any::<u8>(), 0..600)) {
            let (vault, id, requested) = (vault_of(1, &[]), id(1), scopes("a b"));
            for binding in [
                Binding::RefreshToken(&id),
                Binding::AccessToken { integration: &id, requested: &requested },
                Binding::KeyCheck,
            ] {
                let opened = vault.open(&binding, &vault.seal(&binding, &secret)).unwrap();
                prop_assert_eq!(&**opened, &secret[..]);
            }
        }

        #[test]
        fn any_flipped_bit_is_noticed(
            secret in prop::collection::vec(any::<u8>(), 0..64), place in any::<prop::sample::Index>(), bit in 0..8_u32,
        ) {
            let (vault, id) = (vault_of(1, &[]), id(1));
            let binding = Binding::RefreshToken(&id);
            let mut bytes = vault.seal(&binding, &secret).as_bytes().to_vec();
            let place = place.index(bytes.len());
            bytes[place] ^= 1_u8 << bit;
            prop_assert!(vault.open(&binding, &Sealed::from_bytes(bytes)).is_err());
        }

        #[test]
        fn nothing_opens_elsewhere(
            a in 0..3_u8, b in 0..3_u8, kinds in (0..4_u8, 0..4_u8), sets in ("[a-c]( [a-c]){0,2}", "[a-c]( [a-c]){0,2}"),
        ) {
            let vault = vault_of(1, &[]);
            let (ids, sets) = ((id(a), id(b)), (scopes(&sets.0), scopes(&sets.1)));
            let here = binding(kinds.0, &ids.0, &sets.0);
            let there = binding(kinds.1, &ids.1, &sets.1);
            let opened = vault.open(&there, &vault.seal(&here, b"secret"));
            prop_assert_eq!(opened.is_ok(), here == there);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(vault_of(1, &[]).open(&Binding::KeyCheck, &Sealed::from_bytes(bytes)).is_err());
        }
    }
}
