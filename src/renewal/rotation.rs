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

    /// True when no answer of this provider's can hold a successor. That it held none so far does not say so: some servers
    /// rotate now and then.
    pub(crate) fn is_sure_to_keep(&self, provider: &ProviderId) -> bool {
        self.0.get(provider).is_none_or(Rotation::is_sure_to_keep)
    }
}

/// What one provider's answers told so far. Who rotated once is taken to rotate from then on.
struct Rotation {
    /// It is known beforehand that refresh tokens stay.
    by_contract: bool,
    told: AtomicU8,
}

impl Rotation {
    fn new(by_contract: bool) -> Self {
        Self {
            by_contract,
            told: AtomicU8::new(if by_contract { KEEPS } else { UNKNOWN }),
        }
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
        self.told.fetch_max(told, Ordering::Relaxed);
    }

    /// True when a refresh token can be used without a place to keep its successor.
    fn is_known_to_keep(&self) -> bool {
        self.told.load(Ordering::Relaxed) == KEEPS
    }

    /// True when no answer can hold a successor.
    fn is_sure_to_keep(&self) -> bool {
        self.by_contract && self.is_known_to_keep()
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

    #[test]
    fn only_what_was_known_beforehand_is_sure() {
        for (by_contract, replaced, sure) in [(true, false, true), (false, false, false), (true, true, false)]
        {
            let rotation = Rotation::new(by_contract);
            rotation.learn(replaced);
            assert_eq!(rotation.is_sure_to_keep(), sure, "{by_contract} {replaced}");
        }
    }
}
