//! Measures the cost and the throughput of koobridge; run it with `script/bench`.
//!
//! Each server, the load and the brokers run in separate processes, so that the kernel accounts for their CPU time
//! separately. Ratios are comparable between machines; absolute figures are not.

mod certificate;
mod chart;
mod client;
mod comparison;
mod document;
mod figures;
mod growth;
mod ladder;
mod latency;
mod load;
mod memory;
mod process;
mod producers;
mod replay;
mod resting;
mod servers;
mod storage;
mod storm;
mod subject;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/it/support/mod.rs"]
mod support;

use std::thread;
use std::time::Duration;

use client::Opened;
use load::Load;
use subject::Subject;
use support::broker;
use support::cluster::{self, Exclusive};

/// As in production, except for the size of the heap.
const BROKER_JVM: &str = "-Xms512m -Xmx512m -Dlog4j2.level=WARN";
/// After their start, brokers are two to three times slower until their code is compiled. This load is repeated, at
/// most [`WARM_UPS`] times, while each makes them faster by [`FASTER`]. The pauses leave the machine to their
/// compilers.
const WARM_UP: Load = Load {
    connections: 256,
    seconds: 10,
    rate: None,
    bytes: 190,
    channels: 1,
    certificate: None,
    opened: Opened::Before,
};
const WARM_UPS: u32 = 6;
const FASTER: f64 = 1.1;
const BETWEEN: Duration = Duration::from_secs(4);

type Section = (&'static str, fn(&Exclusive));

/// The sections, in the order in which they run. The last one freezes the brokers, which recover slowly.
const SECTIONS: [Section; 9] = [
    ("ladder", |kafka| ladder::run(kafka)),
    ("latency", |kafka| latency::run(kafka)),
    ("comparison", |kafka| comparison::run(kafka)),
    ("growth", growth::run),
    ("producers", producers::run),
    ("storm", |_| storm::run()),
    ("memory", |kafka| memory::run(kafka)),
    ("replay", |kafka| replay::run(kafka)),
    ("storage", storage::run),
];

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [load::FLAG, address, spec] => load::run(address, spec),
        [servers::FLAG, work] => servers::run(work),
        ref names => run(names),
    }
}

/// Runs the sections with these names, or all.
fn run(names: &[&str]) {
    if let Some(unknown) = names
        .iter()
        .find(|name| !SECTIONS.iter().any(|(known, _)| known == *name))
    {
        let known = SECTIONS.map(|(name, _)| name).join(", ");
        eprintln!("unknown section {unknown}; choose from: {known}");
        std::process::exit(2);
    }
    broker::JVM.set(BROKER_JVM).expect("no broker runs yet");
    let kafka = cluster::exclusive_with_session(cluster::KAFKA_SESSION);
    warm_up(&kafka);
    for (name, section) in SECTIONS {
        if names.is_empty() || names.contains(&name) {
            section(&kafka);
        }
    }
}

fn warm_up(kafka: &Exclusive) {
    let bridge = Subject::bridge_on(kafka, 6, &[]);
    let mut before = 0.0;
    for _ in 0..WARM_UPS {
        let rate = bridge.measure(&WARM_UP).rate;
        println!("warming up: {rate:.0} reports/s");
        if rate < FASTER * before {
            return;
        }
        before = rate;
        pause(BETWEEN);
    }
}

/// Pauses for `span`, if there is no condition to wait for.
#[expect(clippy::disallowed_methods, reason = "there is nothing to wait for")]
pub fn pause(span: Duration) {
    thread::sleep(span);
}
