//! XChaCha20-Poly1305, as everything here is encrypted.

use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce, aead::AeadInOut};
use zeroize::Zeroizing;

/// `XChaCha20`'s nonce.
pub(crate) const NONCE_LEN: usize = 24;
/// Poly1305's tag.
pub(crate) const TAG_LEN: usize = 16;

/// Encrypts `buffer` in place; its last [`TAG_LEN`] bytes become the tag.
pub(crate) fn encrypt(key: &[u8; 32], nonce: &[u8; NONCE_LEN], context: &[u8], buffer: &mut [u8]) {
    let end = buffer.len() - TAG_LEN;
    let (text, tag) = buffer.split_at_mut(end);
    let nonce: &XNonce = nonce.into();
    let computed = XChaCha20Poly1305::new(key.into())
        .encrypt_inout_detached(nonce, context, text.into())
        .expect("a secret is shorter than ChaCha20's limit of 256 GiB");
    tag.copy_from_slice(&computed);
}

/// Decrypts what [`encrypt`] wrote; `None` when anything about it differs.
pub(crate) fn decrypt(
    key: &[u8; 32],
    nonce: &[u8; NONCE_LEN],
    context: &[u8],
    ciphertext: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let nonce: &XNonce = nonce.into();
    XChaCha20Poly1305::new(key.into())
        .decrypt_in_place(nonce, context, &mut *buffer)
        .ok()?;
    Some(buffer)
}
