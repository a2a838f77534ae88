//! Reports that could not be accepted, kept whole on the rejected topic.

use crate::support::bridge::{Bridge, CHANNEL};
use crate::support::cluster;
use crate::support::http::{Connection, body, exchange, post, report, request};
use crate::support::records::read_all;

/// A body that breaks the contract, with the expected reason.
struct Breach {
    body: Vec<u8>,
    reason: &'static str,
    member: Option<&'static str>,
    /// The rejected record's key.
    key: Option<&'static str>,
}

/// Returns bodies that are unsound as a whole.
fn unsound_bodies() -> impl Iterator<Item = Breach> {
    let cases = [
        (&b""[..], "not-json"),
        (b"status=read", "not-json"),
        (
            br#"{"sender":"s","user_number":"u","message_id":"m","status":"read"}x"#,
            "not-json",
        ),
        (b"{\"sender\":\"\x00\"}", "not-json"),
        (b"[1]", "not-an-object"),
        (b"null", "not-an-object"),
        (b"{\"x\":\"\xff\"}", "invalid-utf8"),
    ];
    cases.into_iter().map(|(body, reason)| Breach {
        body: body.to_vec(),
        reason,
        member: None,
        key: None,
    })
}

/// Returns bodies with an unsound member, whose `message_id` can be read.
fn unsound_members() -> impl Iterator<Item = Breach> {
    let status = Some("status");
    let deep = format!(
        r#""status":"read","x":{}1{}"#,
        "[".repeat(64),
        "]".repeat(64)
    );
    let long = format!(r#""status":"{}""#, "x".repeat(257));
    let cases = [
        (deep, "too-deep", None, Some("m")),
        (
            r#""status":"read","st\u0061tus":"read""#.to_owned(),
            "duplicate-member",
            status,
            Some("m"),
        ),
        (
            r#""status":"read","x":1,"x":2"#.to_owned(),
            "duplicate-member",
            Some("x"),
            Some("m"),
        ),
        (r#""x":1"#.to_owned(), "member-missing", status, Some("m")),
        (
            r#""status":1"#.to_owned(),
            "member-not-a-string",
            status,
            Some("m"),
        ),
        (
            r#""status":null"#.to_owned(),
            "member-not-a-string",
            status,
            Some("m"),
        ),
        (
            r#""status":"""#.to_owned(),
            "member-empty",
            status,
            Some("m"),
        ),
        (long, "member-too-long", status, Some("m")),
        (
            r#""status":"re\u0000ad""#.to_owned(),
            "member-control-character",
            status,
            Some("m"),
        ),
        (
            r#""status":"\ud800""#.to_owned(),
            "member-lone-surrogate",
            status,
            Some("m"),
        ),
    ];
    cases.into_iter().map(|(rest, reason, member, key)| {
        let body = format!(r#"{{"sender":"s","user_number":"u","message_id":"m",{rest}}}"#);
        Breach {
            body: body.into_bytes(),
            reason,
            member,
            key,
        }
    })
}

#[test]
fn each_breach_is_400_names_its_member_and_is_kept_whole() {
    let kafka = cluster::shared();
    let (bridge, topic, rejected) = Bridge::with_topics(&kafka, 1, &[]);
    let cases: Vec<Breach> = unsound_bodies().chain(unsound_members()).collect();
    for Breach {
        body,
        reason,
        member,
        ..
    } in &cases
    {
        let answer = exchange(bridge.ingress, &report(body));
        let text = body.escape_ascii().to_string();
        assert_eq!(answer.status, 400, "{text}");
        assert_eq!(
            answer.problem(),
            ((*reason).to_owned(), member.map(str::to_owned)),
            "{text}"
        );
        assert_eq!(answer.header("connection"), None, "{text}");
    }
    let records = read_all(kafka.bootstrap(), &rejected);
    assert_eq!(records.len(), cases.len());
    for (
        record,
        Breach {
            body,
            reason,
            member,
            key,
        },
    ) in records.iter().zip(&cases)
    {
        assert_eq!(record.value.as_deref(), Some(&body[..]));
        assert_eq!(record.key.as_deref(), key.map(str::as_bytes), "{reason}");
        assert_eq!(record.header("stage"), Some("contract"));
        assert_eq!(record.header("reason"), Some(*reason));
        assert_eq!(record.header("member"), *member);
        assert_eq!(record.header("channel_id"), Some(CHANNEL));
        let received_at: jiff::Timestamp = record
            .header("received_at")
            .expect("a time")
            .parse()
            .expect("RFC 3339");
        assert_eq!(record.timestamp, Some(received_at.as_millisecond()));
    }
    assert!(read_all(kafka.bootstrap(), &topic).is_empty());
    let count = u64::try_from(cases.len()).expect("few");
    assert_eq!(
        bridge.metric("koobridge_reports_total{answer=\"rejected\"}"),
        count
    );
    assert_eq!(
        bridge.metric("koobridge_report_fates_total{fate=\"delivered\"}"),
        count
    );
}

#[test]
fn an_unknown_status_is_accepted_and_kept_for_a_later_version() {
    let kafka = cluster::shared();
    let (bridge, topic, rejected) = Bridge::with_topics(&kafka, 1, &[]);
    let body = body("m1", "deleted");
    let answer = exchange(bridge.ingress, &report(&body));
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    let records = read_all(kafka.bootstrap(), &rejected);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].value, Some(body));
    assert_eq!(records[0].key.as_deref(), Some(&b"m1"[..]));
    assert_eq!(records[0].header("reason"), Some("unknown-status"));
    assert!(read_all(kafka.bootstrap(), &topic).is_empty());
    assert_eq!(
        bridge.metric("koobridge_reports_total{answer=\"accepted\"}"),
        1
    );
}

#[test]
fn no_answer_repeats_a_value() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[]);
    for body in [
        r#"{"sender":"8617312345678","user_number":"","message_id":"m","status":"read"}"#,
        r#"{"8617312345678":1,"8617312345678":2,"message_id":"m"}"#,
        r#"{"sender":8617312345678,"message_id":"m"}"#,
        "8617312345678",
    ] {
        let answer = exchange(bridge.ingress, &report(body.as_bytes()));
        assert_eq!(answer.status, 400);
        assert!(
            !answer.text().contains("8617312345678"),
            "{}",
            answer.text()
        );
    }
}

