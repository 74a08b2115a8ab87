//! What bytes on disk reach first, for the fuzzers in `fuzz/`.

use std::sync::Arc;

use super::{Binding, Keyring, Sealed, Vault, key};
use crate::{entropy::SequenceEntropy, secret::Key};

/// A sealed secret that this vault never sealed, and a key file.
pub fn envelope(bytes: &[u8]) {
    let vault = Vault::new(
        Keyring::new(Key::new([7; 32]), Vec::new()),
        Arc::new(SequenceEntropy::default()),
    );
    let opened = vault.open(&Binding::KeyCheck, &Sealed::from_bytes(bytes.to_vec()));
    assert!(opened.is_err(), "nothing opens that was not sealed");
    if let Ok(key) = key::parse(bytes) {
        assert!(
            key::parse(key::encode(&key).as_bytes()).is_ok(),
            "a key reads back"
        );
    }
}
