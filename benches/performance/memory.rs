//! Memory, start-up time and wake-ups of a bridge.

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
use crate::subject::{Memory, Subject};
use crate::support::records::Kafka;

const PARTITIONS: i32 = 6;
const MANY_PARTITIONS: i32 = 60;
const STARTS: usize = 5;
/// The time over which wake-ups are counted.
const WATCH: Duration = Duration::from_secs(10);
/// After this time, most memory that was needed to open connections is freed.
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
    let mut table = Table::new(&["", "", "resident", "private"]);
    let starts = (0..STARTS).map(|_| {
        let began = Instant::now();
        let _bridge = start(&[]);
        began.elapsed().as_secs_f64()
    });
    table.row(row("start", format!("{:.1} s", median(starts)), None));

    let bridge = start(&[]);
    idle(&mut table, "idle", &bridge);
    let mut connections = Resting::new(bridge.address(), None);
    for count in [1_000, 9_900] {
        connections.grow(count);
        pause(SETTLED);
        let what = format!("{count} idle connections");
        table.row(row(&what, String::new(), Some(&bridge)));
    }
    drop(connections);
    pause(WATCH);
    let what = "ten seconds after they were closed";
    table.row(row(what, String::new(), Some(&bridge)));
    let rate = format!("{:.0} reports/s", bridge.measure(&UNDER_LOAD).rate);
    table.row(row("256 connections under load", rate, Some(&bridge)));
    drop(bridge);

    let four = [("kafka.producers", "4")];
    let bridge = Subject::bridge_on(kafka, MANY_PARTITIONS, &four);
    let what = format!("idle, four producers for {MANY_PARTITIONS} partitions");
    bridge.measure(&Load {
        seconds: 1,
        ..UNDER_LOAD
    });
    idle(&mut table, &what, &bridge);
    drop(bridge);

    let certificate = Certificate::new();
    let bridge = start(&certificate.settings());
    let mut connections = Resting::new(bridge.address(), Some(certificate.path()));
    connections.grow(1_000);
    pause(SETTLED);
    let what = "1000 idle connections, HTTPS";
    table.row(row(what, String::new(), Some(&bridge)));
    document::put("memory", &table);
}

/// Adds the row of an idle bridge, long after its start or load.
fn idle(table: &mut Table, what: &str, bridge: &Subject) {
    pause(WATCH);
    let before = process::wakeups(bridge.pid());
    pause(WATCH);
    let wakeups = process::wakeups(bridge.pid()) - before;
    let wakeups = as_f64(wakeups) / WATCH.as_secs_f64();
    let wakeups = format!("{wakeups:.1} wake-ups/s");
    table.row(row(what, wakeups, Some(bridge)));
}

fn row(what: &str, figure: String, bridge: Option<&Subject>) -> Vec<String> {
    let memory = bridge.map(Subject::memory);
    let mebibytes = |value: fn(&Memory) -> f64| {
        let value = memory.as_ref().map(value);
        value.map_or_else(String::new, |value| format!("{value:.1} MiB"))
    };
    vec![
        what.to_owned(),
        figure,
        mebibytes(|memory| memory.resident),
        mebibytes(|memory| memory.private),
    ]
}

/// Raises the limit on open files, because this process has the other end of each connection.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("up to the maximum");
}
