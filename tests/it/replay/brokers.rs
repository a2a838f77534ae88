//! Brokers that are killed during a replay, a redrive or the writing of an archive, or return with new addresses.

use std::collections::BTreeSet;
use std::time::Duration;

use super::by_key;
use super::desk::{Desk, NewRecord, Running, exit_code, large_event, stderr};
use super::redrive::{rejected, valid_report};
use super::resume::{EVENTS, copied};
use super::unattended::summary;
use crate::suite::rig::pause;
use crate::support::bridge::{eventually, koobridge};
use crate::support::cluster::{self, Exclusive};
use crate::support::lines::Lines;
use crate::support::ports::free_ports;
use crate::support::proxy::Proxy;
use crate::support::records::{Kafka, Record, read_all};

/// How long a broker is down: longer than the cluster needs to notice.
const DOWN: Duration = Duration::from_secs(4);
const REPORTS: usize = 6000;
/// So large that most of the range is not fetched yet when the first broker is killed.
const ARCHIVED: usize = 4000;
const BYTES: usize = 5000;

/// Kills a broker, calls `meanwhile`, and starts the broker again.
fn while_down(kafka: &mut Exclusive, broker: usize, meanwhile: impl FnOnce()) {
    kafka.kill(broker);
    meanwhile();
    pause(DOWN);
    kafka.start(broker);
    kafka.wait_until_healthy();
}

fn report(number: usize) -> NewRecord {
    let message = format!("m{number}");
    rejected("unknown-status", &valid_report(&message), Some(&message))
}

/// Returns the partitions and offsets in the two headers of the records, sorted, with repetitions.
fn positions<'a>(records: impl Iterator<Item = &'a Record>, names: [&str; 2]) -> Vec<(i32, i64)> {
    let position = |record: &Record| {
        let [partition, offset] = names.map(|name| record.header(name).expect("a header"));
        (
            partition.parse().expect("a number"),
            offset.parse().expect("a number"),
        )
    };
    let mut positions: Vec<_> = records.map(position).collect();
    positions.sort_unstable();
    positions
}

/// Asserts that each report is on the events topic once, and has one marker on its partition.
fn assert_brought_back_once(desk: &Desk<'_>, id: &str) {
    let records = desk.copies(&desk.rejected, 2 * REPORTS);
    let (reports, markers): (Vec<_>, Vec<_>) = records
        .iter()
        .partition(|record| record.header("stage").is_some());
    let expected: Vec<_> = reports
        .iter()
        .map(|report| (report.partition, report.offset))
        .collect();
    assert_eq!(expected.len(), REPORTS);
    let marked = positions(
        markers.iter().copied(),
        ["redriven_partition", "redriven_offset"],
    );
    assert_eq!(marked, expected);
    for marker in markers {
        assert_eq!(marker.header("redriven_by"), Some(id));
        let partition = marker.partition.to_string();
        assert_eq!(marker.header("redriven_partition"), Some(&*partition));
    }
    let events = desk.copies(&desk.events, REPORTS);
    let names = ["redrive_partition", "redrive_offset"];
    assert_eq!(positions(events.iter(), names), expected);
    let keys: BTreeSet<_> = events.iter().map(|event| event.key.clone()).collect();
    assert_eq!(keys.len(), REPORTS);
}

#[test]
fn a_redrive_whose_brokers_and_process_are_killed_redrives_each_report_once() {
    let mut kafka = cluster::exclusive();
    let brokers = Kafka::at(kafka.bootstrap().to_owned());
    let desk = Desk::new(&brokers);
    desk.write(&desk.rejected, (0..REPORTS).map(report));
    let job = ["--yes", "--rate", "300"];
    let mut running = desk.start(
        "redrive",
        &[&job[..], &["--since", "beginning", "--id", "killed"]].concat(),
    );
    copied(&desk, &desk.events, 1);
    for broker in 0..2 {
        while_down(&mut kafka, broker, || {
            pause(Duration::from_secs(1));
            running.child.kill().expect("a child can be killed");
            running.child.wait().expect("a killed child ends");
            running = desk.start("redrive", &[&job[..], &["--resume", "killed"]].concat());
        });
    }
    assert_eq!(running.ended(), 0, "{}", running.stderr.all());
    assert_brought_back_once(&desk, "killed");

    let again = desk.command("redrive", &["--since", "beginning", "--yes", "--json"]);
    assert_eq!(exit_code(&again), 0, "{}", stderr(&again));
    let counts = &summary(&again.stdout)["counts"];
    assert_eq!(counts["published"], 0);
    assert_eq!(counts["redriven"], REPORTS);
    assert_brought_back_once(&desk, "killed");
}

