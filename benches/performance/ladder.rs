//! The cost of each part of a report's journey, from a bare hyper POST up to the bridge with real Kafka.

use crate::document;
use crate::figures::{Table, median, rounds};
use crate::load::{Load, Sample};
use crate::servers::Work;
use crate::subject::{Embedded, ONE_WORKER, Subject};
use crate::support::records::Kafka;

const ROUNDS: usize = 5;
const SECONDS: u64 = 2;
const PARTITIONS: i32 = 6;

pub fn run(kafka: &Kafka) {
    let embedded = Embedded::start();
    let rungs = [
        ("a bare hyper POST", Subject::server(Work::Bare)),
        (
            "(on the multi-thread runtime)",
            Subject::server(Work::Threads),
        ),
        (
            "+ routing, authentication",
            Subject::server(Work::Authenticate),
        ),
        ("+ validation, the event", Subject::server(Work::Normalise)),
        (
            "the bridge, embedded broker",
            embedded.bridge(1, &ONE_WORKER),
        ),
        (
            "the bridge, three brokers",
            Subject::bridge_on(kafka, PARTITIONS, &ONE_WORKER),
        ),
    ];
    let load = Load {
        seconds: SECONDS,
        ..Load::default()
    };
    let samples = rounds(ROUNDS, &rungs, |(_, subject)| subject.measure(&load));
    let mut table = Table::new(&[
        "",
        "CPU µs per request",
        "ratio",
        "requests/s",
        "p50 ms",
        "p99 ms",
    ]);
    for ((name, _), rung) in rungs.iter().zip(&samples) {
        let of = |value: fn(&Sample) -> f64| median(rung.iter().map(value));
        let pairs = samples[0].iter().zip(rung);
        let ratio = median(pairs.map(|(bare, sample)| sample.micros / bare.micros));
        table.row(vec![
            (*name).to_owned(),
            format!("{:.1}", of(|sample| sample.micros)),
            format!("{ratio:.2}"),
            format!("{:.0}", of(|sample| sample.rate)),
            format!("{:.1}", of(|sample| sample.answers.within[0])),
            format!("{:.1}", of(|sample| sample.answers.within[2])),
        ]);
    }
    document::put("ladder", &table);
}
