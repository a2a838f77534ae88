//! Latency by the rate at which reports are due, in an open loop, on three brokers, with and without TLS.

use crate::certificate::Certificate;
use crate::chart::{Line, Panel, draw};
use crate::document;
use crate::figures::{Table, as_f64};
use crate::load::{Load, Sample};
use crate::servers::Work;
use crate::subject::Subject;
use crate::support::records::Kafka;

/// Reports per second, up to more than a server can answer.
const RATES: [u64; 7] = [500, 2_000, 5_000, 10_000, 15_000, 20_000, 30_000];
const SECONDS: u64 = 4;
const PARTITIONS: i32 = 6;
/// The quantiles in the chart, as indexes of the load's quantiles.
const SHOWN: [(usize, &str); 3] = [(0, "p50"), (2, "p99"), (3, "p99.9")];

struct Server {
    name: &'static str,
    subject: Subject,
    load: Load,
}

pub fn run(kafka: &Kafka) {
    let certificate = Certificate::new();
    let plain = Load {
        seconds: SECONDS,
        ..Load::default()
    };
    let servers = [
        Server {
            name: "HTTP",
            subject: Subject::bridge_on(kafka, PARTITIONS, &[]),
            load: plain.clone(),
        },
        Server {
            name: "HTTPS",
            subject: Subject::bridge_on(kafka, PARTITIONS, &certificate.settings()),
            load: Load {
                certificate: Some(certificate.path().to_owned()),
                ..plain.clone()
            },
        },
        Server {
            name: "a bare hyper POST",
            subject: Subject::server(Work::Bare),
            load: plain,
        },
    ];
    // Warms up.
    for server in &servers {
        server.subject.measure(&server.load);
    }
    let mut table = Table::new(&[
        "",
        "sent per second",
        "answered",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "p99.9 ms",
        "CPU µs per request",
        "cores",
    ]);
    let mut panels = Vec::new();
    for server in &servers {
        let steps = measure_rates(server);
        for (rate, sample) in &steps {
            let mut row = vec![
                server.name.to_owned(),
                rate.to_string(),
                format!("{:.0}", sample.rate),
            ];
            row.extend(sample.answers.within.map(|millis| format!("{millis:.1}")));
            row.push(format!("{:.0}", sample.micros));
            row.push(format!("{:.2}", sample.micros * sample.rate / 1e6));
            table.row(row);
        }
        if server.name != "a bare hyper POST" {
            panels.push(panel(server.name, &steps));
        }
    }
    document::put("latency", &table);
    document::put_picture("latency", &draw(&panels));
}

/// Measures each rate, up to the first one that the server can't keep up with.
fn measure_rates(server: &Server) -> Vec<(u64, Sample)> {
    let mut steps = Vec::new();
    for rate in RATES {
        let load = Load {
            rate: Some(rate),
            ..server.load.clone()
        };
        let sample = server.subject.measure(&load);
        let keeps_up = sample.rate > 0.98 * as_f64(rate);
        steps.push((rate, sample));
        if !keeps_up {
            break;
        }
    }
    steps
}

fn panel(name: &'static str, steps: &[(u64, Sample)]) -> Panel {
    let line = |(share, name)| Line {
        name,
        points: steps
            .iter()
            .map(|(rate, sample)| (as_f64(*rate), sample.answers.within[share]))
            .collect(),
    };
    Panel {
        title: if name == "HTTP" {
            "HTTP: milliseconds to the answer"
        } else {
            "HTTPS: milliseconds to the answer"
        },
        across: "reports sent per second",
        is_logarithmic: true,
        lines: SHOWN.map(line).into(),
    }
}
