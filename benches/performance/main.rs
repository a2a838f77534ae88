//! What each part of a report's journey costs, in one run.
//!
//! `cargo bench --bench journey` goes round from a bare hyper POST over authentication and the contract to the
//! whole bridge, on the embedded broker and on three brokers of Apache Kafka, and prints CPU time a request,
//! requests a second, and the CPU time beside the bare POST's. The CPU time is that of every thread of this
//! process but the mock broker's, from the kernel's own accounts; the load comes from another process, and so do
//! the brokers. Beside it stands what the metrics of a report take. Ratios hold; absolute figures are this
//! machine's.

#[path = "../../tests/it/broker.rs"]
mod broker;
#[expect(dead_code, reason = "the tests ask more of it")]
#[path = "../../tests/it/cluster.rs"]
mod cluster;
mod cpu;
#[path = "../../tests/it/jars.rs"]
mod jars;
mod load;
#[expect(dead_code, reason = "the tests ask more of it")]
#[path = "../../tests/it/records.rs"]
mod records;
mod servers;

use std::net::SocketAddr;
use std::time::Instant;

use koobridge::app::Broker;
use koobridge::contract::ChannelId;
use koobridge::kafka::EmbeddedBroker;
use koobridge::metrics::{Metrics, ReportAnswer, ReportFate};

use load::{Sample, measure};
use servers::{Work, start, start_bridge};

const ROUNDS: usize = 5;
const COUNTED: u32 = 1_000_000;
const PARTITIONS: u16 = 6;
const CHANNEL: &str = "202105102694809992";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match &arguments[1..] {
        [flag, address] if flag == load::FLAG => {
            println!(
                "{}",
                load::send_reports(address.parse().expect("an address"))
            );
        }
        _ => compare(),
    }
}

fn compare() {
    let embedded = EmbeddedBroker::start().expect("an embedded broker");
    let topics = ["events", "rejected"];
    for topic in topics {
        embedded.create_topic(topic, PARTITIONS).expect("a topic");
    }
    let kafka = cluster::shared();
    let [events, rejected] = topics.map(|topic| kafka.topic(topic, PARTITIONS.into()));
    let rungs = [
        ("bare POST", start(Work::Bare)),
        ("+ authenticate", start(Work::Authenticate)),
        ("+ validate, normalise", start(Work::Normalise)),
        (
            "the bridge, embedded broker",
            start_bridge(&embedded.bootstrap_servers(), topics, Broker::Embedded),
        ),
        (
            "the bridge, three brokers",
            start_bridge(kafka.bootstrap(), [&events, &rejected], Broker::Cluster),
        ),
    ];
    let (connections, seconds) = (load::CONNECTIONS, load::SECONDS);
    println!(
        "{connections} connections, {seconds} s a sample, medians of {ROUNDS} rounds, 1 worker each"
    );
    let samples = rounds(&rungs.map(|(_, address)| address));
    print(&rungs.map(|(name, _)| name), &samples);
    let micros = median((0..ROUNDS).map(|_| count_reports()).collect());
    println!("metrics: {micros:.2} µs a report");
}

/// The samples of each rung. They take turns, so that what the machine does meanwhile meets all of them.
fn rounds(rungs: &[SocketAddr]) -> Vec<Vec<Sample>> {
    let mut samples: Vec<Vec<Sample>> = rungs.iter().map(|_| Vec::new()).collect();
    for round in 0..=ROUNDS {
        for (address, samples) in rungs.iter().zip(&mut samples) {
            let sample = measure(*address);
            // The first round warms up.
            if round > 0 {
                samples.push(sample);
            }
        }
    }
    samples
}

fn print(names: &[&str], samples: &[Vec<Sample>]) {
    println!(
        "{:>28} {:>15} {:>11} {:>7}",
        "", "CPU µs/request", "requests/s", "ratio"
    );
    for (name, rung) in names.iter().zip(samples) {
        let of = |value: fn(&Sample) -> f64| median(rung.iter().map(value).collect());
        let pairs = samples[0].iter().zip(rung);
        let ratio = median(
            pairs
                .map(|(bare, sample)| sample.micros / bare.micros)
                .collect(),
        );
        let (micros, rate) = (of(|sample| sample.micros), of(|sample| sample.rate));
        println!("{name:>28} {micros:>15.2} {rate:>11.0} {ratio:>7.2}");
    }
}

/// What it takes to tell the metrics everything of a report, in microseconds.
fn count_reports() -> f64 {
    let metrics = Metrics::new();
    let channel = ChannelId::parse(CHANNEL).expect("a channel id");
    let before = cpu::time();
    for _ in 0..COUNTED {
        // In the order of a report's journey; the times are taken for the metrics alone, too.
        let complete = Instant::now();
        metrics.reports_in_flight.inc();
        metrics.bytes_in_flight.inc_by(1);
        metrics.report_received(&channel, "read");
        let handed_over = Instant::now();
        metrics.acknowledged(handed_over.elapsed());
        metrics.report_settled(ReportFate::Delivered);
        metrics.reports_in_flight.dec();
        metrics.bytes_in_flight.dec_by(1);
        metrics.answered(200);
        metrics.report_answered(ReportAnswer::Accepted, complete.elapsed());
    }
    cpu::used_since(&before).as_secs_f64() * 1e6 / f64::from(COUNTED)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
