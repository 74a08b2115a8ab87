//! How long to wait after a failure: exponential, with full jitter, never less than the provider asked for, and a few
//! minutes at most: whoever is without a token cannot wait longer, whatever an answer says.

use std::time::Duration;

use crate::entropy::Entropy;

/// The first step's ceiling.
const BASE: Duration = Duration::from_secs(2);
/// No wait is longer, but for the jitter of what a provider asked for.
pub(crate) const CAP: Duration = Duration::from_secs(300);
/// No wait is shorter: a failing provider is not asked in a tight loop.
const LEAST: Duration = Duration::from_millis(500);
/// By so much, at most, a wait is longer than what a provider asked for.
const MOST_JITTER: Duration = Duration::from_secs(60);

/// The wait after `failures` failures in a row (1 for the first).
///
/// With `retry_after`, the wait is that and up to half as much again, so that callers who were all told the same do not
/// come back at the same moment.
pub(crate) fn delay(entropy: &dyn Entropy, failures: u32, retry_after: Option<Duration>) -> Duration {
    if let Some(asked) = retry_after {
        let asked = asked.clamp(LEAST, CAP);
        return entropy.between(asked, asked + (asked / 2).min(MOST_JITTER));
    }
    let ceiling = BASE
        .saturating_mul(1_u32 << failures.saturating_sub(1).min(16))
        .min(CAP);
    entropy.between(LEAST, ceiling)
}

/// The same, for a token that lives for `left`: it is tried once more before its end.
pub(crate) fn delay_within(
    entropy: &dyn Entropy,
    failures: u32,
    retry_after: Option<Duration>,
    left: Option<Duration>,
) -> Duration {
    let delay = delay(entropy, failures, retry_after);
    match left.filter(|left| *left > LEAST * 2) {
        Some(left) if delay > left => entropy.between(left / 2, left),
        _ => delay,
    }
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
        for asked in [3600, 604_800, u64::MAX] {
            let wait = delay(&SystemEntropy, 1, Some(Duration::from_secs(asked)));
            assert!((300..=360).contains(&wait.as_secs()), "{wait:?}");
        }
    }

    #[test]
    fn what_lives_is_tried_once_more_before_its_end() {
        for _ in 0..200 {
            let (asked, left) = (Some(Duration::from_secs(3600)), Duration::from_secs(100));
            let wait = delay_within(&SystemEntropy, 1, asked, Some(left));
            assert!(wait >= left / 2 && wait <= left, "{wait:?}");
        }
        let soon = delay_within(&SystemEntropy, 1, None, Some(Duration::from_secs(100)));
        assert!(soon <= BASE);
    }
}
