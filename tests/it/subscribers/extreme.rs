//! Valid reports whose unknown members are at the limits of JSON parsers.

use super::{Language, PARTITIONS, Subscriber};
use crate::support::bridge::{Bridge, CHANNEL};
use crate::support::cluster;
use crate::support::http::{exchange, report};

/// Returns members that are appended to valid reports; the body limit is 64 KiB.
fn members() -> Vec<(&'static str, String)> {
    let digits = "7".repeat(60_000);
    let nested =
        |open: &str, close: &str| format!(r#""x":{}{}"#, open.repeat(63), close.repeat(63));
    vec![
        ("arrays", nested("[", "]")),
        ("digits", format!(r#""x":{digits}"#)),
        (
            "exponent",
            r#""x":[1e999999,-1E+999999,1e-999999]"#.to_owned(),
        ),
        ("exponent-digits", format!(r#""x":1e{digits}"#)),
        (
            "event-members",
            r#""channel_id":"x","received_at":1,"event_id":{},"data":[],"extra":{"status":1}"#
                .to_owned(),
        ),
        ("fraction", format!(r#""x":-0.{digits}"#)),
        ("many", many_members()),
        ("name", format!(r#""{}":1"#, "n".repeat(60_000))),
        ("objects", nested(r#"{"":"#, "}").replace(":}", ":1}")),
        (
            "repeated",
            r#""x":{"a":1,"a":2,"":[{"b":0,"b":0}]}"#.to_owned(),
        ),
        (
            "string",
            format!(r#""x":"\u0000{}""#, "\u{e9}".repeat(30_000)),
        ),
        (
            "surrogate",
            r#""x":"\ud800","y":["\udc00\ud800"]"#.to_owned(),
        ),
        (
            "surrogate-name",
            r#""\ud800":1,"\udc00":{"\ud800":1}"#.to_owned(),
        ),
    ]
}

fn many_members() -> String {
    let members: Vec<_> = (0..6_000).map(|at| format!("\"{at}\":0")).collect();
    members.join(",")
}

const GUID: &str = "89791762-2336-4186-9674-299b90a802e2";

pub(super) fn reports_with_extreme_members_are_applied(language: Language) {
    let kafka = cluster::shared();
    let topic = kafka.topic("events", PARTITIONS);
    let rejected = kafka.topic("rejected", PARTITIONS);
    let mut expected = Vec::new();
    // The last case has a header that is not text.
    for (form, setting) in [
        ("binary", ("kafka.event_mode", "binary")),
        ("structured", ("kafka.event_mode", "structured")),
        ("named", ("kafka.schema_id", GUID)),
    ] {
        let bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, &[setting]);
        for (name, members) in members() {
            let id = format!("{form}-{name}");
            let body = format!(
                r#"{{"sender":"s","user_number":"u","message_id":"{id}","status":"read",{members}}}"#
            );
            let answer = exchange(bridge.ingress, &report(body.as_bytes()));
            assert_eq!(answer.status, 200, "{id}: {}", answer.text());
            expected.push([CHANNEL, &id, "read", "1"].map(str::to_owned).to_vec());
        }
    }
    let subscriber = Subscriber::new(language, &kafka, &topic);
    let running = subscriber.start();
    subscriber.wait_until_read(&running);
    running.stop();
    let dead = subscriber.rows("SELECT CAST(key AS TEXT), reason FROM dead_letters ORDER BY 1");
    assert_eq!(dead, [[""; 2]; 0]);
    let messages = subscriber.rows(
        "SELECT channel_id, message_id, status, CAST(reports AS TEXT) FROM messages ORDER BY message_id",
    );
    expected.sort();
    assert_eq!(messages, expected);
}
