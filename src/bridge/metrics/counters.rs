//! Counters with one label, whose values are known when the program is built. Counting is one atomic addition at an
//! index of an array.

use std::array;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeLabelValue, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// One counter for each value of a label. Clones share the counts.
#[derive(Clone, Debug)]
pub(super) struct Counters<V, const N: usize>(Arc<Inner<V, N>>);

/// Has its own cache lines, because every worker counts here.
#[derive(Debug)]
#[repr(align(64))]
struct Inner<V, const N: usize> {
    counts: [AtomicU64; N],
    label: &'static str,
    values: [V; N],
    shows_zeros: bool,
}

impl<V, const N: usize> Counters<V, N> {
    /// Makes counters whose series all exist from the start, at 0. Otherwise a rate would miss the first event of a
    /// series.
    pub(super) fn new(label: &'static str, values: [V; N]) -> Self {
        Self::showing_zeros(label, values, true)
    }

    /// Makes counters whose series appear with their first event.
    pub(super) fn without_zeros(label: &'static str, values: [V; N]) -> Self {
        Self::showing_zeros(label, values, false)
    }

    fn showing_zeros(label: &'static str, values: [V; N], shows_zeros: bool) -> Self {
        Self(Arc::new(Inner {
            counts: array::from_fn(|_| AtomicU64::new(0)),
            label,
            values,
            shows_zeros,
        }))
    }

    /// Counts an event of the value at `place`. Does nothing if the place does not exist.
    pub(super) fn inc(&self, place: usize) {
        if let Some(count) = self.0.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the count of the value at `place`.
    pub(super) fn get(&self, place: usize) -> u64 {
        let count = self.0.counts.get(place);
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Returns the counts, in the order of the values.
    pub(super) fn all(&self) -> [u64; N] {
        array::from_fn(|place| self.get(place))
    }
}

impl<V, const N: usize> EncodeMetric for Counters<V, N>
where
    V: EncodeLabelValue + Copy,
{
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (value, count) in self.0.values.iter().zip(self.all()) {
            if count > 0 || self.0.shows_zeros {
                let labels = [(self.0.label, *value)];
                ConstCounter::new(count).encode(encoder.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }

    fn is_empty(&self) -> bool {
        !self.0.shows_zeros && self.all().iter().all(|count| *count == 0)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    fn text(counters: &Counters<&'static str, 2>) -> String {
        let mut registry = Registry::default();
        registry.register("c", "Help", counters.clone());
        let mut text = String::new();
        encode(&mut text, &registry).expect("writing to memory can't fail");
        text
    }

    #[test]
    fn every_value_has_a_series_from_the_start() {
        let counters = Counters::new("of", ["a", "b"]);
        counters.inc(1);
        let head = "# HELP c Help.\n# TYPE c counter\n";
        let series = "c_total{of=\"a\"} 0\nc_total{of=\"b\"} 1\n# EOF\n";
        assert_eq!(text(&counters), format!("{head}{series}"));
        assert_eq!(counters.all(), [0, 1]);
    }

    #[test]
    fn without_zeros_a_series_appears_with_its_first_event() {
        let counters = Counters::without_zeros("of", ["a", "b"]);
        assert_eq!(text(&counters), "# EOF\n");
        counters.inc(1);
        let head = "# HELP c Help.\n# TYPE c counter\n";
        assert_eq!(
            text(&counters),
            format!("{head}c_total{{of=\"b\"}} 1\n# EOF\n")
        );
    }

    #[test]
    fn an_unknown_place_is_not_counted() {
        let counters = Counters::new("of", ["a", "b"]);
        counters.inc(2);
        assert_eq!((counters.all(), counters.get(2)), ([0, 0], 0));
    }
}
