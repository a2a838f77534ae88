//! More than the bridge can take: what it sheds, what it keeps, and how much memory that costs.

use std::time::{Duration, Instant};

use crate::bridge::{Bridge, configuration, eventually, koobridge, run};
use crate::cluster;
use crate::http::{Connection, body, exchange, post, report, request};
use crate::records::read_all;

/// The bridge's deadline: what is answered at once is answered long before.
const DEADLINE: Duration = Duration::from_millis(4500);

const IN_FLIGHT: &str = "koobridge_reports_in_flight";
const BYTES: &str = "koobridge_in_flight_bytes";
const CONNECTIONS: &str = "koobridge_connections";
const DISPLACED: &str = "koobridge_connections_displaced_total";

/// A report whose body has `size` bytes, most of them in a member that the contract does not name.
fn sized(message_id: &str, size: usize) -> Vec<u8> {
    let mut body = body(message_id, "read");
    body.pop();
    body.extend_from_slice(b",\"pad\":\"");
    body.resize(size - 2, b'x');
    body.extend_from_slice(b"\"}");
    body
}

#[test]
fn past_the_ceiling_of_reports_a_body_is_not_even_read() {
    let kafka = cluster::exclusive();
    let settings = [("ingress.reports_in_flight", "3")];
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
    assert!(started.elapsed() < DEADLINE);
    assert_eq!(
        (answer.status, answer.problem().0),
        (503, "overloaded".to_owned())
    );
    let retry_after = answer.header("retry-after").expect("when to come back");
    assert!(("1"..="5").contains(&retry_after), "{retry_after}");
    assert_eq!(bridge.metric(IN_FLIGHT), 3);

    kafka.thaw_all();
    for sender in &mut waiting {
        assert_eq!(sender.answer().status, 200);
    }
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m9", "read"))).status,
        200
    );
}

/// So many reports, each sent on a connection of its own and not answered yet.
fn waiting(bridge: &Bridge, count: usize) -> Vec<Connection> {
    let send = |number| {
        let mut sender = Connection::open(bridge.ingress);
        sender.send(&report(&body(&format!("m{number}"), "read")));
        sender
    };
    (0..count).map(send).collect()
}

#[test]
fn what_has_come_of_a_body_counts_against_the_bytes() {
    let kafka = cluster::shared();
    let settings = [
        ("ingress.body_limit", "64 KiB"),
        ("ingress.bytes_in_flight", "80 KiB"),
    ];
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &settings);
    let whole = report(&sized("m1", 60 << 10));
    let (most, rest) = whole.split_at(whole.len() - 1024);
    let mut slow = Connection::open(bridge.ingress);
    slow.send(most);
    bridge.wait_for_metric(BYTES, 59 << 10);

    let answer = exchange(bridge.ingress, &report(&sized("m2", 60 << 10)));
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
        // Kafka has half of the places, and one for each partition that had nothing in flight.
        assert!(bridge.metric(IN_FLIGHT) <= 30 + 6);
    }
    kafka.thaw_all();
    bridge.wait_for_metric("koobridge_spool_reports", 0);
    bridge.wait_for_metric(IN_FLIGHT, 0);
    assert_eq!(read_all(kafka.bootstrap(), &topic).len(), 300);
}

#[test]
fn past_the_ceiling_of_connections_the_longest_idle_makes_room() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[("ingress.connections", "3")]);
    let mut first = Connection::open(bridge.ingress);
    first.send(&report(&body("m1", "read")));
    assert_eq!(first.answer().status, 200);
    let mut silent = Connection::open(bridge.ingress);
    let mut third = Connection::open(bridge.ingress);
    third.send(&report(&body("m3", "read")));
    assert_eq!(third.answer().status, 200);
    // Used again, it is not the longest idle any more.
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
    bridge.wait_for_log("every connection that ingress.connections allows is open");
}

#[test]
fn while_no_connection_is_idle_accepting_waits() {
    let kafka = cluster::exclusive();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[("ingress.connections", "2")]);
    kafka.freeze_all();
    let mut senders = waiting(&bridge, 2);
    bridge.wait_for_metric(IN_FLIGHT, 2);
    let mut third = Connection::open(bridge.ingress);
    third.send(&report(&body("m3", "read")));
    kafka.thaw_all();
    for sender in &mut senders {
        assert_eq!(sender.answer().status, 200);
    }
    // Whoever is served first leaves the place a moment later.
    assert_eq!(third.answer().status, 200);
    assert_eq!(
        (bridge.metric(CONNECTIONS), bridge.metric(DISPLACED)),
        (2, 1)
    );
}

/// What all ceilings are at in the tests of memory.
const CEILINGS: [(&str, &str); 3] = [
    ("ingress.connections", "700"),
    ("ingress.reports_in_flight", "100000"),
    ("ingress.bytes_in_flight", "24 MiB"),
];

/// Nothing is over before everything has come.
const PATIENT: [(&str, &str); 3] = [
    ("ingress.deadline", "120s"),
    ("ingress.body_timeout", "100s"),
    ("ingress.head_timeout", "100s"),
];

/// A report is given up soon, and delivery goes on.
const HASTY: [(&str, &str); 2] = [
    ("ingress.deadline", "300ms"),
    ("ingress.body_timeout", "250ms"),
];

