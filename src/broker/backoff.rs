//! How long to wait after a failure: exponential, with full jitter, never less than the provider asked for.

use std::time::Duration;

use crate::entropy::Entropy;

/// The first step's ceiling.
const BASE: Duration = Duration::from_secs(2);
/// No wait is longer, unless the provider asks for more.
pub(super) const CAP: Duration = Duration::from_secs(300);
/// No wait is shorter: a failing provider is not asked in a tight loop.
const LEAST: Duration = Duration::from_millis(500);
/// What a provider may ask for at most; a `Retry-After` of a week is a mistake.
const MOST_ASKED: Duration = Duration::from_secs(3600);

/// The wait after `failures` failures in a row (1 for the first).
///
/// With `retry_after`, the wait lies between that and half as much again, so that callers who were all told
/// the same do not come back at the same moment.
pub(crate) fn delay(entropy: &dyn Entropy, failures: u32, retry_after: Option<Duration>) -> Duration {
    if let Some(asked) = retry_after {
        let asked = asked.clamp(LEAST, MOST_ASKED);
        return entropy.between(asked, asked + asked / 2);
    }
    let ceiling = BASE
        .saturating_mul(1_u32 << failures.saturating_sub(1).min(16))
        .min(CAP);
    entropy.between(LEAST, ceiling)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    #[test]
    fn grows_to_the_cap_and_stays_between_bounds() {
        for failures in 1..40 {
            for _ in 0..50 {
                let wait = delay(&SystemEntropy, failures, None);
                let ceiling = BASE.saturating_mul(1_u32 << (failures - 1).min(16)).min(CAP);
                assert!((LEAST..=ceiling).contains(&wait), "{failures}: {wait:?}");
            }
        }
    }

    #[test]
    fn the_providers_wish_is_the_least() {
        for _ in 0..200 {
            let wait = delay(&SystemEntropy, 1, Some(Duration::from_secs(20)));
            assert!((20..=30).contains(&wait.as_secs()), "{wait:?}");
        }
    }

    #[test]
    fn an_absurd_wish_is_cut() {
        assert!(delay(&SystemEntropy, 1, Some(Duration::from_secs(604_800))) <= Duration::from_secs(5400));
    }
}
