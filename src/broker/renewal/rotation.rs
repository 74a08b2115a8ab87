//! Whether the provider replaces refresh tokens when they are used.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::google::{NoToken, TokenAnswer};

const UNKNOWN: u8 = 0;
const KEEPS: u8 = 1;
const ROTATES: u8 = 2;

/// What the provider's answers told so far. Who rotated once is taken to rotate from then on.
pub(in crate::broker) struct Rotation(AtomicU8);

impl Rotation {
    /// `keeps`: it is known beforehand that refresh tokens stay.
    pub(in crate::broker) fn new(keeps: bool) -> Self {
        Self(AtomicU8::new(if keeps { KEEPS } else { UNKNOWN }))
    }

    /// A refresh token was used. An answer that cannot be used says nothing, unless it holds another one.
    pub(in crate::broker) fn learn_from(&self, answer: &Result<TokenAnswer, NoToken>) {
        match answer {
            Ok(answer) => self.learn(answer.refresh_token.is_some()),
            Err(failure) if failure.refresh_token.is_some() => self.learn(true),
            Err(_) => {}
        }
    }

    /// It was replaced or stayed.
    fn learn(&self, replaced: bool) {
        let told = if replaced { ROTATES } else { KEEPS };
        self.0.fetch_max(told, Ordering::Relaxed);
    }

    /// True when a refresh token can be used without a place to keep its successor.
    pub(in crate::broker) fn is_known_to_keep(&self) -> bool {
        self.0.load(Ordering::Relaxed) == KEEPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_replacement_is_not_forgotten() {
        let rotation = Rotation::new(false);
        assert!(!rotation.is_known_to_keep());
        rotation.learn(false);
        assert!(rotation.is_known_to_keep());
        rotation.learn(true);
        rotation.learn(false);
        assert!(!rotation.is_known_to_keep());
        assert!(Rotation::new(true).is_known_to_keep());
    }
}
