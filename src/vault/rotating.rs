//! The vault's keys, as they change while it is in use.

use std::{borrow::Cow, sync::Arc};

use arc_swap::ArcSwap;

use super::{
    Binding, Field, Keyring, Mac, Sealed, Vault, VaultError,
    key_id::KeyId,
    mac::{self, MacKey},
};
use crate::secret::Key;

impl Vault {
    /// A vault with the keys as they are now, whatever becomes of them. What is read of one moment is judged by the keys of
    /// that moment.
    #[must_use]
    pub fn pinned(&self) -> Self {
        Self {
            keyring: ArcSwap::new(self.keyring.load_full()),
            entropy: self.entropy.clone(),
        }
    }

    /// Seals with `key` from now on. The one that did so until now still opens.
    pub fn activate(&self, key: &Key) {
        self.keyring.rcu(|keyring| keyring.activated(key.clone()));
    }

    /// Believes nothing any more that is bound to key `id`.
    pub fn retire(&self, id: KeyId) {
        self.keyring.rcu(|keyring| keyring.retired(id));
    }

    /// The keys as they are now.
    pub fn keyring(&self) -> Arc<Keyring> {
        self.keyring.load_full()
    }

    /// `sealed` as it is to be stored now. What was sealed before another key became the active one is sealed anew; what does
    /// not open stays as it is.
    pub fn current<'a>(&self, binding: &Binding<'_>, sealed: &'a Sealed) -> Cow<'a, Sealed> {
        match self.resealed(binding, sealed) {
            Ok(Some(anew)) => Cow::Owned(anew),
            Ok(None) | Err(_) => Cow::Borrowed(sealed),
        }
    }

    /// What `sealed` holds, sealed with the active key; `None` where it is.
    ///
    /// # Errors
    /// Why it does not open.
    pub fn resealed(&self, binding: &Binding<'_>, sealed: &Sealed) -> Result<Option<Sealed>, VaultError> {
        if sealed.key_id() == Some(self.active_key()) {
            return Ok(None);
        }
        let secret = self.open(binding, sealed)?;
        Ok(Some(self.seal(binding, &secret)))
    }
}

/// A MAC over `fields` for `purpose` with this very key, active or not.
pub fn mac_with(key: &Key, purpose: &str, fields: &[Field<'_>]) -> Mac {
    MacKey::of(key).make(KeyId::of(key), purpose, fields)
}

/// Whether [`mac_with`] made this of these.
pub fn is_mac_with(key: &Key, purpose: &str, fields: &[Field<'_>], made: &[u8]) -> bool {
    mac::parse(made)
        .is_ok_and(|(id, tag)| id == KeyId::of(key) && MacKey::of(key).confirms(purpose, fields, tag))
}

/// The key that a MAC names, if it is one.
pub fn key_of_mac(made: &[u8]) -> Option<KeyId> {
    mac::parse(made).ok().map(|(id, _)| id)
}
