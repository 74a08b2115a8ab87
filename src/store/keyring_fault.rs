//! What is wrong with a keyring as a whole.

use crate::vault::KeyId;

/// A keyring that cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringFault {
    /// Somebody changed a key's state or times.
    #[error("key {0} of the keyring was altered: restore a backup")]
    Altered(KeyId),
    /// No key seals, or several do.
    #[error("{0} keys of the keyring are active, not one: it was altered; restore a backup")]
    NotOneActive(usize),
}
