//! What is answered: every case of the contract, in its order of refusal.

use crate::bridge::{Bridge, CHANNEL, PASSWORD};
use crate::cluster::{self, Shared};
use crate::http::{Connection, body, exchange, path, report, request};
use crate::records::read_all;

/// A bridge with topics of its own.
fn bridge(kafka: &Shared, settings: &[(&str, &str)]) -> (Bridge, String, String) {
    let topic = kafka.topic("answers", 3);
    let rejected = kafka.topic("answers-rejected", 3);
    let bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, settings);
    (bridge, topic, rejected)
}

fn post() -> String {
    format!("POST {} HTTP/1.1", path(CHANNEL))
}

#[test]
fn a_success_is_200_and_empty() {
    let kafka = cluster::shared();
    let (bridge, topic, _) = bridge(&kafka, &[]);
    let answer = exchange(bridge.ingress, &report(&body("m1", "delivered")));
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (200, Some("0"))
    );
    assert_eq!(answer.header("content-type"), None);
    assert_eq!(read_all(kafka.bootstrap(), &topic).len(), 1);
    assert_eq!(bridge.metric("koobridge_answers_total{code=\"200\"}"), 1);
    assert_eq!(
        bridge.metric("koobridge_reports_total{answer=\"accepted\"}"),
        1
    );
    assert_eq!(
        bridge.metric("koobridge_report_fates_total{fate=\"delivered\"}"),
        1
    );
    assert_eq!(bridge.metric("koobridge_reports_in_flight"), 0);
    assert_eq!(bridge.metric("koobridge_in_flight_bytes"), 0);
}

#[test]
fn a_success_is_202_or_204_where_that_is_configured() {
    let kafka = cluster::shared();
    for status in [202, 204] {
        let setting = status.to_string();
        let (bridge, ..) = bridge(&kafka, &[("ingress.success_status", &setting)]);
        let answer = exchange(bridge.ingress, &report(&body("m1", "delivered")));
        assert_eq!((answer.status, answer.body), (status, Vec::new()));
    }
}

#[test]
fn unsound_framing_is_400_and_closed_before_anything_else() {
    let kafka = cluster::shared();
    let (bridge, topic, rejected) = bridge(&kafka, &[]);
    let body = body("m1", "read");
    let chunked = ("Transfer-Encoding", Some("chunked"));
    let no_length = ("Content-Length", None);
    // An unknown path and a wrong password too: framing comes first.
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
fn what_hyper_refuses_by_itself_is_counted_too() {
    let kafka = cluster::shared();
    let (bridge, ..) = bridge(&kafka, &[]);
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
fn any_other_path_is_404_as_it_came() {
    let kafka = cluster::shared();
    let (bridge, ..) = bridge(&kafka, &[]);
    let long = "x".repeat(65);
    for target in [
        "/",
        "*",
        "/social/on/whatsapp/koomessage/report/",
        "/social/on/whatsapp/koomessage/report",
        "/social/on/whatsapp/koomessage/report/a/b",
        "/social/on/whatsapp/koomessage/report/a/",
        "/social/on/whatsapp/koomessage/report/%61",
        "/social/on/whatsapp/koomessage/report/a.b",
        "/social/on/whatsapp/koomessage/./report/a",
        "//social/on/whatsapp/koomessage/report/a",
        "/SOCIAL/on/whatsapp/koomessage/report/a",
        &format!("/social/on/whatsapp/koomessage/report/{long}"),
    ] {
        for method in ["POST", "GET", "OPTIONS"] {
            let line = format!("{method} {target} HTTP/1.1");
            let answer = exchange(bridge.ingress, &request(&line, &[], b""));
            assert_eq!(
                (answer.status, answer.problem()),
                (404, ("not-found".to_owned(), None)),
                "{line}"
            );
        }
    }
}

#[test]
fn a_query_is_ignored_and_an_absolute_target_taken() {
    let kafka = cluster::shared();
    let (bridge, ..) = bridge(&kafka, &[]);
    for target in [
        format!("{}?a=b", path(CHANNEL)),
        format!("http://bridge{}", path(CHANNEL)),
    ] {
        let line = format!("POST {target} HTTP/1.1");
        let answer = exchange(bridge.ingress, &request(&line, &[], &body("m1", "read")));
        assert_eq!(answer.status, 200, "{target}");
    }
}

#[test]
fn any_other_method_is_405_even_without_a_password() {
    let kafka = cluster::shared();
    let (bridge, ..) = bridge(&kafka, &[]);
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        let line = format!("{method} {} HTTP/1.1", path(CHANNEL));
        let answer = exchange(
            bridge.ingress,
            &request(&line, &[("Authorization", None)], b""),
        );
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some("POST")),
            "{method}"
        );
        assert_eq!(answer.problem().0, "method-not-allowed");
    }
    let head = format!(
        "HEAD {} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        path(CHANNEL)
    );
    let mut connection = Connection::open(bridge.ingress);
    connection.send(head.as_bytes());
    bridge.wait_for_metric("koobridge_answers_total{code=\"405\"}", 8);
}

