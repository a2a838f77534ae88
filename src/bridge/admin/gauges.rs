//! The gauges that are only known when somebody looks.

use jiff::Timestamp;

use crate::bridge::Bridge;
use crate::bridge::delivery::InFlight;
use crate::kafka::{Condition, Durability};

/// Sets them to what is so now.
pub(super) fn set(bridge: &Bridge, is_ready: bool) {
    let metrics = &bridge.metrics;
    metrics.ready.set(is_ready.into());
    let InFlight { reports, bytes } = bridge.delivery.in_flight();
    metrics.reports_in_flight.set(to_gauge(reports));
    metrics.bytes_in_flight.set(to_gauge(bytes));
    let (waiting, _) = bridge.delivery.waiting_partitions();
    metrics.waiting_partitions.set(to_gauge(waiting as u64));
    if let Some(level) = bridge.delivery.spool_level() {
        let spool = &metrics.spool;
        spool.reports.set(to_gauge(level.reports));
        spool.quarantined.set(to_gauge(level.quarantined));
        spool.bytes.set(to_gauge(level.bytes));
        spool.used.set(to_gauge(level.used));
        spool.writable.set(level.is_writable.into());
        spool.oldest_age.set(level.oldest.map_or(0.0, age));
    }
    for (topic, state) in bridge.delivery.topics() {
        metrics.topic_ready(topic, state.condition == Condition::Ready);
        if let Some(Durability {
            replication,
            min_insync,
        }) = state.durability
        {
            metrics.topic_durability(topic, replication, min_insync);
        }
    }
}

/// Seconds since a time in milliseconds since 1970; 0 where that is still to come.
fn age(millisecond: i64) -> f64 {
    let at = Timestamp::from_millisecond(millisecond).unwrap_or(Timestamp::MAX);
    Timestamp::now().duration_since(at).as_secs_f64().max(0.0)
}

fn to_gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
