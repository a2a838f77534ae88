//! One marked record to each topic: that it may be written to is known only once it was. Subscribers pass over
//! it, since its `ce_type` is not an event's.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::finding::{Area, Finding};
#[cfg(test)]
use crate::contract::EventFields;
use crate::contract::{EventMode, PROBE_KEY, PROBE_TYPE, Record};
use crate::kafka::{Cluster, TopicFacts};

/// What clocks may differ by.
const SKEW: SignedDuration = SignedDuration::from_secs(5);

/// Publishes a record; on a topic that has Kafka's own time on its records, compares clocks.
pub(super) fn look(
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
        "{topic}: a record was on every in-sync replica after {took} ms"
    ))];
    if facts.uses_log_append_time() {
        findings.extend(at.and_then(|at| clock(topic, [sent, acknowledged], at)));
    }
    findings
}

fn refused(topic: &str, why: &str) -> Finding {
    let what = format!("{topic}: Kafka did not take a record: {why}");
    let lower = why.to_lowercase();
    if lower.contains("timestamp") {
        Area::Clock.fail(
            what,
            "set this machine's clock by NTP: Kafka refuses what is an hour ahead of it",
        )
    } else if lower.contains("authoriz") {
        Area::Probe.fail(what, "grant this client WRITE on the topic")
    } else {
        Area::Probe.fail(what, "look at the brokers: reports would wait as this did")
    }
}

/// Kafka gave the record its time between the two that this machine has of it.
fn clock(topic: &str, [sent, acknowledged]: [Timestamp; 2], at: i64) -> Option<Finding> {
    let at = Timestamp::from_millisecond(at).ok()?;
    let ahead = sent.duration_since(at);
    let behind = at.duration_since(acknowledged);
    Some(if ahead > SKEW || behind > SKEW {
        let by = ahead.max(behind).as_secs();
        let what = format!("{topic}: this machine's clock and Kafka's differ by {by} s");
        Area::Clock.warn(
            what,
            "set both by NTP: Kafka refuses what is an hour ahead of it, and replays go by time",
        )
    } else {
        Area::Clock.ok(format!("{topic}: this machine's clock and Kafka's agree"))
    })
}

/// In the form that events have, so that a subscriber finds its type where it looks.
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
    fn a_probe_is_no_event_in_either_mode() {
        for mode in [EventMode::Binary, EventMode::Structured] {
            let record = record(Timestamp::UNIX_EPOCH, mode);
            assert_eq!(record.key.as_deref(), Some(PROBE_KEY));
            assert!(EventFields::of(&record.into()).is_none(), "{mode:?}");
        }
    }

    #[test]
    fn the_time_that_a_record_waited_is_no_difference_of_clocks() {
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
    fn what_kafka_says_decides_what_is_to_be_done() {
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
