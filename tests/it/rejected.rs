//! What could not be accepted, whole, on the rejected topic.

use crate::bridge::{Bridge, CHANNEL};
use crate::cluster;
use crate::http::{body, exchange, post, report, request};
use crate::records::read_all;

/// A body that breaks the contract, and what is said of it.
struct Breach {
    body: Vec<u8>,
    reason: &'static str,
    member: Option<&'static str>,
    /// The rejected record's key.
    key: Option<&'static str>,
}

/// Breaches of the body as a whole.
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

/// Breaches in a body whose `message_id` can be read.
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
fn no_value_is_ever_repeated_in_an_answer() {
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
fn what_was_not_authenticated_is_never_kept() {
    let kafka = cluster::shared();
    let (bridge, _, rejected) = Bridge::with_topics(&kafka, 1, &[]);
    let line = post();
    let wrong = request(&line, &[("Authorization", Some("wrong"))], b"{}");
    assert_eq!(exchange(bridge.ingress, &wrong).status, 401);
    assert!(read_all(kafka.bootstrap(), &rejected).is_empty());
}
