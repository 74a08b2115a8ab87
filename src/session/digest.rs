//! What tokens are known by.

/// SHA-256 of a token: looking one up takes the same time whatever it resembles.
pub(super) type Digest = [u8; 32];

/// The digest of a token.
pub(super) fn digest(token: &str) -> Digest {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}