#[test]
fn a_wrong_password_and_an_unknown_channel_are_the_same_401() {
    let kafka = cluster::shared();
    let (bridge, topic, rejected) = bridge(&kafka, &[]);
    let body = body("m1", "read");
    let unknown = format!("POST {} HTTP/1.1", path("unknown"));
    let [post, unknown] = [post(), unknown];
    let refused = [
        (&post, &[("Authorization", Some("wrong"))][..]),
        (&post, &[("Authorization", None)]),
        (&post, &[("Authorization", Some(""))]),
        (
            &post,
            &[
                ("Authorization", Some(PASSWORD)),
                ("Authorization", Some(PASSWORD)),
            ],
        ),
        (
            &post,
            &[("Authorization", Some("Basic s3cret, with spaces"))],
        ),
        (&post, &[("Authorization", Some("S3cret, with spaces"))]),
        (&unknown, &[]),
        (&unknown, &[("Authorization", None)]),
        // No type, no length that would do, an expectation: the password comes first.
        (
            &post,
            &[
                ("Authorization", Some("wrong")),
                ("Content-Type", None),
                ("Expect", Some("x")),
            ],
        ),
    ];
    let answers: Vec<_> = refused
        .iter()
        .map(|(line, changes)| exchange(bridge.ingress, &request(line, changes, &body)))
        .collect();
    for answer in &answers {
        assert_eq!(answer.status, 401);
        assert_eq!(
            answer.header("www-authenticate"),
            Some("WebhookPassword realm=\"koobridge\"")
        );
        assert_eq!(answer.problem(), ("unauthorized".to_owned(), None));
        assert_eq!(answer.body, answers[0].body);
    }
    let count = u64::try_from(refused.len()).expect("few");
    assert_eq!(
        bridge.metric("koobridge_authentication_failures_total"),
        count
    );
    assert!(read_all(kafka.bootstrap(), &topic).is_empty());
    assert!(read_all(kafka.bootstrap(), &rejected).is_empty());
    assert!(!bridge.logged().contains("s3cret"));
}

#[test]
fn the_head_must_pass_before_the_body_is_asked_for() {
    let kafka = cluster::shared();
    let (bridge, ..) = bridge(&kafka, &[]);
    let expect = ("Expect", Some("100-continue"));
    let large = (64 << 10) + 1;
    let large = large.to_string();
    for (changes, status, code) in [
        (
            &[expect, ("Authorization", Some("wrong"))][..],
            401,
            "unauthorized",
        ),
        (&[("Expect", Some("200-ok"))], 417, "expectation"),
        (
            &[("Expect", Some("200-ok")), ("Content-Type", None)],
            417,
            "expectation",
        ),
        (
            &[expect, ("Content-Type", Some("text/plain"))],
            415,
            "content-type",
        ),
        (&[expect, ("Content-Type", None)], 415, "content-type"),
        (
            &[
                expect,
                ("Content-Type", Some("application/json; charset=latin1")),
            ],
            415,
            "content-type",
        ),
        (
            &[expect, ("Content-Encoding", Some("gzip"))],
            415,
            "content-encoding",
        ),
        (
            &[("Content-Type", None), ("Content-Length", Some(&large))],
            415,
            "content-type",
        ),
        (
            &[expect, ("Content-Length", Some(&large))],
            413,
            "body-too-large",
        ),
    ] {
        let mut connection = Connection::open(bridge.ingress);
        // The head alone: an answer that waited for the body would never come.
        connection.send(&request(&post(), changes, b""));
        let answer = connection.answer();
        assert_eq!(
            (answer.status, answer.problem()),
            (status, (code.to_owned(), None)),
            "{changes:?}"
        );
    }
}

#[test]
fn a_sender_that_waits_for_100_continue_gets_it() {
    let kafka = cluster::shared();
    let (bridge, ..) = bridge(&kafka, &[]);
    let body = body("m1", "read");
    let length = body.len().to_string();
    let mut connection = Connection::open(bridge.ingress);
    connection.send(&request(
        &post(),
        &[
            ("Expect", Some("100-Continue")),
            ("Content-Length", Some(&length)),
        ],
        b"",
    ));
    assert_eq!(connection.answer().status, 100);
    connection.send(&body);
    assert_eq!(connection.answer().status, 200);
}

#[test]
fn a_chunked_body_is_taken_and_a_large_one_is_413() {
    let kafka = cluster::shared();
    let (bridge, ..) = bridge(&kafka, &[]);
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
    let (bridge, topic, rejected) = bridge(&kafka, &[]);
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
    let (bridge, ..) = bridge(&kafka, &[]);
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

#[test]
fn one_connection_carries_many_reports_also_pipelined() {
    let kafka = cluster::shared();
    let (bridge, topic, _) = bridge(&kafka, &[]);
    let mut connection = Connection::open(bridge.ingress);
    for number in 0..3 {
        connection.send(&report(&body(&format!("m{number}"), "read")));
        assert_eq!(connection.answer().status, 200);
    }
    connection.send(&[report(&body("m3", "read")), report(&body("m4", "read"))].concat());
    assert_eq!(
        [connection.answer().status, connection.answer().status],
        [200, 200]
    );
    assert_eq!(read_all(kafka.bootstrap(), &topic).len(), 5);
    assert_eq!(bridge.metric("koobridge_connections"), 1);
}

#[test]
fn a_refused_request_does_not_cost_the_connection() {
    let kafka = cluster::shared();
    let (bridge, ..) = bridge(&kafka, &[]);
    let mut connection = Connection::open(bridge.ingress);
    connection.send(&request(
        &post(),
        &[("Authorization", Some("wrong"))],
        &body("m1", "read"),
    ));
    assert_eq!(connection.answer().status, 401);
    connection.send(&request(&post(), &[], b"{}"));
    assert_eq!(connection.answer().status, 400);
    connection.send(&report(&body("m1", "read")));
    assert_eq!(connection.answer().status, 200);
}
