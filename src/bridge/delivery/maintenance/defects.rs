//! Detects defects of a producer in service.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::warn;

use super::MaintenanceLoop;
use crate::bridge::delivery::partition::Partition;
use crate::kafka::Condition;
use crate::telemetry::Throttle;

/// How long a partition with a leader may have no acknowledgement.
const STUCK_AFTER: Duration = Duration::from_mins(1);
/// The same when a broker rejects the producer. Longer, because the brokers would probably reject a new producer as
/// well, and this one may still have connections that work. Finite, because another broker may lead the partition.
const STUCK_AFTER_REJECTION: Duration = Duration::from_mins(10);
/// How long a rejection counts. librdkafka repeats a persistent error every 30 s.
pub(super) const REJECTION_COUNTS_FOR: Duration = Duration::from_secs(40);

static REJECTIONS: Throttle = Throttle::new();

impl MaintenanceLoop {
    /// Returns why a producer can no longer deliver, if that is so.
    pub(super) fn defect(&self, producer: usize) -> Option<String> {
        let current = self.topic.producers.get(producer).load();
        if let Some(reason) = current.producer.fatal_error() {
            return Some(reason);
        }
        let shared = self.topic.shared();
        if shared.producer_health[producer]
            .invalid_generation
            .load(Ordering::Relaxed)
            == current.generation
        {
            return Some("its producer id is no longer valid".to_owned());
        }
        let patience = match current.producer.rejection_within(REJECTION_COUNTS_FOR) {
            Some(_) => STUCK_AFTER_REJECTION,
            None => STUCK_AFTER,
        };
        let is_stuck = |partition: &&Arc<Partition>| {
            partition.producer() == Some(producer)
                && shared.watch.is_led(partition.number())
                && partition.is_stuck(patience)
        };
        let partitions = self.topic.partitions.all();
        let number = partitions.iter().find(is_stuck)?.number();
        let seconds = patience.as_secs();
        Some(format!(
            "partition {number} has a leader but has acknowledged nothing for {seconds} s"
        ))
    }

    /// Logs that a broker rejects a producer while others answer. `outage` logs it otherwise.
    pub(super) fn log_rejection(&self, producer: usize) {
        let current = self.topic.producers.get(producer).load();
        let is_ready = || self.topic.state().condition == Condition::Ready;
        if let Some(why) = current.producer.rejection_within(REJECTION_COUNTS_FOR)
            && is_ready()
            && REJECTIONS.count().is_some()
        {
            let topic = self.topic.name();
            warn!(
                topic,
                why,
                "a broker rejects the bridge: reports for the partitions that it leads must wait"
            );
        }
    }
}
