//! What a bridge takes beside its work: memory, start-up, wake-ups.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::certificate::Certificate;
use crate::client::Opened;
use crate::document;
use crate::figures::{Table, as_f64, median};
use crate::load::Load;
use crate::pause;
use crate::process;
use crate::resting::Resting;
use crate::subject::Subject;
use crate::support::records::Kafka;

const PARTITIONS: i32 = 6;
const STARTS: usize = 5;
/// How long wake-ups are counted.
const WATCH: Duration = Duration::from_secs(10);
/// What connections took to be opened is given back by then, mostly.
const SETTLED: Duration = Duration::from_secs(5);
const UNDER_LOAD: Load = Load {
    connections: 256,
    seconds: 8,
    rate: None,
    bytes: 190,
    channels: 1,
    certificate: None,
    opened: Opened::Before,
};

pub fn run(kafka: &Kafka) {
    raise_file_limit();
    let [events, rejected] = ["events", "rejected"].map(|topic| kafka.topic(topic, PARTITIONS));
    let start = |settings: &[_]| Subject::bridge(kafka.bootstrap(), [&events, &rejected], settings);
    let starts = (0..STARTS).map(|_| {
        let began = Instant::now();
        let _bridge = start(&[]);
        began.elapsed().as_secs_f64()
    });
    let ready = median(starts);

    let bridge = start(&[]);
    let mut table = Table::new(&["", ""]);
    let mut row = |what: &str, figure: String| table.row(vec![what.to_owned(), figure]);
    row("from its start until it is ready", format!("{ready:.1} s"));
    // What its start took is given back by then.
    pause(WATCH);
    row("memory, idle", mebibytes(bridge.resident()));
    let before = process::wakeups(bridge.pid());
    pause(WATCH);
    let wakeups = process::wakeups(bridge.pid()) - before;
    row(
        "wake-ups a second, idle",
        format!("{:.1}", as_f64(wakeups) / WATCH.as_secs_f64()),
    );
    let mut connections = Resting::new(bridge.address(), None);
    for count in [1_000, 9_900] {
        connections.grow(count);
        pause(SETTLED);
        row(
            &format!("with {count} connections that rest"),
            mebibytes(bridge.resident()),
        );
    }
    drop(connections);
    pause(WATCH);
    row(
        "ten seconds after they have gone",
        mebibytes(bridge.resident()),
    );
    let sample = bridge.measure(&UNDER_LOAD);
    row(
        &format!(
            "after {:.0} reports a second on 256 connections",
            sample.rate
        ),
        mebibytes(bridge.resident()),
    );
    drop(bridge);
    let certificate = Certificate::new();
    let bridge = start(&certificate.settings());
    let mut connections = Resting::new(bridge.address(), Some(certificate.path()));
    connections.grow(1_000);
    pause(SETTLED);
    row(
        "with 1000 connections that rest, HTTPS",
        mebibytes(bridge.resident()),
    );
    document::put("memory", &table);
}

fn mebibytes(value: f64) -> String {
    format!("{value:.1} MiB")
}

/// This process has the other end of each connection.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("up to the maximum");
}
