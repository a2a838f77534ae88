//! Cost and throughput by the number of connections, channels, bytes and partitions.

use crate::chart::{Line, Panel, draw};
use crate::document;
use crate::figures::{Table, as_f64, median, rounds};
use crate::load::{Load, Sample};
use crate::subject::{Embedded, ONE_WORKER, Subject};
use crate::support::cluster::Exclusive;

const ROUNDS: usize = 5;
/// Fewer rounds, for large differences.
const FEW_ROUNDS: usize = 3;
const SECONDS: u64 = 2;
const CONNECTIONS: [usize; 5] = [16, 64, 256, 1024, 4096];
const CHANNELS: [u64; 3] = [1, 100, 10_000];
const BYTES: [usize; 4] = [200, 1_000, 10_000, 60_000];
const KAFKA_PARTITIONS: [i32; 5] = [1, 6, 12, 24, 60];

/// One point of a curve.
struct Point {
    of: &'static str,
    at: f64,
    samples: Vec<Sample>,
}

impl Point {
    fn median(&self, value: fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(value))
    }
}

pub fn run(kafka: &Exclusive) {
    let mut points = on_embedded_broker();
    points.extend(on_kafka(kafka));
    let mut table = Table::new(&[
        "",
        "",
        "CPU µs per request",
        "ratio to the first row",
        "requests/s",
        "p50 ms",
        "p99 ms",
    ]);
    for point in &points {
        let first = points
            .iter()
            .find(|other| other.of == point.of)
            .expect("itself at least");
        let pairs = point.samples.iter().zip(&first.samples);
        table.row(vec![
            point.of.to_owned(),
            point.at.to_string(),
            format!("{:.1}", point.median(|sample| sample.micros)),
            format!(
                "{:.2}",
                median(pairs.map(|(this, first)| this.micros / first.micros))
            ),
            format!("{:.0}", point.median(|sample| sample.rate)),
            format!("{:.1}", point.median(|sample| sample.answers.within[0])),
            format!("{:.1}", point.median(|sample| sample.answers.within[2])),
        ]);
    }
    document::put("growth", &table);
    document::put_picture("growth", &draw(&panels(&points)));
}

/// Measures what does not depend on Kafka, without Kafka.
fn on_embedded_broker() -> Vec<Point> {
    let embedded = Embedded::start();
    let bridge = |channels| embedded.bridge(channels, &ONE_WORKER);
    let small = bridge(1);
    let load = Load {
        seconds: SECONDS,
        ..Load::default()
    };
    let over_connections = CONNECTIONS.map(|connections| Load {
        connections,
        ..load.clone()
    });
    let mut points = Vec::new();
    let samples = rounds(ROUNDS, &over_connections, |load| small.measure(load));
    points.extend(curve(
        "connections",
        CONNECTIONS.map(|n| as_f64(n as u64)),
        samples,
    ));

    let subjects = CHANNELS.map(|channels| (channels, bridge(channels)));
    let samples = rounds(ROUNDS, &subjects, |(channels, subject)| {
        let channels = *channels;
        subject.measure(&Load {
            channels,
            ..load.clone()
        })
    });
    points.extend(curve("channels", CHANNELS.map(as_f64), samples));
    drop(subjects);

    let over_bytes = BYTES.map(|bytes| Load {
        bytes,
        ..load.clone()
    });
    let samples = rounds(FEW_ROUNDS, &over_bytes, |load| small.measure(load));
    points.extend(curve(
        "bytes of a body",
        BYTES.map(|n| as_f64(n as u64)),
        samples,
    ));
    points
}

fn on_kafka(kafka: &Exclusive) -> Vec<Point> {
    let load = Load {
        seconds: SECONDS,
        ..Load::default()
    };
    let subjects =
        KAFKA_PARTITIONS.map(|partitions| Subject::bridge_on(kafka, partitions, &ONE_WORKER));
    let samples = rounds(FEW_ROUNDS, &subjects, |subject| subject.measure(&load));
    let partitions = KAFKA_PARTITIONS.map(f64::from);
    curve("partitions on three brokers", partitions, samples).collect()
}

fn curve<const N: usize>(
    of: &'static str,
    at: [f64; N],
    samples: Vec<Vec<Sample>>,
) -> impl Iterator<Item = Point> {
    at.into_iter()
        .zip(samples)
        .map(move |(at, samples)| Point { of, at, samples })
}

fn panels(points: &[Point]) -> Vec<Panel> {
    let line = |of: &str, value: fn(&Sample) -> f64| Line {
        name: "",
        points: points
            .iter()
            .filter(|point| point.of == of)
            .map(|point| (point.at, point.median(value)))
            .collect(),
    };
    let panel = |title, across, value| Panel {
        title,
        across,
        is_logarithmic: false,
        lines: vec![line(across, value)],
    };
    let cpu: fn(&Sample) -> f64 = |sample| sample.micros;
    let title = "CPU per request, in microseconds";
    vec![
        panel(title, "connections", cpu),
        panel(title, "channels", cpu),
        panel(title, "bytes of a body", cpu),
        panel(
            "requests per second",
            "partitions on three brokers",
            |sample| sample.rate,
        ),
    ]
}
