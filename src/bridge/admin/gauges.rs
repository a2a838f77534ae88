//! Sets the gauges at each scrape.

use super::snapshot::Snapshot;
use crate::bridge::metrics::Metrics;
use crate::kafka::Durability;

pub(super) fn set(metrics: &Metrics, snapshot: &Snapshot) {
    metrics.ready.set(snapshot.is_ready.into());
    metrics
        .reports_in_flight
        .set(to_gauge(snapshot.reports.used));
    metrics.bytes_in_flight.set(to_gauge(snapshot.bytes.used));
    let waiting = snapshot.waiting_partitions as u64;
    metrics.waiting_partitions.set(to_gauge(waiting));
    if let Some(level) = snapshot.spool {
        let spool = &metrics.spool;
        spool.reports.set(to_gauge(level.reports));
        spool.counted.set(level.is_counted.into());
        spool.quarantined.set(to_gauge(level.quarantined));
        spool.undeleted.set(to_gauge(level.undeleted));
        spool.set_aside.set(to_gauge(level.set_aside));
        spool.bytes.set(to_gauge(level.bytes));
        spool.used.set(to_gauge(level.used));
        spool.writable.set(level.is_writable.into());
        let age = snapshot.oldest_age().unwrap_or_default();
        spool.oldest_age.set(age.as_secs_f64());
        metrics.spool_full_in(snapshot.full_in);
    }
    for topic in &snapshot.topics {
        metrics.topic_ready(&topic.name, topic.is_ready());
        metrics.topic_age_limit(&topic.name, topic.state.age_limits.lowest());
        if let Some(Durability {
            replication,
            min_insync,
        }) = topic.state.durability
        {
            metrics.topic_durability(&topic.name, replication, min_insync);
        }
    }
}

fn to_gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
