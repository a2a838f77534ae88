//! The answer of `/readyz`: whether the bridge is ready, and the reasons.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::snapshot::{Destination, Snapshot};
use crate::bridge::Phase;
use crate::kafka::Durability;

/// The answer of `/readyz`.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    /// Every partition of the events topic has a leader, or there is a writable spool; and the bridge is not draining.
    pub(super) ready: bool,
    /// Whether `ready` matches the current state below. A change counts only if it lasts.
    settled: bool,
    draining: bool,
    topics: Vec<Topic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spool: Option<Spool>,
    /// `None` if the ingress does not speak TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_expires: Option<Timestamp>,
    /// The changes that could not be applied, by part.
    stale: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
struct Spool {
    writable: bool,
    /// A lower bound, unless `counted`.
    reports: u64,
    counted: bool,
    quarantined: u64,
    /// Delivered reports that the disk does not allow to delete yet.
    undeleted: u64,
    /// Damaged files that were set aside.
    set_aside: u64,
    bytes: u64,
    /// `None` if no report waits in the spool.
    oldest_age_seconds: Option<u64>,
    /// `None` if the spool does not grow.
    full_in_seconds: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Topic {
    name: String,
    ready: bool,
    /// The condition as text.
    condition: String,
    partitions: Option<u32>,
    replication_factor: Option<u32>,
    min_insync_replicas: Option<u32>,
    /// Whether a record survives the loss of a broker. `None` if that is not known.
    durable: Option<bool>,
}

impl From<&Snapshot> for Readiness {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            ready: snapshot.is_ready,
            settled: snapshot.is_settled,
            draining: snapshot.phase != Phase::Serving,
            topics: snapshot.topics.iter().map(Topic::from).collect(),
            spool: snapshot.spool.map(|level| Spool {
                writable: level.is_writable,
                reports: level.reports,
                counted: level.is_counted,
                quarantined: level.quarantined,
                undeleted: level.undeleted,
                set_aside: level.set_aside,
                bytes: level.bytes,
                oldest_age_seconds: snapshot.oldest_age().map(|age| age.as_secs()),
                full_in_seconds: snapshot.full_in.map(|time| time.as_secs()),
            }),
            certificate_expires: snapshot.certificate,
            stale: snapshot.stale.clone(),
        }
    }
}

impl Readiness {
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("readiness is plain data");
        text.push(b'\n');
        text
    }
}

impl From<&Destination> for Topic {
    fn from(topic: &Destination) -> Self {
        let state = &topic.state;
        Self {
            name: topic.name.clone(),
            ready: topic.is_ready(),
            condition: state.condition.to_string(),
            partitions: state.partitions,
            replication_factor: state.durability.map(|durability| durability.replication),
            min_insync_replicas: state.durability.map(|durability| durability.min_insync),
            durable: state.durability.map(Durability::is_safe),
        }
    }
}
