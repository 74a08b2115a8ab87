//! Proofs that the sender of a request has a key (DPoP, RFC 9449): a grant that is bound to a key is worth nothing without
//! it.

mod key;
mod nonce;
mod proof;

/// How proofs are signed (RFC 7518, section 3.1).
pub(crate) const ALGORITHM: &str = "ES256";

pub use key::{NotAKey, ProofKey};
pub(crate) use nonce::LastNonce;
pub use proof::Possession;
