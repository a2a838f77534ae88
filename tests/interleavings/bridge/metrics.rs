//! A fake of delivery's metrics. Other threads can run before each count.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

pub use koobridge::bridge::metrics::ReportFate;

#[derive(Debug, Default)]
pub struct Metrics {
    pub reports_unsure: Gauge,
    pub producer_rebuilds: Counter,
    pub producer_renewals: Counter,
    fates: Mutex<BTreeMap<&'static str, usize>>,
}

impl Metrics {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn report_finished(&self, fate: ReportFate) {
        let name = match fate {
            ReportFate::Delivered => "delivered",
            ReportFate::DeliveredLate => "delivered_late",
            ReportFate::SenderGone => "sender_gone",
            ReportFate::Failed => "failed",
        };
        *self.fates.lock().entry(name).or_default() += 1;
    }

    /// Returns the number of reports with each fate.
    pub fn fates(&self) -> Vec<(&'static str, usize)> {
        self.fates.lock().clone().into_iter().collect()
    }

    /// Returns the number of reports that have a fate.
    pub fn settled(&self) -> usize {
        self.fates.lock().values().sum()
    }

    pub fn acknowledged(&self, _: Duration) {}

    pub fn report_rejected(&self, _: &'static str) {}

    pub fn producer_up(&self, _: &str, _: bool) {}
}

/// A number of reports.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn inc(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub fn dec(&self) {
        let before = self.0.fetch_sub(1, Ordering::SeqCst);
        assert!(before > 0, "a number of reports is below zero");
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn inc(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
