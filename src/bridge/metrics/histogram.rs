//! Histograms of atomic counts, which are updated without a lock.

use std::fmt;
use std::iter::once;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// A histogram of times. Clones share the counts.
///
/// The sum and the buckets are not read at the same instant. The count is the sum of the buckets, so that it always
/// equals the last cumulative bucket.
#[derive(Clone, Debug)]
pub(super) struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The upper bounds of all buckets except the last, in seconds, in ascending order.
    bounds: &'static [f64],
    /// Not cumulative. The last one is for times above every bound.
    counts: Box<[AtomicU64]>,
    /// The sum of all times. It can hold 580,000 years.
    microseconds: AtomicU64,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Inner {
            bounds,
            counts,
            microseconds: AtomicU64::new(0),
        }))
    }

    pub(super) fn observe(&self, took: Duration) {
        let Inner { bounds, counts, .. } = &*self.0;
        let seconds = took.as_secs_f64();
        let bucket = bounds.iter().position(|bound| seconds <= *bound);
        counts[bucket.unwrap_or(bounds.len())].fetch_add(1, Ordering::Relaxed);
        let added = rounded_microseconds(took);
        self.0.microseconds.fetch_add(added, Ordering::Relaxed);
    }

    /// Returns the upper bound of each bucket with the count of that bucket alone.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = self.0.bounds.iter().copied().chain(once(f64::INFINITY));
        let counts = self.0.counts.iter();
        bounds
            .zip(counts.map(|count| count.load(Ordering::Relaxed)))
            .collect()
    }

    /// Returns the number of observed times.
    pub(super) fn count(&self) -> u64 {
        self.buckets().iter().map(|(_, count)| count).sum()
    }
}

/// Rounds a time. If times were truncated, their average would be half a microsecond too low.
fn rounded_microseconds(time: Duration) -> u64 {
    let below_a_second = u64::from(time.subsec_nanos() + 500) / 1000;
    time.as_secs()
        .saturating_mul(1_000_000)
        .saturating_add(below_a_second)
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let sum = Duration::from_micros(self.0.microseconds.load(Ordering::Relaxed));
        let buckets = self.buckets();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(sum.as_secs_f64(), count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::histogram;
    use prometheus_client::registry::{Metric, Registry};

    use super::*;

    const BOUNDS: [f64; 3] = [0.25, 1.0, 30.0];

    fn text(metric: impl Metric) -> String {
        let mut registry = Registry::default();
        registry.register("h", "help", metric);
        let mut text = String::new();
        encode(&mut text, &registry).expect("writing to memory can't fail");
        text
    }

    #[test]
    fn its_text_equals_that_of_the_library() {
        let (ours, theirs) = (Histogram::new(&BOUNDS), histogram::Histogram::new(BOUNDS));
        assert_eq!(text(ours.clone()), text(theirs.clone()));
        // In halves and quarters of a second, so that the library's sum of floats is exact too.
        for millis in [0, 250, 500, 1_000, 30_000, 30_500] {
            let took = Duration::from_millis(millis);
            ours.observe(took);
            theirs.observe(took.as_secs_f64());
        }
        let text = text(ours);
        assert_eq!(text, self::text(theirs));
        assert!(text.contains("h_sum 62.25\nh_count 6\n"), "{text}");
        assert!(text.contains("h_bucket{le=\"+Inf\"} 6\n"), "{text}");
    }

    #[test]
    fn each_time_is_in_the_first_bucket_with_a_sufficient_bound() {
        let histogram = Histogram::new(&BOUNDS);
        for micros in [250_000, 250_001, 1_000_000, 30_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let expected = [(0.25, 1), (1.0, 2), (30.0, 0), (f64::INFINITY, 1)];
        assert_eq!(histogram.buckets(), expected);
        assert_eq!(histogram.count(), 4);
    }

    #[test]
    fn the_sum_is_rounded_to_microseconds() {
        for (nanos, expected) in [(499, 0), (500, 1), (999_999_500, 1_000_000), (1_499, 1)] {
            assert_eq!(rounded_microseconds(Duration::from_nanos(nanos)), expected);
        }
        assert_eq!(rounded_microseconds(Duration::MAX), u64::MAX);
    }

    #[test]
    fn concurrent_observations_are_all_counted() {
        let histogram = Histogram::new(&BOUNDS);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        histogram.observe(Duration::from_millis(1));
                    }
                });
            }
        });
        assert_eq!(histogram.count(), 4_000);
        let text = text(histogram);
        assert!(text.contains("h_sum 4.0\nh_count 4000\n"), "{text}");
    }
}
