//! The answers to every case of the contract, in the order in which they are checked.

use crate::support::bridge::{Bridge, CHANNEL, PASSWORD, eventually};
use crate::support::cluster;
use crate::support::http::{Connection, body, exchange, path, post, report, request};
use crate::support::records::read_all;

#[test]
fn a_success_is_200_and_empty() {
    let kafka = cluster::shared();
    let (bridge, topic, _) = Bridge::with_topics(&kafka, 3, &[]);
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
fn a_success_is_202_or_204_if_configured() {
    let kafka = cluster::shared();
    for status in [202, 204] {
        let setting = status.to_string();
        let (bridge, ..) = Bridge::with_topics(&kafka, 3, &[("ingress.success_status", &setting)]);
        let answer = exchange(bridge.ingress, &report(&body("m1", "delivered")));
        assert_eq!((answer.status, answer.body), (status, Vec::new()));
    }
}

#[test]
fn any_other_path_is_404_without_normalization() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 3, &[]);
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
fn a_query_is_ignored_and_an_absolute_target_accepted() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 3, &[]);
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
    let (bridge, ..) = Bridge::with_topics(&kafka, 3, &[]);
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
    let (bridge, topic, rejected) = Bridge::with_topics(&kafka, 3, &[]);
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
        // A wrong type, length or expectation as well: the password is checked first.
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
    let failures = [CHANNEL, ""].map(|channel| {
        let series = format!("koobridge_authentication_failures_total{{channel=\"{channel}\"}}");
        bridge.metric(&series)
    });
    assert_eq!(failures.iter().sum::<u64>(), count);
    assert!(failures.iter().all(|of_one| *of_one > 0), "{failures:?}");
    // Known and unknown channels share one throttled line.
    let told = bridge.logged().matches("repeated passwords").count();
    assert_eq!(told, 1, "{}", bridge.logged());
    assert!(read_all(kafka.bootstrap(), &topic).is_empty());
    assert!(read_all(kafka.bootstrap(), &rejected).is_empty());
    assert!(!bridge.logged().contains("s3cret"));
}

/// If only the first failure created the series, its time would reveal a known channel.
#[test]
fn every_channel_has_its_series_of_failures_from_the_start() {
    let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &[]);
    let is_shown = |channel: &str| {
        let line = format!("koobridge_authentication_failures_total{{channel=\"{channel}\"}} 0");
        let metrics = bridge.probe("/metrics").text();
        let is_shown = metrics.lines().any(|shown| shown == line);
        is_shown.then_some(()).ok_or(line)
    };
    for channel in ["", CHANNEL] {
        assert_eq!(is_shown(channel), Ok(()));
    }
    let added = bridge.directory().join("channels/added");
    std::fs::write(added, "password").expect("a channel");
    eventually(|| is_shown("added"));
}

#[test]
fn the_head_is_checked_before_the_body_is_requested() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 3, &[]);
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
            &[("Content-Type", None), ("Content-Length", Some(&large))],
            413,
            "body-too-large",
        ),
        (
            &[expect, ("Content-Length", Some(&large))],
            413,
            "body-too-large",
        ),
    ] {
        let mut connection = Connection::open(bridge.ingress);
        // Sends only the head: when the answer waited for the body, it would never come.
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
    let (bridge, ..) = Bridge::with_topics(&kafka, 3, &[]);
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
fn one_connection_carries_many_reports_even_pipelined() {
    let kafka = cluster::shared();
    let (bridge, topic, _) = Bridge::with_topics(&kafka, 3, &[]);
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
fn a_refused_request_leaves_the_connection_open() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 3, &[]);
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
