//! How long something took: a histogram that Prometheus scrapes and that a page can read as well.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

/// The shortest bucket's upper bound, in seconds; each of the next is twice as wide.
const FIRST: f64 = 0.005;
/// 5 ms to 40 s, and one for what took longer.
const BUCKETS: usize = 15;

/// A histogram.
#[derive(Debug, Default)]
pub(super) struct Timing(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    sum: f64,
    buckets: [u64; BUCKETS],
}

/// What a histogram says, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimingSummary {
    /// How often.
    pub count: u64,
    /// How long on average.
    pub mean: Duration,
    /// Half took no longer than this; `None` where that is more than the histogram tells apart (40 s).
    pub half: Option<Duration>,
    /// 19 in 20 took no longer than this.
    pub most: Option<Duration>,
}

impl Timing {
    pub(super) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let mut seen = self.seen();
        let bucket = bounds().position(|bound| seconds <= bound);
        seen.sum += seconds;
        seen.buckets[bucket.unwrap_or(BUCKETS - 1)] += 1;
    }

    /// `None` while there is nothing to tell.
    pub(super) fn summary(&self) -> Option<TimingSummary> {
        let seen = self.seen();
        let count: u64 = seen.buckets.iter().sum();
        let within = |share: u64| {
            let wanted = (count * share).div_ceil(100);
            let mut so_far = 0;
            bounds()
                .zip(seen.buckets)
                .find(|(_, n)| {
                    so_far += n;
                    so_far >= wanted
                })
                .map(|(bound, _)| Duration::from_secs_f64(bound))
        };
        (count > 0).then(|| TimingSummary {
            count,
            // Seconds have room to spare in 52 bits.
            #[expect(clippy::cast_precision_loss)]
            mean: Duration::from_secs_f64(seen.sum / count as f64),
            half: within(50),
            most: within(95),
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // A panic while it was held leaves plain numbers.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The upper bounds of the buckets, all but the last one's.
fn bounds() -> impl Iterator<Item = f64> {
    std::iter::successors(Some(FIRST), |bound| Some(bound * 2.0)).take(BUCKETS - 1)
}

impl TypedMetric for Timing {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Timing {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let seen = self.seen();
        let bounds = bounds().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(seen.buckets).collect();
        let count = seen.buckets.iter().sum();
        encoder.encode_histogram::<NoLabelSet>(seen.sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(millis: &[u64]) -> Option<TimingSummary> {
        let timing = Timing::default();
        for millis in millis {
            timing.observe(Duration::from_millis(*millis));
        }
        timing.summary()
    }

    #[test]
    fn nothing_seen_is_nothing_told() {
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_share_is_told_by_the_bucket_that_it_falls_into() {
        let mut many = vec![30; 19];
        many.push(1000);
        let summary = of(&many).unwrap();
        assert_eq!(summary.count, 20);
        assert_eq!(summary.mean, Duration::from_micros(78_500));
        assert_eq!(summary.half, Some(Duration::from_millis(40)));
        assert_eq!(
            summary.most,
            Some(Duration::from_millis(40)),
            "exactly 19 in 20 are in it"
        );
        many.push(1000);
        assert_eq!(of(&many).unwrap().most, Some(Duration::from_millis(1280)));
    }

    #[test]
    fn what_lies_on_a_bound_is_within_it_and_what_is_beyond_all_has_none() {
        assert_eq!(of(&[5]).unwrap().half, Some(Duration::from_millis(5)));
        assert_eq!(of(&[6]).unwrap().half, Some(Duration::from_millis(10)));
        assert_eq!(of(&[40_960]).unwrap().half, Some(Duration::from_millis(40_960)));
        assert_eq!(of(&[41_000]).unwrap().half, None);
    }
}
