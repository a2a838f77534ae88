//! The throughput to the spool while Kafka is down, and from the spool to Kafka.

use std::time::Instant;

use crate::document;
use crate::figures::{Table, as_f64};
use crate::load::Load;
use crate::subject::Subject;
use crate::support::bridge::PATIENCE;
use crate::support::cluster::Exclusive;
use crate::support::records::until;

const PARTITIONS: i32 = 6;

pub fn run(kafka: &Exclusive) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("spool").display().to_string();
    let [events, rejected] = ["events", "rejected"].map(|topic| kafka.topic(topic, PARTITIONS));
    let bridge = Subject::bridge(
        kafka.bootstrap(),
        [&events, &rejected],
        &[("spool.directory", &path)],
    );
    bridge.measure(&Load::default());
    let mut table = Table::new(&["", ""]);
    let mut row = |what: &str, figure: String| table.row(vec![what.to_owned(), figure]);

    kafka.freeze_all();
    let sample = bridge.measure(&Load::default());
    row(
        "into the spool, brokers frozen, 256 connections",
        format!(
            "{:.0} reports/s, {:.1} µs of CPU each, p50 {:.1} ms, p99 {:.1} ms",
            sample.rate, sample.micros, sample.answers.within[0], sample.answers.within[2]
        ),
    );
    let waiting = bridge.metric("koobridge_spool_reports");
    kafka.thaw_all();
    let took = wait_until_empty(&bridge, waiting);
    row(
        "from the spool to Kafka",
        format!("{:.0} reports/s", as_f64(waiting) / took),
    );
    document::put("storage", &table);
}

/// Waits until the spool is empty. Returns the seconds from its first delivery on.
fn wait_until_empty(bridge: &Subject, waiting: u64) -> f64 {
    let remaining = || bridge.metric("koobridge_spool_reports");
    let mut began = None;
    until(PATIENCE * 3, || {
        let now = remaining();
        if now < waiting && began.is_none() {
            began = Some(Instant::now());
        }
        if now == 0 {
            Ok(())
        } else {
            Err(format!("{now} remain"))
        }
    })
    .expect("Kafka takes them");
    began.expect("one was the first").elapsed().as_secs_f64()
}
