//! Framing: requests that are unsound, and unusual ones that are accepted.

use crate::support::bridge::{Bridge, CHANNEL};
use crate::support::cluster;
use crate::support::http::{Connection, body, exchange, path, post, request};
use crate::support::records::read_all;

#[test]
fn unsound_framing_is_400_and_closed_before_anything_else() {
    let kafka = cluster::shared();
    let (bridge, topic, rejected) = Bridge::with_topics(&kafka, 3, &[]);
    let body = body("m1", "read");
    let chunked = ("Transfer-Encoding", Some("chunked"));
    let no_length = ("Content-Length", None);
    // The path is unknown and the password wrong too: framing is checked first.
    let astray = "POST /nowhere HTTP/1.1";
    for (line, changes, code) in [
        (astray, &[("Host", None)][..], "host-missing"),
        (
            astray,
            &[("Host", Some("a")), ("Host", Some("a"))],
            "host-repeated",
        ),
        (astray, &[("Host", Some(""))], "host-malformed"),
        (astray, &[("Host", Some("user@bridge"))], "host-malformed"),
        (astray, &[("Host", Some("a b"))], "host-malformed"),
        (astray, &[("Host", Some("bridge:https"))], "host-malformed"),
        (astray, &[("Host", Some("bridge:65536"))], "host-malformed"),
        (
            astray,
            &[no_length, ("Transfer-Encoding", Some("gzip, chunked"))],
            "transfer-encoding",
        ),
        (astray, &[no_length, chunked, chunked], "transfer-encoding"),
    ] {
        let mut connection = Connection::open(bridge.ingress);
        connection.send(&request(line, changes, &body));
        let answer = connection.answer();
        assert_eq!(
            (answer.status, answer.problem()),
            (400, (code.to_owned(), None)),
            "{changes:?}"
        );
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(connection.is_closed(), "{changes:?}");
    }
    assert!(read_all(kafka.bootstrap(), &topic).is_empty());
    assert!(read_all(kafka.bootstrap(), &rejected).is_empty());
}

#[test]
fn requests_that_hyper_refuses_are_counted_too() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 3, &[]);
    let long = format!(
        "{} HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "POST /",
        "x".repeat(17 << 10)
    );
    for (bytes, status) in [
        (&b"POST / HTTP/1.1\r\nHost : a\r\n\r\n"[..], 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            400,
        ),
        (b"nonsense\r\n\r\n", 400),
        (long.as_bytes(), 431),
    ] {
        let mut connection = Connection::open(bridge.ingress);
        connection.send(bytes);
        let answer = connection.answer();
        assert_eq!(
            (answer.status, answer.body),
            (status, Vec::new()),
            "{}",
            bytes.escape_ascii()
        );
        assert!(connection.is_closed());
    }
    bridge.wait_for_metric("koobridge_answers_total{code=\"400\"}", 5);
    bridge.wait_for_metric("koobridge_answers_total{code=\"431\"}", 1);
}

#[test]
fn a_chunked_body_is_accepted_and_a_large_one_is_413() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 3, &[]);
    let chunked = [
        ("Content-Length", None),
        ("Transfer-Encoding", Some("Chunked")),
    ];
    let head = request(&post(), &chunked, b"");
    let body = body("m1", "read");
    let (first, second) = body.split_at(10);
    let chunk = |part: &[u8]| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
    let sound = [&head[..], &chunk(first), &chunk(second), b"0\r\n\r\n"].concat();
    assert_eq!(exchange(bridge.ingress, &sound).status, 200);

    let large = [
        &head[..],
        &chunk(&b" ".repeat(40 << 10)),
        &chunk(&b" ".repeat(40 << 10)),
    ]
    .concat();
    let answer = exchange(bridge.ingress, &large);
    assert_eq!(
        (answer.status, answer.problem().0),
        (413, "body-too-large".to_owned())
    );
}

#[test]
fn a_broken_or_cut_body_is_400_and_closed() {
    let kafka = cluster::shared();
    let (bridge, topic, rejected) = Bridge::with_topics(&kafka, 3, &[]);
    let chunked = [
        ("Content-Length", None),
        ("Transfer-Encoding", Some("chunked")),
    ];
    let broken = request(&post(), &chunked, b"zz\r\n{}\r\n0\r\n\r\n");
    let cut = request(
        &post(),
        &[("Content-Length", Some("500"))],
        &body("m1", "read"),
    );
    for bytes in [broken, cut] {
        let mut connection = Connection::open(bridge.ingress);
        connection.send(&bytes);
        connection.half_close();
        let answer = connection.answer();
        assert_eq!(
            (answer.status, answer.problem()),
            (400, ("body-broken".to_owned(), None))
        );
        assert!(connection.is_closed());
    }
    assert!(read_all(kafka.bootstrap(), &topic).is_empty());
    assert!(read_all(kafka.bootstrap(), &rejected).is_empty());
}

#[test]
fn http_1_0_is_answered_and_closed() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 3, &[]);
    let line = format!("POST {} HTTP/1.0", path(CHANNEL));
    for changes in [
        &[][..],
        &[("Host", None)],
        &[("Expect", Some("100-continue"))],
    ] {
        let mut connection = Connection::open(bridge.ingress);
        connection.send(&request(&line, changes, &body("m1", "read")));
        assert_eq!(connection.answer().status, 200, "{changes:?}");
        assert!(connection.is_closed());
    }
    let chunked = [
        ("Content-Length", None),
        ("Transfer-Encoding", Some("chunked")),
    ];
    let answer = exchange(bridge.ingress, &request(&line, &chunked, b"0\r\n\r\n"));
    assert_eq!(answer.status, 400);
}
