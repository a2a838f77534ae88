//! Compares one producer with several, by partitions, connections, and the round-trip time to the brokers.

use std::time::Duration;

use crate::document;
use crate::figures::{Table, median, rounds};
use crate::load::{Load, Sample};
use crate::subject::Subject;
use crate::support::cluster::Exclusive;
use crate::support::proxy::Proxy;

const ROUNDS: usize = 3;
const SECONDS: u64 = 2;
const PARTITIONS: [i32; 4] = [6, 12, 24, 60];
/// The first one is used only without a delay.
const CONNECTIONS: [usize; 3] = [16, 64, 256];
/// The round-trip times between bridge and brokers, in milliseconds.
const ROUND_TRIPS: [u64; 4] = [0, 1, 5, 20];
const PRODUCERS: [&str; 2] = ["1", "4"];

pub fn run(kafka: &Exclusive) {
    let ports = kafka.proxy_ports();
    let addresses = ports.iter().map(|[_, proxy]| format!("127.0.0.1:{proxy}"));
    let bootstrap = addresses.collect::<Vec<_>>().join(",");
    let proxy = Proxy::start(ports);
    let mut table = Table::new(&[
        "ms to the brokers and back",
        "partitions",
        "connections",
        "requests/s, one producer",
        "p99 ms",
        "CPU µs",
        "requests/s, four",
        "p99 ms",
        "CPU µs",
    ]);
    for partitions in PARTITIONS {
        let [events, rejected] = ["events", "rejected"].map(|topic| kafka.topic(topic, partitions));
        let subjects = PRODUCERS.map(|count| {
            let settings = [("ingress.workers", "1"), ("kafka.producers", count)];
            Subject::bridge(&bootstrap, [&events, &rejected], &settings)
        });
        for millis in ROUND_TRIPS {
            proxy.set_round_trip(Duration::from_millis(millis));
            for &connections in &CONNECTIONS[usize::from(millis > 0)..] {
                let load = Load {
                    connections,
                    seconds: SECONDS,
                    ..Load::default()
                };
                let samples = rounds(ROUNDS, &subjects, |subject| subject.measure(&load));
                let mut row = vec![
                    millis.to_string(),
                    partitions.to_string(),
                    connections.to_string(),
                ];
                row.extend(samples.iter().flat_map(|samples| figures(samples)));
                table.row(row);
            }
        }
    }
    document::put("producers", &table);
}

fn figures(samples: &[Sample]) -> [String; 3] {
    let of = |value: fn(&Sample) -> f64| median(samples.iter().map(value));
    [
        format!("{:.0}", of(|sample| sample.rate)),
        format!("{:.0}", of(|sample| sample.answers.within[2])),
        format!("{:.1}", of(|sample| sample.micros)),
    ]
}
