//! The places of reports: the topic, the rejected topic with the records that Kafka rejects, or the spool.

use std::path::Path;

use serde_json::Value;

use crate::support::bridge::koobridge;
use crate::support::records::{Record, read_each};

/// A report with its place.
#[derive(Clone, Debug)]
pub struct LocatedReport {
    pub message_id: String,
    pub status: String,
    pub event_id: String,
}

impl LocatedReport {
    fn of(event: &str) -> Self {
        let event: Value = serde_json::from_str(event).expect("an event is JSON");
        let member = |name: &str| event[name].as_str().expect("a member of text").to_owned();
        Self {
            message_id: member("message_id"),
            status: member("status"),
            event_id: member("event_id"),
        }
    }

    fn on(record: &Record) -> Self {
        let value = record.value.as_deref().expect("never a null value");
        let landed = Self::of(str::from_utf8(value).expect("text"));
        if let Some(id) = record.header("ce_id") {
            assert_eq!(id, landed.event_id, "two ids of {landed:?}");
        }
        landed
    }
}

/// All reports at one time.
pub struct Evidence {
    /// In the order of each partition.
    pub events: Vec<LocatedReport>,
    pub rejected: Vec<LocatedReport>,
    /// Due or quarantined.
    pub spooled: Vec<LocatedReport>,
}

impl Evidence {
    pub fn gather(bootstrap: &str, topics: [&str; 2], spool: Option<&Path>) -> Self {
        // A report that is delivered between the two reads is seen twice and not missed.
        let spooled = spool.map(export).unwrap_or_default();
        let [events, rejected] = topics;
        let is_refused = |record: &Record| record.header("stage") == Some("kafka");
        let refused = |record| is_refused(&record).then(|| LocatedReport::on(&record));
        let rejected = read_each(bootstrap, rejected, refused);
        Self {
            events: read_each(bootstrap, events, |record| LocatedReport::on(&record)),
            rejected: rejected.into_iter().flatten().collect(),
            spooled,
        }
    }
}

/// Returns the contents of the spool, whether or not a bridge has it open.
pub fn export(directory: &Path) -> Vec<LocatedReport> {
    let output = koobridge()
        .args(["spool", "export", "--directory"])
        .arg(directory)
        .output()
        .expect("koobridge starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "spool export: {said}");
    let lines = String::from_utf8(output.stdout).expect("text");
    let value = |line| {
        let line: Value = serde_json::from_str(line).expect("a JSON line");
        LocatedReport::of(line["value"].as_str().expect("the text of an event"))
    };
    lines.lines().map(value).collect()
}
