//! Many new connections, each of which sends one report and is closed.

use std::path::Path;

use crate::certificate::Certificate;
use crate::client::Opened;
use crate::document;
use crate::figures::{Table, as_f64, median, rounds};
use crate::load::Load;
use crate::subject::{Embedded, ONE_WORKER};

const ROUNDS: usize = 3;
const CONNECTIONS: usize = 64;
const SECONDS: u64 = 2;

pub fn run() {
    let embedded = Embedded::start();
    let certificate = Certificate::new();
    let settings = [&certificate.settings()[..], &ONE_WORKER].concat();
    let plain = (embedded.bridge(1, &ONE_WORKER), None);
    let secure = (embedded.bridge(1, &settings), Some(certificate.path()));
    let kinds = [
        ("HTTP, kept open", &plain, Opened::Before),
        ("HTTP, each new", &plain, Opened::Each),
        ("HTTPS, kept open", &secure, Opened::Before),
        ("HTTPS, each new", &secure, Opened::Each),
        ("HTTPS, each new, resumed", &secure, Opened::EachResumed),
    ];
    let samples = rounds(ROUNDS, &kinds, |(_, (subject, certificate), opened)| {
        subject.measure(&Load {
            connections: CONNECTIONS,
            seconds: SECONDS,
            opened: *opened,
            certificate: certificate.map(Path::to_owned),
            ..Load::default()
        })
    });
    let mut table = Table::new(&[
        "connections",
        "CPU µs a report",
        "reports/s",
        "p50 ms",
        "p99 ms",
        "resumed",
    ]);
    for ((name, ..), samples) in kinds.iter().zip(&samples) {
        let resumed = samples.iter().map(|sample| {
            let answers = &sample.answers;
            100.0 * as_f64(answers.resumed) / as_f64(answers.accepted)
        });
        table.row(vec![
            (*name).to_owned(),
            format!("{:.1}", median(samples.iter().map(|sample| sample.micros))),
            format!("{:.0}", median(samples.iter().map(|sample| sample.rate))),
            format!(
                "{:.1}",
                median(samples.iter().map(|sample| sample.answers.within[0]))
            ),
            format!(
                "{:.1}",
                median(samples.iter().map(|sample| sample.answers.within[2]))
            ),
            format!("{:.0} %", median(resumed)),
        ]);
    }
    document::put("storm", &table);
}
