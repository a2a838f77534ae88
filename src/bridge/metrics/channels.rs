//! The counters of the channels. They are looked up when a channel is loaded, not when a report arrives.

use std::array;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::STATUSES;
use crate::contract::ChannelId;

/// The counters of one channel, or those of all unknown channels together.
#[derive(Debug)]
pub struct ChannelCounters {
    channel: Option<ChannelId>,
    failures: AtomicU64,
    /// In the order of [`STATUSES`].
    received: [AtomicU64; STATUSES.len()],
}

impl ChannelCounters {
    fn new(channel: Option<&ChannelId>) -> Arc<Self> {
        Arc::new(Self {
            channel: channel.cloned(),
            failures: AtomicU64::new(0),
            received: array::from_fn(|_| AtomicU64::new(0)),
        })
    }

    /// Returns the channel, or `None` for the unknown ones.
    #[must_use]
    pub fn channel(&self) -> Option<&ChannelId> {
        self.channel.as_ref()
    }

    /// Counts a request with a wrong password.
    pub fn authentication_failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a sound report of an authenticated sender, whatever its answer.
    pub fn report_received(&self, status: &str) {
        let place = STATUSES.iter().position(|known| *known == status);
        debug_assert!(place.is_some(), "{status} has no series");
        if let Some(place) = place {
            self.received[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn received(&self) -> [u64; STATUSES.len()] {
        self.received
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed))
    }

    fn label(&self) -> &str {
        self.channel.as_ref().map_or("", ChannelId::as_str)
    }
}

/// The counters of every channel that was configured since the start. When a channel is removed and added again, its
/// counters continue. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct ByChannel(Arc<Mutex<Table>>);

type Table = BTreeMap<Option<ChannelId>, Arc<ChannelCounters>>;

impl ByChannel {
    /// Returns the counters of a channel, or with `None` those of the unknown channels. Creates them if there are none.
    pub(super) fn counters(&self, channel: Option<&ChannelId>) -> Arc<ChannelCounters> {
        let mut table = self.0.lock();
        let counters = table.entry(channel.cloned());
        Arc::clone(counters.or_insert_with(|| ChannelCounters::new(channel)))
    }

    /// Returns the number of received reports, in the order of [`STATUSES`].
    pub(super) fn received(&self) -> [u64; STATUSES.len()] {
        let mut sums = [0; STATUSES.len()];
        for counters in self.0.lock().values() {
            let received = counters.received();
            sums = array::from_fn(|place| sums[place] + received[place]);
        }
        sums
    }
}

/// Failed authentications by channel. Every channel has its series from the start.
#[derive(Clone, Debug)]
pub(super) struct Failures(pub(super) ByChannel);

/// Received reports by channel and status. A series appears with its first report.
#[derive(Clone, Debug)]
pub(super) struct Received(pub(super) ByChannel);

impl EncodeMetric for Failures {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for counters in self.0.0.lock().values() {
            let labels = [("channel", counters.label())];
            ConstCounter::new(counters.failures()).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

impl EncodeMetric for Received {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for counters in self.0.0.lock().values() {
            let by_status = STATUSES.into_iter().zip(counters.received());
            for (status, count) in by_status.filter(|(_, count)| *count > 0) {
                let labels = [("channel", counters.label()), ("status", status)];
                ConstCounter::new(count).encode(encoder.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }

    fn is_empty(&self) -> bool {
        self.0.received().iter().all(|count| *count == 0)
    }
}

#[cfg(test)]
mod tests {
    use crate::bridge::metrics::Metrics;
    use crate::contract::ChannelId;

    fn series(metrics: &Metrics, name: &str) -> Vec<String> {
        let text = metrics.text();
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn the_counters_of_a_reloaded_channel_continue() {
        let metrics = Metrics::new();
        let channel = ChannelId::parse("c1").expect("an id");
        let before = metrics.channel(Some(&channel));
        before.report_received("read");
        let after = metrics.channel(Some(&channel));
        after.report_received("read");
        before.authentication_failed();
        after.authentication_failed();
        assert_eq!(
            series(&metrics, "koobridge_reports_received_total"),
            ["{channel=\"c1\",status=\"read\"} 2"]
        );
        assert_eq!(
            series(&metrics, "koobridge_authentication_failures_total"),
            ["{channel=\"\"} 0", "{channel=\"c1\"} 2"]
        );
    }

    #[test]
    fn a_failures_series_exists_at_once_and_a_status_series_with_its_first_report() {
        let metrics = Metrics::new();
        let failures = || series(&metrics, "koobridge_authentication_failures_total");
        let received = || series(&metrics, "koobridge_reports_received_total");
        assert_eq!(failures(), ["{channel=\"\"} 0"]);
        let channel = ChannelId::parse("c1").expect("an id");
        let counters = metrics.channel(Some(&channel));
        assert_eq!(failures(), ["{channel=\"\"} 0", "{channel=\"c1\"} 0"]);
        assert!(!metrics.text().contains("koobridge_reports_received"));
        counters.report_received("unknown");
        assert_eq!(received(), ["{channel=\"c1\",status=\"unknown\"} 1"]);
    }
}
