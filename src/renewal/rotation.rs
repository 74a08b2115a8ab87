//! Whether a provider replaces refresh tokens when they are used.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU8, Ordering},
};

use crate::{
    id::ProviderId,
    provider::{ConsentProvider, NoToken, Providers, TokenAnswer},
};

const UNKNOWN: u8 = 0;
const KEEPS: u8 = 1;
const ROTATES: u8 = 2;

/// What each provider's answers told so far.
pub(crate) struct Rotations(HashMap<ProviderId, Rotation>);

impl Rotations {
    /// What is known before any answer.
    pub(crate) fn new(providers: &Providers) -> Self {
        let known = |consent: &dyn ConsentProvider| Rotation::new(consent.keeps_grants());
        let all = providers.iter();
        let each = all.filter_map(|provider| Some((provider.id().clone(), known(&**provider.consent()?))));
        Self(each.collect())
    }

    /// A refresh token of this provider's was used.
    pub(crate) fn learn_from(&self, provider: &ProviderId, answer: &Result<TokenAnswer, NoToken>) {
        if let Some(rotation) = self.0.get(provider) {
            rotation.learn_from(answer);
        }
    }

    /// True when an account's secret can be used without a place to keep its successor. What has no refresh tokens has
    /// nothing that could be replaced.
    pub(crate) fn is_known_to_keep(&self, provider: &ProviderId) -> bool {
        self.0.get(provider).is_none_or(Rotation::is_known_to_keep)
    }
}

/// What one provider's answers told so far. Who rotated once is taken to rotate from then on.
struct Rotation(AtomicU8);

impl Rotation {
    /// `keeps`: it is known beforehand that refresh tokens stay.
    fn new(keeps: bool) -> Self {
        Self(AtomicU8::new(if keeps { KEEPS } else { UNKNOWN }))
    }

    /// A refresh token was used. An answer that cannot be used says nothing, unless it holds another one.
    fn learn_from(&self, answer: &Result<TokenAnswer, NoToken>) {
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
    fn is_known_to_keep(&self) -> bool {
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
