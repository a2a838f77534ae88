//! Transient errors.

use std::path::PathBuf;

use rustix::process::Signal;

use super::faults::{Faults, Kind, Unreadable};
use super::{REPORTS, Spool, Topics, all_but, drain, start, wait_for_reports};
use crate::suite::rig::lasting;
use crate::support::cluster;

/// An address without a broker.
const NOWHERE: &str = "127.0.0.1:1";
/// No files that were set aside.
const NONE: [PathBuf; 0] = [];

/// Returns some numbers from `first` to below `last`: the first `close` ones, and about `count` others.
fn some_of(first: u64, last: u64, close: u64, count: u64) -> impl Iterator<Item = u64> {
    let close = (first + close).min(last);
    let step = (last - close).div_ceil(count).max(1);
    let step = usize::try_from(step).expect("a small number");
    (first..close).chain((close..last).step_by(step))
}

/// Starts a bridge without Kafka on a spool with read errors. Either the bridge has all reports, or it ends with an
/// error that names the file. Returns the number of reads.
fn assert_starts(spool: &Spool, events: &str, unreadable: Unreadable) -> u64 {
    let faults = Faults::new();
    let case = format!("{unreadable:?}");
    faults.set(&[unreadable]);
    match start(NOWHERE, [events, "rejected"], spool, &faults) {
        Ok(mut bridge) => {
            wait_for_reports(&bridge, REPORTS);
            bridge.signal(Signal::TERM);
            assert_eq!(bridge.wait_for_exit().code(), Some(3), "{case}");
        }
        Err(logged) => {
            let (directory, words) = (spool.text(), ["can't read", "can't use"]);
            let is_reported = words.iter().any(|words| logged.contains(words));
            assert!(
                is_reported && logged.contains(&directory),
                "{case}: {logged}"
            );
        }
    }
    assert_eq!(spool.set_aside(), NONE, "{case}");
    faults.reads(0)
}

/// Starts bridges with read errors in several places. Then a bridge without errors must deliver each report once.
fn assert_errors_of_a_start_cost_nothing(kind: Kind, times: u64) {
    let kafka = cluster::shared();
    let mut topics = Topics::new(&kafka);
    let left = Spool::killed(&topics.events);
    let reads = assert_starts(&left.copy(), &topics.events, Unreadable::some(kind, 0, 0));
    assert!(reads > 10, "{reads} reads");
    let mut spool = left.copy();
    for skip in some_of(0, reads, lasting(2, 40), lasting(3, 100)) {
        if kind == Kind::Log {
            // A start moves the log to the file.
            spool = left.copy();
        }
        assert_starts(&spool, &topics.events, Unreadable::some(kind, skip, times));
    }
    let mut bridge = topics.bridge(&spool, &Faults::new()).expect("it starts");
    drain(&mut bridge);
    assert_eq!(topics.take(), all_but(&[].into()));
}

#[test]
fn a_read_that_fails_during_a_start_costs_nothing() {
    assert_errors_of_a_start_cost_nothing(Kind::File, 1);
}

#[test]
fn three_reads_that_fail_during_a_start_cost_nothing() {
    assert_errors_of_a_start_cost_nothing(Kind::File, 3);
}

#[test]
fn three_reads_of_the_log_that_fail_during_a_start_cost_nothing() {
    assert_errors_of_a_start_cost_nothing(Kind::Log, 3);
}

#[test]
fn a_lookup_that_fails_during_a_start_costs_nothing() {
    assert_errors_of_a_start_cost_nothing(Kind::Lookup, 1);
}

#[test]
fn ten_lookups_that_fail_during_a_start_cost_nothing() {
    assert_errors_of_a_start_cost_nothing(Kind::Lookup, 10);
}

/// Checks that a bridge delivers all reports when reads fail while it drains its spool.
fn assert_errors_cost_nothing(kind: Kind, times: u64) {
    let kafka = cluster::shared();
    let mut topics = Topics::new(&kafka);
    let left = Spool::closed(&topics.events);
    let first = assert_starts(&left.copy(), &topics.events, Unreadable::some(kind, 0, 0));
    let mut drained = |unreadable: Unreadable| {
        let (spool, faults) = (left.copy(), Faults::new());
        let case = format!("{unreadable:?}");
        faults.set(&[unreadable]);
        let mut bridge = topics.bridge(&spool, &faults).expect("it starts");
        drain(&mut bridge);
        assert_eq!(topics.take(), all_but(&[].into()), "{case}");
        assert_eq!(spool.set_aside(), NONE, "{case}: {}", bridge.logged());
        faults.reads(0)
    };
    let last = drained(Unreadable::some(kind, 0, 0));
    for skip in some_of(first, last.max(first + 1), 0, lasting(2, 40)) {
        drained(Unreadable::some(kind, skip, times));
    }
}

#[test]
fn three_reads_that_fail_while_the_spool_is_drained_cost_nothing() {
    assert_errors_cost_nothing(Kind::File, 3);
}

#[test]
fn ten_lookups_that_fail_while_the_spool_is_drained_cost_nothing() {
    assert_errors_cost_nothing(Kind::Lookup, 10);
}