#[test]
fn without_the_rejected_topic_a_bad_report_is_503_and_a_good_one_200() {
    let kafka = cluster::shared();
    let topic = kafka.topic("alone", 1);
    let bridge = Bridge::ready(kafka.bootstrap(), &topic, "there-is-no-such-topic", &[]);
    let answer = exchange(bridge.ingress, &report(b"{}"));
    assert_eq!(
        (answer.status, answer.problem().0),
        (503, "kafka-unavailable".to_owned())
    );
    let answer = exchange(bridge.ingress, &report(&body("m1", "unheard-of")));
    assert_eq!(answer.status, 503);
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m1", "read"))).status,
        200
    );
    assert_eq!(read_all(kafka.bootstrap(), &topic).len(), 1);
}

#[test]
fn an_unauthenticated_request_is_never_kept() {
    let kafka = cluster::shared();
    let (bridge, _, rejected) = Bridge::with_topics(&kafka, 1, &[]);
    let line = post();
    let wrong = request(&line, &[("Authorization", Some("wrong"))], b"{}");
    assert_eq!(exchange(bridge.ingress, &wrong).status, 401);
    assert!(read_all(kafka.bootstrap(), &rejected).is_empty());
}

const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00";

/// Changes to a request's headers.
type Changes = &'static [(&'static str, Option<&'static str>)];

/// Headers that break the contract, the reason code, and the header value that is kept.
#[rustfmt::skip]
const ODD_HEADERS: [(Changes, &str, Option<&str>); 11] = [
    (&[("Content-Type", Some("text/plain"))], "content-type", Some("text/plain")),
    (&[("Content-Type", None)], "content-type", None),
    (&[("Content-Type", Some(""))], "content-type", None),
    (&[("Content-Type", Some("application/json")), ("Content-Type", Some("application/json"))],
     "content-type", Some("application/json, application/json")),
    (&[("Content-Type", Some("application/json; charset=UTF-8; boundary=x"))],
     "content-type", Some("application/json; charset=UTF-8; boundary=x")),
    (&[("Content-Type", Some("application/json; charset=GBK"))], "content-type", Some("application/json; charset=GBK")),
    (&[("Content-Encoding", Some("gzip"))], "content-encoding", Some("gzip")),
    (&[("Content-Encoding", Some("gzip, identity"))], "content-encoding", Some("gzip, identity")),
    (&[("Content-Encoding", Some("identity")), ("Content-Encoding", Some("br"))], "content-encoding", Some("identity, br")),
    (&[("Content-Encoding", Some(""))], "content-encoding", None),
    (&[("Content-Type", Some("text/plain")), ("Content-Encoding", Some("gzip"))], "content-type", Some("text/plain")),
];

