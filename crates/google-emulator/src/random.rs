//! Random bytes, and names made of them.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// `N` bytes of the system's generator, through AWS-LC.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // AWS-LC has no failure to report once it is seeded.
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator works");
    bytes
}

/// A name that nobody guesses: 256 bits in URL-safe base64.
pub(crate) fn name() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes::<32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ() {
        assert_ne!(name(), name());
        assert_eq!(name().len(), 43);
    }
}
