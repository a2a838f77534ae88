//! One marked record to each topic: that it may be written to is known only once it was. Subscribers pass over
//! it, since its `ce_type` is not an event's.

use jiff::{SignedDuration, Timestamp};

use super::finding::{Area, Finding};
use crate::contract::Record;
use crate::kafka::{Cluster, TopicFacts};

/// The `ce_type` of the record.
const PROBE_TYPE: &str = "io.koobridge.probe.v1";
/// What clocks may differ by.
const SKEW: SignedDuration = SignedDuration::from_secs(5);

/// Publishes a record; on a topic that has Kafka's own time on its records, compares clocks.
pub(super) fn look(cluster: &Cluster, topic: &str, facts: &TopicFacts) -> Vec<Finding> {
    let sent = Timestamp::now();
    let at = match cluster.publish(topic, &record(sent)) {
        Ok(at) => at,
        Err(why) => {
            let what = format!("{topic}: Kafka did not take a record: {why}");
            return vec![Area::Probe.fail(
                what,
                "grant this client WRITE on the topic, or see what Kafka says",
            )];
        }
    };
    let took = Timestamp::now().duration_since(sent).as_millis();
    let mut findings = vec![Area::Probe.ok(format!(
        "{topic}: a record was on every in-sync replica after {took} ms"
    ))];
    if facts.has_own_clock() {
        findings.extend(at.and_then(|at| clock(topic, sent, at)));
    }
    findings
}

fn clock(topic: &str, sent: Timestamp, at: i64) -> Option<Finding> {
    let at = Timestamp::from_millisecond(at).ok()?;
    let ahead = sent.duration_since(at);
    let what = format!(
        "{topic}: this machine's clock and Kafka's differ by {} s",
        ahead.abs().as_secs()
    );
    Some(if ahead.abs() > SKEW {
        Area::Clock.warn(
            what,
            "set both by NTP: Kafka refuses what is an hour ahead of it, and replays go by time",
        )
    } else {
        Area::Clock.ok(what)
    })
}

fn record(now: Timestamp) -> Record {
    let headers: [(&'static str, String); 6] = [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", format!("probe-{}", now.as_nanosecond())),
        ("ce_source", "/koobridge/check".to_owned()),
        ("ce_type", PROBE_TYPE.to_owned()),
        ("ce_time", now.to_string()),
        ("content-type", "application/json".to_owned()),
    ];
    let headers = headers.map(|(name, value)| (name.into(), value.into()));
    Record {
        key: Some("koobridge-check".to_owned()),
        headers: headers.into(),
        value: br#"{"probe":true}"#.to_vec(),
        timestamp: now.as_millisecond(),
    }
}
