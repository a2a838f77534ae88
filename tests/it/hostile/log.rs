//! A log whose pipe or file accepts nothing: log lines are lost, reports are not.

use std::io::pipe;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::output::{full_disk, full_pipe, unread};
use super::{LONG_DEADLINE, Report, assert_kept};
use crate::support::bridge::{Bridge, eventually};
use crate::support::cluster;
use crate::support::http::{Connection, body, exchange, post, report, request};
use crate::support::lines::Lines;
use crate::support::records::Kafka;

const DROPPED: &str = "koobridge_log_lines_dropped_total";
/// One line for each report.
const SETTINGS: [(&str, &str); 2] = [LONG_DEADLINE, ("log.reports", "true")];
const CONNECTIONS: usize = 64;
/// The time limit of a stop without reports in flight, including one second for the last log lines, on a busy machine.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// The trace id of one report.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

struct Logged {
    bridge: Bridge,
    topic: String,
    rejected: String,
    sent: Vec<Report>,
}

impl Logged {
    fn start(kafka: &Kafka, log: Stdio) -> Self {
        let [topic, rejected] = ["events", "rejected"].map(|name| kafka.topic(name, 6));
        let bridge = Bridge::with_log(log, kafka.bootstrap(), &topic, &rejected, &SETTINGS);
        bridge.wait_until_ready();
        Self {
            bridge,
            topic,
            rejected,
            sent: Vec::new(),
        }
    }

    /// Sends `each` reports over each of several connections; all are answered 200.
    fn send(&mut self, each: usize) {
        let (ingress, first) = (self.bridge.ingress, self.sent.len());
        let ids = |connection: usize| {
            let start = first + connection * each;
            (start..start + each).map(|number| format!("m{number}"))
        };
        thread::scope(|scope| {
            for connection in 0..CONNECTIONS {
                scope.spawn(move || {
                    let mut sender = Connection::open(ingress);
                    for id in ids(connection) {
                        sender.send(&report(&body(&id, "read")));
                        assert_eq!(sender.answer().status, 200);
                    }
                });
            }
        });
        let sent = (0..CONNECTIONS).flat_map(ids);
        self.sent.extend(sent.map(|id| (id, "read".to_owned())));
    }

    /// Sends reports until log lines are dropped.
    fn send_until_dropped(&mut self) {
        while self.bridge.metric(DROPPED) == 0 {
            self.send(20);
        }
    }

    /// Sends a report whose log line can be found by its trace id.
    fn send_traced(&mut self) {
        let id = format!("traced{}", self.sent.len());
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let traced = [("traceparent", Some(&*parent))];
        let traced = request(&post(), &traced, &body(&id, "read"));
        assert_eq!(exchange(self.bridge.ingress, &traced).status, 200);
        self.sent.push((id, "read".to_owned()));
    }

    /// Asserts that the bridge stops in time with code 0, and that the topic has every report.
    fn stop(mut self, kafka: &Kafka) {
        let started = Instant::now();
        self.bridge.signal(Signal::TERM);
        assert_eq!(self.bridge.wait_for_exit().code(), Some(0));
        let took = started.elapsed();
        assert!(took < STOP_LIMIT, "{took:?}");
        assert_kept(kafka, [&self.topic, &self.rejected], self.sent);
    }
}

/// Asserts that every log line is lost and counted, and that no report is affected.
fn assert_only_lines_are_lost(log: Stdio) {
    let kafka = cluster::shared();
    let mut logged = Logged::start(&kafka, log);
    logged.send(3);
    eventually(|| match logged.bridge.metric(DROPPED) {
        dropped if dropped >= logged.sent.len() as u64 => Ok(()),
        dropped => Err(format!("{dropped} lines are counted")),
    });
    logged.send(1);
    logged.stop(&kafka);
}

#[test]
fn a_log_on_a_full_disk_loses_only_its_lines() {
    assert_only_lines_are_lost(full_disk());
}

#[test]
fn a_log_without_a_reader_loses_only_its_lines() {
    assert_only_lines_are_lost(unread());
}

#[test]
fn an_unread_log_delays_no_report_and_no_stop() {
    let kafka = cluster::shared();
    let (_reader, log) = full_pipe();
    let mut logged = Logged::start(&kafka, log);
    logged.send(3);
    logged.stop(&kafka);
}

#[test]
fn an_unread_log_loses_lines_until_it_is_read_again() {
    let kafka = cluster::shared();
    let (reader, log) = pipe().expect("a pipe");
    let mut logged = Logged::start(&kafka, log.into());
    logged.send_until_dropped();
    let lines = Lines::read(reader);
    // The lines that waited are written first, and until then there may be no room for the next.
    eventually(|| {
        logged.send_traced();
        let line = lines.find(TRACE);
        line.ok_or_else(|| "no new line is written".to_owned())
    });
    let all = lines.all();
    assert!(
        all.lines()
            .all(|line| line.starts_with('{') && line.ends_with('}')),
        "torn lines"
    );
    logged.stop(&kafka);
}
