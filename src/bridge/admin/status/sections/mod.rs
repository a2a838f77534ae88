//! The lines below the chart, a file for each thing that they speak of.

mod bridge;
mod channels;
mod kafka;
mod reports;
mod spool;

use super::facts::Facts;
use super::{Row, Section, Tone, latency, state, words};
use crate::bridge::metrics::Counts;

/// What is no table has one value a line.
const NO_HEADS: [&str; 2] = [""; 2];

/// Every section; the page has a place for each.
pub(super) fn all(facts: &Facts, minute: &Counts, recent: &Counts) -> Vec<Section> {
    vec![
        kafka::section(facts),
        kafka::acknowledgements(minute, recent),
        spool::section(facts),
        reports::answers(facts, recent),
        reports::rejected(facts, recent),
        channels::section(facts),
        bridge::section(facts),
    ]
}

#[cfg(test)]
mod tests;
