//! Randomness as a parameter: keys, states and jitter come from here, so that tests can hold them still.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::rand::SecureRandom;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// Where random bytes come from.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// An entropy source shared by the parts of the program.
pub type SharedEntropy = Arc<dyn Entropy>;

/// The operating system's generator, through AWS-LC.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // AWS-LC has no failure to report once it is seeded; running on without randomness would be worse
        // than stopping.
        aws_lc_rs::rand::SystemRandom::new()
            .fill(bytes)
            .expect("the system's random generator works");
    }
}

impl dyn Entropy {
    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// 256 random bits in URL-safe base64: for `state`, `nonce` and the like.
    pub fn token(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.bytes::<32>())
    }

    /// A duration between `low` and `high`, evenly spread.
    pub fn between(&self, low: Duration, high: Duration) -> Duration {
        let span = high.saturating_sub(low);
        // 53 bits: what a double holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double")]
        let fraction = (u64::from_le_bytes(self.bytes()) >> 11) as f64 / (1_u64 << 53) as f64;
        low + span.mul_f64(fraction)
    }
}

/// A predictable sequence, for tests.
#[derive(Debug, Default)]
pub struct SequenceEntropy(AtomicU64);

impl Entropy for SequenceEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let next = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
            let mixed = (next ^ (next >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_stays_between() {
        let entropy: SharedEntropy = Arc::new(SystemEntropy);
        for _ in 0..1000 {
            let value = entropy.between(Duration::from_secs(2), Duration::from_secs(5));
            assert!((Duration::from_secs(2)..Duration::from_secs(5)).contains(&value));
        }
    }

    #[test]
    fn tokens_differ() {
        let entropy: SharedEntropy = Arc::new(SystemEntropy);
        assert_ne!(entropy.token(), entropy.token());
        assert_eq!(entropy.token().len(), 43);
    }
}