/// The bound that `--print-config` shows with these settings, without the program itself.
fn printed_bound(settings: &[(&str, &str)]) -> u64 {
    let directory = tempfile::tempdir().expect("a directory");
    let file = configuration(directory.path(), "127.0.0.1:1", "events", "rejected");
    let mut command = koobridge();
    command
        .args(["serve", "--print-config", "--config"])
        .arg(file);
    for (key, value) in settings {
        command.args(["--set", &format!("{key}={value}")]);
    }
    let shown = String::from_utf8(run(&mut command).stdout).expect("text");
    let mebibytes = |from: &str, to: &str| -> u64 {
        let line = shown
            .lines()
            .find(|line| line.starts_with('#') && line.contains(from));
        let line = line.unwrap_or_else(|| panic!("no {from:?} in:\n{shown}"));
        let number = line.trim_start_matches(|letter: char| !letter.is_ascii_digit());
        let number = number.split_once(to).expect("its unit").0;
        number.parse().expect("a number")
    };
    (mebibytes("Memory, at most", " MiB") - mebibytes("the program", " MiB")) << 20
}

/// Holds what the bridge took at its most to the bound; the program is another one when it is debugged.
fn assert_within(bound: u64, idle: u64, bridge: &Bridge) {
    let grown = bridge.peak_resident_bytes().saturating_sub(idle);
    println!("{} KiB of {} KiB", grown >> 10, bound >> 10);
    assert!(
        grown <= bound,
        "{grown} bytes, and at most {bound} were announced"
    );
}

fn with_ceilings<'a>(others: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    CEILINGS.iter().chain(others).copied().collect()
}

/// Waits until the bytes are at their ceiling, but for less than what a large report takes.
fn wait_until_full(bridge: &Bridge) {
    eventually(|| match bridge.metric(BYTES) {
        bytes if bytes > 23 << 20 => Ok(()),
        bytes => Err(format!("only {bytes} bytes in flight")),
    });
}

/// Sends on so many new connections, whether all of it is read or not, and leaves them open.
fn send_on_each(bridge: &Bridge, count: usize, bytes: &[u8]) -> Vec<Connection> {
    let send = |_| {
        let mut sender = Connection::open(bridge.ingress);
        sender.send(bytes);
        sender
    };
    (0..count).map(send).collect()
}

#[test]
fn large_reports_and_heads_at_every_ceiling_stay_under_the_bound() {
    let kafka = cluster::exclusive();
    let settings = with_ceilings(&PATIENT);
    let (bridge, ..) = Bridge::with_topics(&kafka, 6, &settings);
    let idle = bridge.resident_bytes();
    kafka.freeze_all();
    let whole = report(&sized("m1", 60 << 10));
    let large = send_on_each(&bridge, 200, &whole);
    let unfinished = send_on_each(&bridge, 100, &whole[..whole.len() - 1]);
    let full = send_on_each(&bridge, 200, &whole);
    let head = request(&post(), &[("X-Pad", Some(&"x".repeat(15 << 10)))], b"");
    let heads = send_on_each(&bridge, 200, &head[..head.len() - 2]);
    bridge.wait_for_metric(CONNECTIONS, 700);
    wait_until_full(&bridge);
    assert_within(printed_bound(&settings), idle, &bridge);
    drop((large, unfinished, full, heads));
    kafka.thaw_all();
}

#[test]
fn small_reports_up_to_the_ceiling_of_bytes_stay_under_the_bound() {
    let kafka = cluster::exclusive();
    let settings = with_ceilings(&HASTY);
    let (bridge, ..) = Bridge::with_topics(&kafka, 6, &settings);
    let idle = bridge.resident_bytes();
    kafka.freeze_all();
    fill(&bridge, 503);
    wait_until_full(&bridge);
    assert_within(printed_bound(&settings), idle, &bridge);
    kafka.thaw_all();
    bridge.wait_for_metric(BYTES, 0);
}

#[test]
fn a_spool_that_fills_and_drains_stays_under_the_bound() {
    let kafka = cluster::exclusive();
    let directory = tempfile::tempdir().expect("a directory");
    let settings = with_ceilings(&[("spool.directory", directory.path().to_str().expect("text"))]);
    let (bridge, ..) = Bridge::with_topics(&kafka, 6, &settings);
    let idle = bridge.resident_bytes();
    kafka.freeze_all();
    fill(&bridge, 200);
    assert!(bridge.metric("koobridge_spool_reports") > 30_000);
    kafka.thaw_all();
    bridge.wait_for_metric("koobridge_spool_reports", 0);
    assert_within(printed_bound(&settings), idle, &bridge);
}

/// Sends small reports, far more than the bytes are for; each is answered by `expected`.
fn fill(bridge: &Bridge, expected: u16) {
    let mut senders: Vec<_> = (0..500).map(|_| Connection::open(bridge.ingress)).collect();
    for round in 0..80 {
        for (number, sender) in senders.iter_mut().enumerate() {
            sender.send(&report(&body(&format!("m{round}-{number}"), "read")));
        }
        for sender in &mut senders {
            assert_eq!(sender.answer().status, expected);
        }
    }
}
