//! Compares the bridge with another one on the same brokers with the same work: acks=all from an idempotent producer,
//! and an answer only after the acknowledgement. `mq-bridge.py` configures the other bridge.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::document;
use crate::figures::{Table, median, rounds};
use crate::load::{Load, Sample};
use crate::subject::{Memory, Process, Subject};
use crate::support::records::{Kafka, until};

const ROUNDS: usize = 5;
const PARTITIONS: i32 = 6;
const CONNECTIONS: [usize; 2] = [64, 256];
/// The newest version in the Python package index when this was written.
const MQ_BRIDGE: &str = "mq-bridge==1.2.0";
const PATIENCE: Duration = Duration::from_mins(1);

pub fn run(kafka: &Kafka) {
    let python = install();
    let [events, rejected, other] =
        ["events", "rejected", "mq-bridge"].map(|topic| kafka.topic(topic, PARTITIONS));
    let bridges = [
        (
            "koobridge",
            Subject::bridge(kafka.bootstrap(), [&events, &rejected], &[]),
        ),
        ("mq-bridge", mq_bridge(&python, kafka, &other)),
    ];
    let mut table = Table::new(&[
        "connections",
        "",
        "CPU µs per request",
        "requests per CPU second",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "resident MiB",
        "private MiB",
    ]);
    for connections in CONNECTIONS {
        let load = Load {
            connections,
            ..Load::default()
        };
        let samples = rounds(ROUNDS, &bridges, |(_, subject)| {
            (subject.measure(&load), subject.memory())
        });
        for ((name, _), samples) in bridges.iter().zip(&samples) {
            let of =
                |value: fn(&Sample) -> f64| median(samples.iter().map(|(sample, _)| value(sample)));
            let memory = |value: fn(&Memory) -> f64| {
                let values = samples.iter().map(|(_, memory)| value(memory));
                format!("{:.0}", median(values))
            };
            table.row(vec![
                connections.to_string(),
                (*name).to_owned(),
                format!("{:.1}", of(|sample| sample.micros)),
                format!("{:.0}", 1e6 / of(|sample| sample.micros)),
                format!("{:.0}", of(|sample| sample.rate)),
                format!("{:.1}", of(|sample| sample.answers.within[0])),
                format!("{:.1}", of(|sample| sample.answers.within[2])),
                memory(|memory| memory.resident),
                memory(|memory| memory.private),
            ]);
        }
    }
    document::put("comparison", &table);
}

/// Installs mq-bridge in a virtual environment. Returns its Python.
fn install() -> PathBuf {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/mq-bridge");
    let python = home.join("bin/python");
    if !python.exists() {
        run_to_end(Command::new("python3").args(["-m", "venv"]).arg(&home));
    }
    run_to_end(Command::new(&python).args(["-m", "pip", "install", "--quiet", MQ_BRIDGE]));
    python
}

fn run_to_end(command: &mut Command) {
    let status = command
        .status()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

fn mq_bridge(python: &Path, kafka: &Kafka, topic: &str) -> Subject {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address: SocketAddr = free.expect("a free port");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/performance/mq-bridge.py");
    let child = Command::new(python)
        .arg(script)
        .args([&address.to_string(), kafka.bootstrap(), topic])
        .stdout(Stdio::null())
        .spawn()
        .expect("Python runs");
    let process = Process { child, address };
    until(PATIENCE, || TcpStream::connect(address)).expect("mq-bridge listens");
    Subject::Server(process)
}
