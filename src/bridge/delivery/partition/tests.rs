//! Tests when a partition wakes the maintenance thread.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::sync::mpsc::{self, Receiver};

use super::*;
use crate::bridge::delivery::lane::Policy;
use crate::bridge::delivery::limits::{InFlight, InFlightLimits};
use crate::bridge::delivery::rejected_size::RejectedSize;
use crate::bridge::delivery::shared::Redirects;
use crate::bridge::metrics::Metrics;
use crate::kafka::Watching;

/// Returns a partition whose reports are all in the spool, and the receiver of its wake-ups of the maintenance thread.
fn spooling() -> (Partition, Receiver<()>) {
    partition(|policy| Lane::with_backlog(policy, 1))
}

fn partition(lane: impl FnOnce(Policy) -> Lane<Pending>) -> (Partition, Receiver<()>) {
    let ([watch], _) = Watching::prepare(["events".to_owned()]);
    let (maintenance, woken) = mpsc::sync_channel(8);
    let limits = InFlightLimits::new(InFlight {
        reports: 8,
        bytes: 1 << 20,
    });
    let shared = Shared {
        topic: 0,
        watch,
        metrics: Metrics::new(),
        limits: Arc::new(limits),
        spool: None,
        read_back_memory: 0,
        partitions: AtomicU32::new(1),
        lanes: AtomicUsize::new(1),
        next: AtomicU64::new(1),
        rejected_size: RejectedSize::new(true),
        redirects: None,
        retries: Arc::new(Redirects::new(maintenance.clone())),
        maintenance,
        producer_health: Default::default(),
        unauthorized: Throttle::new(),
        given_up: Throttle::new(),
    };
    let policy = Policy {
        has_spool: true,
        redirects: false,
    };
    let partition = Partition::new(0, lane(policy), Arc::new(shared));
    (partition, woken)
}

impl Partition {
    /// Admits a report and has the spool confirm it.
    fn spool(&self, number: Number) {
        self.feed(self.arrival(number));
        self.written(number, false, Ok(()));
    }

    fn arrival(&self, number: Number) -> Input<Pending> {
        let record = Record {
            key: None,
            headers: Vec::new(),
            value: Vec::new(),
            timestamp: 0,
        };
        let permit = self.shared.limits.report(record.footprint());
        Input::Admit {
            number,
            report: Pending::new(record, permit.expect("room")),
            must_write: false,
        }
    }

    /// Starts a pause that is long enough for slow machines.
    fn pause(&self) {
        for _ in 0..8 {
            self.state.lock().backoff.failed();
        }
    }
}

#[test]
fn a_spooled_report_wakes_the_maintenance_thread_except_during_a_pause() {
    let (partition, woken) = spooling();
    let wakes = || woken.try_iter().count();
    partition.spool(1);
    assert_eq!(wakes(), 1, "a probe may be sent");
    partition.pause();
    for number in 2..=6 {
        partition.spool(number);
    }
    assert_eq!(wakes(), 0, "the next probe has a time");
    partition.retry_now();
    partition.spool(7);
    assert_eq!(wakes(), 1, "the pause is over");
}

/// Without a report to probe with, the lane must return to mode `Direct`.
#[test]
fn a_failed_write_wakes_the_maintenance_thread_if_no_report_remains() {
    let (partition, woken) = partition(Lane::new);
    let mut state = partition.state.lock();
    state.handle(partition.arrival(1));
    state.handle(Input::Failed {
        number: 1,
        generation: None,
        rejection: None,
        is_awaited: true,
    });
    state.effects.clear();
    drop(state);
    partition.pause();
    partition.written(1, false, Err(WriteError::Full));
    assert_eq!(partition.lane(Lane::mode), Mode::Spooling);
    assert_eq!(woken.try_iter().count(), 1);
}
