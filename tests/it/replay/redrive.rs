//! `redrive`.

use super::desk::{Desk, FIRST, NewRecord, PARTITIONS, event, exit_code, owned, stderr};
use crate::support::cluster;

/// Returns a report that an older version has rejected.
pub fn rejected(reason: &str, body: &str, key: Option<&str>) -> NewRecord {
    let headers = [
        ("stage", "contract"),
        ("reason", reason),
        ("channel_id", "c1"),
        ("received_at", "2026-11-18T11:06:40.000456Z"),
    ];
    NewRecord {
        key: key.map(Into::into),
        headers: owned(&headers),
        value: Some(body.as_bytes().to_vec()),
        timestamp: FIRST,
    }
}

/// Returns an event that Kafka has refused.
fn refused(number: usize) -> NewRecord {
    let headers = [
        ("stage", "kafka"),
        ("reason", "record-too-large"),
        ("channel_id", "c1"),
        ("received_at", "2026-11-18T11:06:40.000456Z"),
    ];
    NewRecord {
        headers: owned(&headers),
        ..event(number)
    }
}

pub fn valid_report(message: &str) -> String {
    format!(r#"{{"sender":"s","user_number":"u","message_id":"{message}","status":"read"}}"#)
}

fn desk(kafka: &crate::support::records::Kafka) -> Desk<'_> {
    let desk = Desk::new(kafka);
    let records = [
        rejected("unknown-status", &valid_report("m1"), Some("m1")),
        rejected(
            "unknown-status",
            &valid_report("m2").replace("read", "played"),
            Some("m2"),
        ),
        rejected("not-json", "{", None),
        refused(0),
        event(1),
    ];
    desk.write(&desk.rejected, records);
    desk
}

#[test]
fn a_valid_report_becomes_an_event_with_its_arrival_time_and_the_others_stay() {
    let kafka = cluster::shared();
    let desk = desk(&kafka);
    let preview = desk.command("redrive", &["--since", "beginning", "--dry-run"]);
    assert_eq!(exit_code(&preview), 0);
    for row in [
        "rejected for               valid today  still rejected\n",
        "not-json                             0               1\n",
        "record-too-large                     1               0\n",
        "unknown-status                       1               1\n",
    ] {
        assert!(stderr(&preview).contains(row), "{}", stderr(&preview));
    }
    assert_eq!(desk.read(&desk.events), []);

    let output = desk.command("redrive", &["--since", "beginning", "--yes"]);
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("2 records ("),
        "{}",
        stderr(&output)
    );
    let mut events = desk.copies(&desk.events, 2);
    events.sort_by_key(|event| event.key.clone());
    let keys: Vec<_> = events
        .iter()
        .map(|event| event.key.clone().expect("a key"))
        .collect();
    assert_eq!(keys, [b"m0".to_vec(), b"m1".to_vec()]);
    for event in &events {
        assert_eq!(event.timestamp, Some(FIRST));
        assert_eq!(event.header("redrive_topic"), Some(&*desk.rejected));
        assert!(event.header("redrive_id").is_some() && event.header("stage").is_none());
    }
    // Unchanged, with new headers.
    assert_eq!(events[0].value, event(0).value);
    assert_eq!(events[0].header("ce_id"), Some("id-0"));
    let value = String::from_utf8(events[1].value.clone().expect("a value")).expect("text");
    assert!(
        value.contains(r#""received_at":"2026-11-18T11:06:40.000456Z""#),
        "{value}"
    );
    assert_eq!(
        events[1].header("ce_time"),
        Some("2026-11-18T11:06:40.000456Z")
    );
    // Also a marker for each report that was brought back.
    assert_eq!(desk.read(&desk.rejected).len(), 5 + 2);
}

#[test]
fn a_valid_body_with_a_wrong_type_becomes_an_event_and_a_compressed_one_stays() {
    let kafka = cluster::shared();
    let desk = Desk::new(&kafka);
    let with_value = |reason, value, body: &str, key| {
        let mut record = rejected(reason, body, key);
        record.headers.extend(owned(&[("header_value", value)]));
        record
    };
    let gzip = NewRecord {
        value: Some(b"\x1f\x8b\x08\x00".to_vec()),
        ..with_value("content-encoding", "gzip", "", None)
    };
    let records = [
        with_value(
            "content-type",
            "text/plain",
            &valid_report("m1"),
            Some("m1"),
        ),
        with_value("content-type", "text/plain", "status=read", None),
        gzip,
    ];
    desk.write(&desk.rejected, records);
    let preview = desk.command("redrive", &["--since", "beginning", "--dry-run"]);
    assert_eq!(exit_code(&preview), 0, "{}", stderr(&preview));
    for row in [
        "content-encoding                     0               1\n",
        "content-type                         1               1  (today not-json)\n",
    ] {
        assert!(stderr(&preview).contains(row), "{}", stderr(&preview));
    }
    let output = desk.command("redrive", &["--since", "beginning", "--yes"]);
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    let events = desk.copies(&desk.events, 1);
    assert_eq!(events[0].key.as_deref(), Some(&b"m1"[..]));
    assert_eq!(events[0].timestamp, Some(FIRST));
    assert_eq!(events[0].header("header_value"), None);
}

#[test]
fn a_redriven_event_does_not_count_as_a_replay() {
    let kafka = cluster::shared();
    let desk = desk(&kafka);
    let output = desk.command(
        "redrive",
        &[
            "--since",
            "beginning",
            "--reason",
            "unknown-status",
            "--yes",
        ],
    );
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    let target = kafka.topic("target", PARTITIONS);
    let output = desk.command(
        "replay",
        &["--since", "beginning", "--to", &target, "--yes"],
    );
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    desk.copies(&target, 1);
}
