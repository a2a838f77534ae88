//! Load balancers that send the requests of many senders over few connections. When a request of one sender is refused,
//! the other senders still get their answers.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::balancers::{Balancer, Haproxy};
use crate::reload::StopsOnDrop;
use crate::suite::rig::pause;
use crate::support::bridge::Bridge;
use crate::support::cluster;
use crate::support::http::{Connection, body, post, request};
use crate::support::records::{Kafka, read_all};

/// The number of senders of valid reports, and the number of reports of each.
const SENDERS: usize = 4;
const REPORTS: usize = 12;
/// The delay between the head and the body of a refused request. With the longest one the bridge has stopped waiting
/// for the body.
const LATE: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_micros(300),
    Duration::from_millis(1),
    Duration::from_millis(20),
    Duration::from_millis(700),
];
/// A long deadline, so that a busy machine does not cause a 503.
const PATIENT: (&str, &str) = ("ingress.deadline", "9s");

#[test]
fn behind_haproxy_a_refused_request_costs_no_report_its_answer() {
    run_behind_balancer(|replicas| {
        let changes = [
            ("http-reuse safe", "http-reuse always"),
            ("default-server check", "default-server maxconn 1 check"),
            (
                "timeout connect 1s",
                "timeout connect 1s\n    timeout queue 30s",
            ),
        ];
        let haproxy = Haproxy::start(replicas, &changes);
        assert_mixed_senders_are_answered(&haproxy.balancer);
    });
}

#[test]
fn behind_nginx_a_refused_request_costs_no_report_its_answer() {
    run_behind_balancer(|replicas| {
        let changes = [("keepalive 64", "keepalive 2")];
        assert_mixed_senders_are_answered(&Balancer::nginx(replicas, &changes));
    });
}

#[test]
fn behind_an_nginx_that_passes_bodies_as_they_come_a_refused_request_costs_no_report_its_answer() {
    run_behind_balancer(|replicas| {
        let changes = [
            ("keepalive 64", "keepalive 2"),
            ("proxy_request_buffering on", "proxy_request_buffering off"),
        ];
        assert_mixed_senders_are_answered(&Balancer::nginx(replicas, &changes));
    });
}

/// Runs `senders` against a balancer with two replicas, and checks that the topic has their reports.
fn run_behind_balancer(senders: impl FnOnce(&[Bridge; 2])) {
    let kafka = cluster::shared();
    let topic = kafka.topic("pooling", 3);
    let rejected = kafka.topic("pooling-rejected", 1);
    let start = |()| Bridge::ready(kafka.bootstrap(), &topic, &rejected, &[PATIENT]);
    senders(&[(); 2].map(start));
    assert_kept(&kafka, &topic);
    assert_eq!(read_all(kafka.bootstrap(), &rejected), []);
}

fn assert_kept(kafka: &Kafka, topic: &str) {
    let records = read_all(kafka.bootstrap(), topic);
    let key = |key: Option<Vec<u8>>| String::from_utf8(key.expect("a key")).expect("text");
    let kept: Vec<String> = records.into_iter().map(|record| key(record.key)).collect();
    assert_eq!(kept.len(), SENDERS * REPORTS);
    let numbers = (0..SENDERS).flat_map(|sender| (0..REPORTS).map(move |report| (sender, report)));
    let expected: BTreeSet<String> = numbers.map(|(sender, report)| id(sender, report)).collect();
    assert_eq!(BTreeSet::from_iter(kept), expected);
}

fn id(sender: usize, report: usize) -> String {
    format!("m-{sender}-{report}")
}

fn assert_mixed_senders_are_answered(balancer: &Balancer) {
    let done = &AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = StopsOnDrop(done);
        let refused = LATE.map(|late| scope.spawn(move || send_refused(balancer, late, done)));
        let good: Vec<_> = (0..SENDERS)
            .map(|sender| scope.spawn(move || send_reports(balancer, sender)))
            .collect();
        for sender in good {
            sender.join().expect("every report is answered 200");
        }
        done.store(true, Ordering::Relaxed);
        for sender in refused {
            sender.join().expect("every wrong password is answered 401");
        }
    });
}

/// Sends reports on one connection, each in two segments like Python's `http.client`.
fn send_reports(balancer: &Balancer, sender: usize) {
    let mut connection = balancer.open();
    for number in 0..REPORTS {
        let whole = body(&id(sender, number), "read");
        send_in_two(&mut connection, &[], &whole, Duration::ZERO);
        let answer = connection.answer();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// Sends requests with a wrong password and a late body, each on a new connection.
fn send_refused(balancer: &Balancer, late: Duration, done: &AtomicBool) {
    let wrong = [("Authorization", Some("wrong"))];
    while !done.load(Ordering::Relaxed) {
        let mut connection = balancer.open();
        send_in_two(&mut connection, &wrong, &body("refused", "read"), late);
        let answer = connection.answer();
        assert_eq!(answer.status, 401, "{}", answer.text());
    }
}

fn send_in_two(
    connection: &mut Connection,
    changes: &[(&str, Option<&str>)],
    body: &[u8],
    late: Duration,
) {
    let whole = request(&post(), changes, body);
    let (head, body) = whole.split_at(whole.len() - body.len());
    connection.send(head);
    pause(late);
    connection.send(body);
}
