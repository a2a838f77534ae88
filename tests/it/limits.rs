//! Limits on the size and duration of one request or connection. The limits on their sum are in `overload`.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::bridge::{BUSY, Bridge, eventually};
use crate::support::cluster;
use crate::support::http::{Connection, body, exchange, post, report, request};

/// Allows the delay that a busy machine may add to the limit.
fn assert_close_to(took: Duration, limit: Duration) {
    assert!(
        took >= limit && took < limit + BUSY,
        "{took:?} is not about {limit:?}"
    );
}

#[test]
fn a_body_at_the_limit_is_accepted_and_a_larger_one_is_413() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[("ingress.body_limit", "1 KiB")]);
    let mut exact = body("m1", "read");
    exact.resize(1024, b' ');
    assert_eq!(exchange(bridge.ingress, &report(&exact)).status, 200);
    exact.push(b' ');
    assert_eq!(exchange(bridge.ingress, &report(&exact)).status, 413);
}

#[test]
fn a_slow_body_is_408_and_closed() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[("ingress.body_timeout", "300ms")]);
    let line = post();
    let mut connection = Connection::open(bridge.ingress);
    let started = Instant::now();
    connection.send(&request(&line, &[("Content-Length", Some("500"))], b"{"));
    let answer = connection.answer();
    assert_close_to(started.elapsed(), Duration::from_millis(300));
    assert_eq!(
        (answer.status, answer.problem().0),
        (408, "body-timeout".to_owned())
    );
    assert_eq!(answer.header("connection"), Some("close"));
}

#[test]
fn a_slow_head_and_an_idle_connection_have_separate_limits() {
    let kafka = cluster::shared();
    let settings = [
        ("ingress.head_timeout", "300ms"),
        ("ingress.idle_timeout", "4s"),
    ];
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &settings);

    let mut slow = Connection::open(bridge.ingress);
    let started = Instant::now();
    slow.send(b"POST / HTTP/1.1\r\nHost:");
    assert!(slow.is_closed());
    assert_close_to(started.elapsed(), Duration::from_millis(300));

    let mut idle = Connection::open(bridge.ingress);
    for _ in 0..5 {
        // The sum exceeds the limit, because the limit counts from the last answer, not from the first byte.
        thread::park_timeout(Duration::from_secs(1));
        idle.send(&report(&body("m1", "read")));
        assert_eq!(idle.answer().status, 200);
    }
    let started = Instant::now();
    assert!(idle.is_closed());
    // The bridge's clock starts a moment before this one.
    assert_close_to(
        started.elapsed() + Duration::from_millis(50),
        Duration::from_secs(4),
    );
}

#[test]
fn the_first_answer_after_the_connection_age_closes_it() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[("ingress.connection_age", "2s")]);
    let started = Instant::now();
    let mut connection = Connection::open(bridge.ingress);
    let last = eventually(|| {
        connection.send(&report(&body("m1", "read")));
        let answer = connection.answer();
        assert_eq!(answer.status, 200);
        let is_last = answer.header("connection") == Some("close");
        is_last.then(Instant::now).ok_or("it stays".to_owned())
    });
    // The age is reduced by up to a tenth.
    assert_close_to(last - started, Duration::from_millis(1800));
    assert!(connection.is_closed());
}

#[test]
fn idle_connections_cost_little_memory() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[]);
    let resident = || bridge.resident_bytes();
    let open = |count: usize| -> Vec<Connection> {
        let mut connections: Vec<Connection> = (0..count)
            .map(|_| Connection::open(bridge.ingress))
            .collect();
        for connection in &mut connections {
            connection.send(&report(&body("m1", "read")));
        }
        for connection in &mut connections {
            assert_eq!(connection.answer().status, 200);
        }
        connections
    };
    let warm = open(50);
    let before = resident();
    let connections = open(800);
    eventually(|| match bridge.metric("koobridge_connections") {
        850 => Ok(()),
        other => Err(format!("{other} connections")),
    });
    let each = resident().saturating_sub(before) / 800;
    assert!(each <= 30 << 10, "{each} bytes a connection");
    drop((warm, connections));
}