#[test]
fn an_archive_has_each_record_once_if_brokers_are_killed() {
    let mut kafka = cluster::exclusive();
    let brokers = Kafka::at(kafka.bootstrap().to_owned());
    let desk = Desk::new(&brokers);
    desk.write(
        &desk.events,
        (0..ARCHIVED).map(|number| large_event(number, BYTES)),
    );
    let mut disturbed = Archive::start(&desk, &["--rate", "250"]);
    for broker in 0..2 {
        while_down(&mut kafka, broker, || {});
    }
    let disturbed = disturbed.ended();
    let expected = Archive::start(&desk, &[]).ended();
    assert_eq!(expected.len(), ARCHIVED);
    // The lines are too long to be shown.
    assert!(disturbed == expected, "{} lines", disturbed.len());
}

/// A running command that writes an archive.
struct Archive {
    running: Running,
    lines: Lines,
}

impl Archive {
    /// Starts the command, and returns when it has written the first line.
    fn start(desk: &Desk<'_>, arguments: &[&str]) -> Self {
        let range = ["--since", "beginning", "--to", "-"];
        let mut running = desk.start("replay", &[&range, arguments].concat());
        let lines = Lines::read(running.child.stdout.take().expect("a pipe"));
        eventually(|| lines.find("topic").ok_or_else(|| running.stderr.all()));
        Self { running, lines }
    }

    /// Waits until the command has succeeded, and returns its lines, sorted.
    fn ended(&mut self) -> Vec<String> {
        assert_eq!(self.running.ended(), 0, "{}", self.running.stderr.all());
        let text = self.lines.wait_for_end();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }
}

/// A running replay that has published something, without a borrow of its brokers.
struct RunningReplay {
    events: String,
    target: String,
    running: Running,
}

impl RunningReplay {
    fn start(kafka: &Kafka, bootstrap: &str, id: &str) -> Self {
        let events = Desk::with_events(kafka, EVENTS).events;
        let target = kafka.topic("target", 3);
        let topic = format!("kafka.topic={events}");
        let mut command = koobridge();
        command
            .args(["replay", "--bootstrap", bootstrap, "--set", &topic])
            .args(["--since", "beginning", "--to", &target, "--id", id])
            .args(["--yes", "--rate", "1000"]);
        let running = Running::start(command);
        eventually(|| match read_all(kafka.bootstrap(), &target).len() {
            0 => Err(running.stderr.all()),
            _ => Ok(()),
        });
        Self {
            events,
            target,
            running,
        }
    }

    /// Waits until the replay has succeeded, and asserts that each record is there once.
    fn assert_exactly_once(mut self, kafka: &Kafka) {
        assert_eq!(self.running.ended(), 0, "{}", self.running.stderr.all());
        let copies = read_all(kafka.bootstrap(), &self.target);
        let sources = read_all(kafka.bootstrap(), &self.events);
        assert_eq!(copies.len(), EVENTS);
        assert_eq!(by_key(&copies), by_key(&sources));
    }
}

#[test]
fn a_replay_copies_each_record_once_if_brokers_are_killed() {
    let mut kafka = cluster::exclusive();
    let copying = RunningReplay::start(&kafka, kafka.bootstrap(), "brokers");
    for broker in 0..2 {
        kafka.kill(broker);
        pause(Duration::from_secs(3));
        kafka.start(broker);
        kafka.wait_until_healthy();
    }
    copying.assert_exactly_once(&kafka);
}

/// The name in `bootstrap.servers` stays the same, and the advertised addresses change.
#[test]
fn a_run_finds_brokers_that_return_with_new_addresses() {
    let mut kafka = cluster::exclusive();
    let [name] = free_ports();
    let old = kafka.proxy_ports();
    let _bootstrap = Proxy::start(vec![[old[0][0], name]]);
    let addresses = Proxy::start(old);
    let copying = RunningReplay::start(&kafka, &format!("127.0.0.1:{name}"), "moved");
    kafka.move_proxies();
    drop(addresses);
    let _new = Proxy::start(kafka.proxy_ports());
    copying.assert_exactly_once(&kafka);
}
