//! Senders that do everything right, beside those that do not.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{PATIENCE, Report};
use crate::records::until;
use crate::suite::load::{Load, Plan, Told};
use crate::suite::row::percentile;

const PLAN: Plan = Plan {
    first: 0,
    rate: 200,
    big_every: None,
};
/// Reports that are answered before anything is done to the bridge.
const ALONE: usize = 500;

pub struct Normal {
    load: Load,
    /// Since when there are others.
    beside: Instant,
}

impl Normal {
    /// Starts them, and returns when they have been alone for a while.
    pub fn start(bridge: SocketAddr) -> Self {
        let load = Load::start(bridge, PLAN);
        let alone = until(PATIENCE, || match load.told().len() {
            answered if answered >= ALONE => Ok(()),
            answered => Err(format!("{answered} reports are answered")),
        });
        alone.unwrap_or_else(|why| panic!("{why}"));
        Self {
            load,
            beside: Instant::now(),
        }
    }

    /// Stops them and shows how long they waited. Each was answered 200; gives what they sent.
    pub fn stop(self, others: &str) -> Vec<Report> {
        let told = self.load.stop();
        let is_before = |told: &&Told| told.answered < self.beside;
        let (before, during): (Vec<_>, Vec<_>) = told.iter().partition(is_before);
        println!(
            "beside {others}: {}; before: {}",
            waits(&during),
            waits(&before)
        );
        let unhappy: Vec<_> = told.iter().filter(|told| told.code != Some(200)).collect();
        assert!(unhappy.is_empty(), "beside {others}: {unhappy:?}");
        assert!(!during.is_empty(), "nobody was beside {others}");
        let report = |told: &Told| (told.message_id.clone(), told.status.to_owned());
        told.iter().map(report).collect()
    }
}

fn waits(told: &[&Told]) -> String {
    let mut took: Vec<Duration> = told.iter().map(|told| told.took()).collect();
    took.sort_unstable();
    let [half, most] = [50, 99].map(|percent| percentile(&took, percent));
    format!("{} reports, p50 {half:.1?}, p99 {most:.1?}", told.len())
}
