//! Publishes one marked record to each topic, since only that shows whether this client may write to it. Subscribers ignore
//! the record, since its `ce_type` is not that of an event.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::finding::{Area, Finding};
#[cfg(test)]
use crate::contract::EventFields;
use crate::contract::{EventMode, PROBE_KEY, PROBE_TYPE, Record};
use crate::kafka::{Cluster, TopicFacts};

/// The difference of two clocks that is not reported.
const SKEW: SignedDuration = SignedDuration::from_secs(5);

/// Publishes a record. If the topic gives records the broker's time, also compares the clocks.
pub(super) fn check(
    cluster: &Cluster,
    topic: &str,
    mode: EventMode,
    facts: &TopicFacts,
) -> Vec<Finding> {
    let sent = Timestamp::now();
    let at = match cluster.publish(topic, &record(sent, mode)) {
        Ok(at) => at,
        Err(why) => return vec![refused(topic, &why)],
    };
    let acknowledged = Timestamp::now();
    let took = acknowledged.duration_since(sent).as_millis();
    let mut findings = vec![Area::Probe.ok(format!(
        "{topic}: every in-sync replica had the record after {took} ms"
    ))];
    if facts.uses_log_append_time() {
        findings.extend(at.and_then(|at| clock(topic, [sent, acknowledged], at)));
    }
    findings
}

fn refused(topic: &str, why: &str) -> Finding {
    let what = format!("{topic}: Kafka did not accept a record: {why}");
    let lower = why.to_lowercase();
    if lower.contains("timestamp") {
        Area::Clock.fail(
            what,
            "synchronize this machine's clock by NTP: Kafka rejects a record whose time is an hour ahead",
        )
    } else if lower.contains("authoriz") {
        Area::Probe.fail(what, "grant this client WRITE on the topic")
    } else {
        Area::Probe.fail(
            what,
            "check the brokers: reports would wait in the same way",
        )
    }
}

/// Compares the clocks: Kafka's time of the record should be between the two times of this machine.
fn clock(topic: &str, [sent, acknowledged]: [Timestamp; 2], at: i64) -> Option<Finding> {
    let at = Timestamp::from_millisecond(at).ok()?;
    let ahead = sent.duration_since(at);
    let behind = at.duration_since(acknowledged);
    Some(if ahead > SKEW || behind > SKEW {
        let by = ahead.max(behind).as_secs();
        let what = format!("{topic}: this machine's clock and Kafka's differ by {by} s");
        Area::Clock.warn(
            what,
            "synchronize both by NTP: Kafka rejects a record whose time is an hour ahead, and replays select records by time",
        )
    } else {
        Area::Clock.ok(format!("{topic}: this machine's clock and Kafka's agree"))
    })
}

/// Returns the record in the form of an event, so that a subscriber finds its type in the usual place.
fn record(now: Timestamp, mode: EventMode) -> Record {
    let (id, source) = (format!("probe-{}", now.as_nanosecond()), "/koobridge/check");
    let time = now.to_string();
    let (content_type, value) = match mode {
        EventMode::Binary => ("application/json", json!({ "probe": true })),
        EventMode::Structured => (
            "application/cloudevents+json; charset=UTF-8",
            json!({
                "specversion": "1.0", "id": id, "source": source, "type": PROBE_TYPE, "time": time,
                "datacontenttype": "application/json", "data": { "probe": true },
            }),
        ),
    };
    let mut headers = vec![("content-type".into(), content_type.into())];
    if mode == EventMode::Binary {
        let attributes = [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", id),
            ("ce_source", source.to_owned()),
            ("ce_type", PROBE_TYPE.to_owned()),
            ("ce_time", time),
        ];
        headers.extend(attributes.map(|(name, value)| (name.into(), value.into())));
    }
    Record {
        key: Some(PROBE_KEY.to_owned()),
        headers,
        value: value.to_string().into_bytes(),
        timestamp: now.as_millisecond(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_probe_is_not_an_event_in_either_mode() {
        for mode in [EventMode::Binary, EventMode::Structured] {
            let record = record(Timestamp::UNIX_EPOCH, mode);
            assert_eq!(record.key.as_deref(), Some(PROBE_KEY));
            assert!(EventFields::of(&record.into()).is_none(), "{mode:?}");
        }
    }

    #[test]
    fn the_time_that_a_record_waited_is_not_a_difference_of_clocks() {
        let [sent, acknowledged] =
            [0, 8].map(|second| Timestamp::from_second(second).expect("a time"));
        let level = |at| clock("t", [sent, acknowledged], at).map(|finding| finding.level);
        for (at, expected) in [
            (-5001, Level::Warn),
            (-5000, Level::Ok),
            (7000, Level::Ok),
            (13_000, Level::Ok),
            (13_001, Level::Warn),
        ] {
            assert_eq!(level(at), Some(expected), "{at}");
        }
    }

    #[test]
    fn the_remedy_depends_on_kafkas_error() {
        for (why, area, part) in [
            ("Topic authorization failed", Area::Probe, "WRITE"),
            ("Broker: Invalid timestamp", Area::Clock, "NTP"),
            ("Kafka has not acknowledged it", Area::Probe, "brokers"),
        ] {
            let finding = refused("t", why);
            assert_eq!((finding.level, finding.area), (Level::Fail, area));
            assert!(finding.remedy.contains(part), "{finding}");
        }
    }
}
