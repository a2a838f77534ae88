//! Whether the bridge can take reports, and what that rests on.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use super::hold::Hold;
use crate::bridge::{Bridge, Phase};
use crate::kafka::{Condition, TopicState};

/// The answer of `/readyz`.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    /// Every partition of the events topic has a leader, or there is a spool that can be written to;
    /// and the bridge is not draining.
    pub(super) ready: bool,
    /// Whether the parts below say the same; a change of theirs counts once it has lasted.
    settled: bool,
    draining: bool,
    topics: Vec<Topic>,
    /// Where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    spool: Option<Spool>,
    /// Where the ingress speaks TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_expires: Option<Timestamp>,
    /// What has changed and could not be taken over, by part.
    stale: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
struct Spool {
    writable: bool,
    reports: u64,
    quarantined: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Topic {
    name: String,
    ready: bool,
    /// In words.
    condition: String,
    partitions: Option<u32>,
    replication_factor: Option<u32>,
    min_insync_replicas: Option<u32>,
    /// Whether a record survives the loss of a broker, where Kafka says.
    durable: Option<bool>,
}

impl Readiness {
    pub(super) fn of(bridge: &Bridge, hold: &Hold) -> Self {
        let draining = *bridge.phase.borrow() != Phase::Serving;
        let topics: Vec<Topic> = bridge
            .delivery
            .topics()
            .into_iter()
            .map(|(name, state)| Topic::of(name, &state))
            .collect();
        // Without the rejected topic a sound report is taken all the same.
        let events_ready = topics.first().is_some_and(|events| events.ready);
        let spool = bridge.delivery.spool_level().map(|level| Spool {
            writable: level.is_writable,
            reports: level.reports,
            quarantined: level.quarantined,
            bytes: level.bytes,
        });
        let is_hedged = spool.as_ref().is_some_and(|spool| spool.writable);
        let stale = bridge.live.stale();
        let is_ready = events_ready || is_hedged;
        let counts = hold.look(is_ready, Instant::now());
        let identity = bridge.live.identity.as_ref();
        Self {
            ready: counts && !draining,
            settled: counts == is_ready,
            draining,
            certificate_expires: identity.map(|identity| identity.load().expires()),
            topics,
            spool,
            stale: stale
                .into_iter()
                .map(|(part, problem)| (part.name(), problem))
                .collect(),
        }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("readiness is plain data");
        text.push(b'\n');
        text
    }
}

impl Topic {
    fn of(name: &str, state: &TopicState) -> Self {
        Self {
            name: name.to_owned(),
            ready: state.condition == Condition::Ready,
            condition: state.condition.to_string(),
            partitions: state.partitions,
            replication_factor: state.durability.map(|durability| durability.replication),
            min_insync_replicas: state.durability.map(|durability| durability.min_insync),
            durable: state.durability.map(crate::kafka::Durability::is_safe),
        }
    }
}
