//! More load than the bridge allows: which requests it sheds, and which reports it keeps.

use std::time::{Duration, Instant};

use crate::support::bridge::Bridge;
use crate::support::cluster;
use crate::support::http::{Connection, body, exchange, post, report, request};
use crate::support::records::read_all;

/// A deadline that no report reaches, and half of it: an earlier answer came at once.
const LONG_DEADLINE: (&str, &str) = ("ingress.deadline", "30s");
const AT_ONCE: Duration = Duration::from_secs(15);

const IN_FLIGHT: &str = "koobridge_reports_in_flight";
pub const BYTES: &str = "koobridge_in_flight_bytes";
pub const CONNECTIONS: &str = "koobridge_connections";
const DISPLACED: &str = "koobridge_connections_displaced_total";

/// Returns a valid body of `size` bytes, most of them in a member that the contract does not name.
pub fn body_of_size(message_id: &str, size: usize) -> Vec<u8> {
    let mut body = body(message_id, "read");
    body.pop();
    body.extend_from_slice(b",\"pad\":\"");
    body.resize(size - 2, b'x');
    body.extend_from_slice(b"\"}");
    body
}

#[test]
fn past_the_limit_of_reports_no_body_is_read() {
    let kafka = cluster::exclusive();
    let settings = [("ingress.reports_in_flight", "3"), LONG_DEADLINE];
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &settings);
    kafka.freeze_all();
    let mut waiting = waiting(&bridge, 3);
    bridge.wait_for_metric(IN_FLIGHT, 3);

    let mut shed = Connection::open(bridge.ingress);
    let head = [
        ("Content-Length", Some("500")),
        ("Expect", Some("100-continue")),
    ];
    let started = Instant::now();
    shed.send(&request(&post(), &head, b""));
    let answer = shed.answer();
    assert!(started.elapsed() < AT_ONCE);
    assert_eq!(
        (answer.status, answer.problem().0),
        (503, "overloaded".to_owned())
    );
    let retry_after = answer.header("retry-after").expect("when to come back");
    assert!(("1"..="5").contains(&retry_after), "{retry_after}");
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(shed.is_closed());

    let mut other = Connection::open(bridge.ingress);
    other.send(&report(&body("m8", "read")));
    let answer = other.answer();
    assert_eq!((answer.status, answer.header("connection")), (503, None));
    assert_eq!(bridge.metric(IN_FLIGHT), 3);

    kafka.thaw_all();
    for sender in &mut waiting {
        assert_eq!(sender.answer().status, 200);
    }
    other.send(&report(&body("m8", "read")));
    assert_eq!(other.answer().status, 200);
}

/// Sends `count` reports, each on a new connection, and reads no answer.
fn waiting(bridge: &Bridge, count: usize) -> Vec<Connection> {
    let send = |number| {
        let mut sender = Connection::open(bridge.ingress);
        sender.send(&report(&body(&format!("m{number}"), "read")));
        sender
    };
    (0..count).map(send).collect()
}

#[test]
fn the_received_part_of_a_body_counts_towards_the_byte_limit() {
    let kafka = cluster::shared();
    let settings = [
        ("ingress.body_limit", "64 KiB"),
        ("ingress.bytes_in_flight", "80 KiB"),
    ];
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &settings);
    let whole = report(&body_of_size("m1", 60 << 10));
    let (most, rest) = whole.split_at(whole.len() - 1024);
    let mut slow = Connection::open(bridge.ingress);
    slow.send(most);
    bridge.wait_for_metric(BYTES, 59 << 10);

    let answer = exchange(bridge.ingress, &report(&body_of_size("m2", 60 << 10)));
    assert_eq!(
        (answer.status, answer.problem().0),
        (503, "overloaded".to_owned())
    );
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m3", "read"))).status,
        200
    );
    slow.send(rest);
    assert_eq!(slow.answer().status, 200);
    bridge.wait_for_metric(BYTES, 0);
}

#[test]
fn a_stalled_producer_does_not_keep_reports_from_the_spool() {
    let kafka = cluster::exclusive();
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [
        ("ingress.reports_in_flight", "60"),
        ("spool.directory", directory.path().to_str().expect("text")),
    ];
    let (bridge, topic, _) = Bridge::with_topics(&kafka, 6, &settings);
    kafka.freeze_all();
    let mut senders: Vec<_> = (0..10).map(|_| Connection::open(bridge.ingress)).collect();
    for round in 0..30 {
        for (number, sender) in senders.iter_mut().enumerate() {
            sender.send(&report(&body(&format!("m{round}-{number}"), "read")));
        }
        for sender in &mut senders {
            assert_eq!(sender.answer().status, 200);
        }
        // Kafka gets half of the permits, and one more for each partition that had nothing in flight.
        assert!(bridge.metric(IN_FLIGHT) <= 30 + 6);
    }
    kafka.thaw_all();
    bridge.wait_for_metric("koobridge_spool_reports", 0);
    bridge.wait_for_metric(IN_FLIGHT, 0);
    assert_eq!(read_all(kafka.bootstrap(), &topic).len(), 300);
}

#[test]
fn past_the_limit_of_connections_the_longest_idle_makes_room() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[("ingress.connections", "3")]);
    let mut first = Connection::open(bridge.ingress);
    first.send(&report(&body("m1", "read")));
    assert_eq!(first.answer().status, 200);
    let mut silent = Connection::open(bridge.ingress);
    let mut third = Connection::open(bridge.ingress);
    third.send(&report(&body("m3", "read")));
    assert_eq!(third.answer().status, 200);
    // This connection is used again, so it is no longer the longest idle.
    first.send(&report(&body("m1", "failed")));
    assert_eq!(first.answer().status, 200);
    assert_eq!(bridge.metric(DISPLACED), 0);

    let mut fourth = Connection::open(bridge.ingress);
    fourth.send(&report(&body("m4", "read")));
    assert_eq!(fourth.answer().status, 200);
    assert!(silent.is_closed());
    let mut fifth = Connection::open(bridge.ingress);
    fifth.send(&report(&body("m5", "read")));
    assert_eq!(fifth.answer().status, 200);
    assert!(third.is_closed());
    first.send(&report(&body("m1", "delivered")));
    assert_eq!(first.answer().status, 200);
    assert_eq!(
        (bridge.metric(CONNECTIONS), bridge.metric(DISPLACED)),
        (3, 2)
    );
    bridge.wait_for_log("the limit on connections is reached");
}

#[test]
fn accepting_waits_while_no_connection_is_idle() {
    let kafka = cluster::exclusive();
    let (bridge, ..) =
        Bridge::with_topics(&kafka, 1, &[("ingress.connections", "2"), LONG_DEADLINE]);
    kafka.freeze_all();
    let mut senders = waiting(&bridge, 2);
    bridge.wait_for_metric(IN_FLIGHT, 2);
    let mut third = Connection::open(bridge.ingress);
    third.send(&report(&body("m3", "read")));
    kafka.thaw_all();
    for sender in &mut senders {
        assert_eq!(sender.answer().status, 200);
    }
    // When a sender is answered, its connection becomes idle a moment later, and makes room.
    assert_eq!(third.answer().status, 200);
    assert_eq!(
        (bridge.metric(CONNECTIONS), bridge.metric(DISPLACED)),
        (2, 1)
    );
}