#[test]
fn a_report_with_another_type_or_encoding_is_415_and_kept_whole() {
    let kafka = cluster::shared();
    let (bridge, topic, rejected) = Bridge::with_topics(&kafka, 1, &[]);
    let long = "x".repeat(300);
    let cut = "x".repeat(256);
    let long = [("Content-Type", Some(&*long))];
    let cases = [(&long[..], "content-type", Some(&*cut))];
    let cases: Vec<_> = ODD_HEADERS.into_iter().chain(cases).collect();
    let bodies = [(body("m1", "read"), Some("m1")), (GZIP.to_vec(), None)];
    // All of them use one connection.
    let mut connection = Connection::open(bridge.ingress);
    for (changes, reason, _) in &cases {
        for (body, _) in &bodies {
            connection.send(&request(&post(), changes, body));
            let answer = connection.answer();
            assert_eq!(answer.status, 415, "{changes:?}");
            assert_eq!(answer.problem(), ((*reason).to_owned(), None));
            assert_eq!(answer.header("connection"), None, "{changes:?}");
        }
    }
    let records = read_all(kafka.bootstrap(), &rejected);
    assert_eq!(records.len(), cases.len() * bodies.len());
    let expected = cases
        .iter()
        .flat_map(|case| bodies.iter().map(move |body| (case, body)));
    for (record, ((_, reason, value), (body, key))) in records.iter().zip(expected) {
        assert_eq!(record.value.as_ref(), Some(body));
        assert_eq!(record.key.as_deref(), key.map(str::as_bytes));
        assert_eq!(record.header("stage"), Some("contract"));
        assert_eq!(record.header("reason"), Some(*reason));
        assert_eq!(record.header("header_value"), *value);
        assert_eq!(record.header("member"), None);
    }
    assert!(read_all(kafka.bootstrap(), &topic).is_empty());
    for (series, count) in [
        (
            "koobridge_reports_rejected_total{reason=\"content-type\"}",
            16,
        ),
        (
            "koobridge_reports_rejected_total{reason=\"content-encoding\"}",
            8,
        ),
        ("koobridge_reports_total{answer=\"rejected\"}", 24),
        ("koobridge_answers_total{code=\"415\"}", 24),
    ] {
        assert_eq!(bridge.metric(series), count, "{series}");
    }
}

#[test]
fn another_spelling_of_the_type_and_no_encoding_are_accepted() {
    let kafka = cluster::shared();
    let (bridge, topic, _) = Bridge::with_topics(&kafka, 1, &[]);
    for change in [
        ("Content-Type", Some("application/json; charset=utf8")),
        ("Content-Type", Some("APPLICATION/JSON;charset=\"utf-8\"")),
        ("Content-Type", Some("application/json")),
        ("Content-Encoding", Some("identity")),
        ("Content-Encoding", Some("Identity")),
    ] {
        let report = request(&post(), &[change], &body("m1", "read"));
        assert_eq!(exchange(bridge.ingress, &report).status, 200, "{change:?}");
    }
    assert_eq!(read_all(kafka.bootstrap(), &topic).len(), 5);
}

#[test]
fn a_partial_report_with_another_type_is_not_kept() {
    let kafka = cluster::shared();
    let (bridge, topic, rejected) = Bridge::with_topics(&kafka, 1, &[]);
    let odd = ("Content-Type", Some("text/plain"));
    let wrong = ("Authorization", Some("wrong"));
    let slow = ("Content-Length", Some("500"));
    let large = ("Content-Length", Some("100000"));
    for (changes, status) in [
        (&[odd, wrong][..], 401),
        (&[odd, slow], 408),
        (&[odd, large], 413),
    ] {
        let report = request(&post(), changes, &body("m1", "read"));
        assert_eq!(exchange(bridge.ingress, &report).status, status);
    }
    assert!(read_all(kafka.bootstrap(), &topic).is_empty());
    assert!(read_all(kafka.bootstrap(), &rejected).is_empty());
}

#[test]
fn a_report_with_another_type_that_cannot_be_kept_is_503() {
    let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &[]);
    for change in [("Content-Type", None), ("Content-Encoding", Some("gzip"))] {
        let answer = exchange(bridge.ingress, &request(&post(), &[change], b"{}"));
        assert_eq!(
            (answer.status, answer.problem().0),
            (503, "kafka-unavailable".to_owned())
        );
    }
}
