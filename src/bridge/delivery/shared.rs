//! The state that the partitions of a topic share, and the tickets that identify a report to Kafka and the spool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::warn;

use super::given_up::{self, Reason};
use super::lane::{Generation, Number, Policy};
use super::limits::InFlightLimits;
use super::pending::{Pending, PublishError};
use super::rejected_size::RejectedSize;
use crate::bridge::metrics::Metrics;
use crate::config::MOST_PRODUCERS;
use crate::kafka::{DeliveryError, TopicWatch};
use crate::spool::{LaneKey, Spool};
use crate::telemetry::Throttle;

/// The pause before a redirected report is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Identifies a report of a topic in its delivery report.
pub(super) struct Ticket {
    pub(super) partition: u32,
    pub(super) number: Number,
    pub(super) generation: Generation,
    pub(super) sent: Instant,
}

/// Identifies a report in the spool's answer to a write.
#[derive(Clone, Copy)]
pub(super) struct SpoolTicket {
    /// The index of the topic: 0 for events, 1 for rejected.
    pub(super) topic: usize,
    /// `None` for the inbox.
    pub(super) partition: Option<u32>,
    pub(super) number: Number,
}

/// The health of a producer, as its partitions have seen it.
#[derive(Default)]
pub(super) struct ProducerHealth {
    /// The last generation whose producer id is no longer valid; 0 if there is none.
    pub(super) invalid_generation: AtomicU64,
    /// Whether the producer has delivered anything since it was last taken out of service.
    pub(super) has_delivered: AtomicBool,
}

pub(super) struct Shared {
    /// The index of the topic in tickets.
    pub(super) topic: usize,
    pub(super) watch: TopicWatch,
    pub(super) metrics: Arc<Metrics>,
    pub(super) limits: Arc<InFlightLimits>,
    pub(super) spool: Option<Arc<Spool<SpoolTicket>>>,
    /// The bytes of memory for reports that are read back from the spool.
    pub(super) read_back_memory: usize,
    /// The number of partitions; 0 if it is not known. With a spool, the number stays when the topic is deleted.
    pub(super) partitions: AtomicU32,
    /// The number of lanes that share the memory. It exceeds the number of partitions if the topic had more before.
    pub(super) lanes: AtomicUsize,
    /// The number of the next report.
    pub(super) next: AtomicU64,
    pub(super) rejected_size: RejectedSize,
    /// The queue for records that Kafka rejects for good; `None` for the rejected topic.
    pub(super) redirects: Option<Arc<Redirects>>,
    /// The queue for redirected reports that the rejected topic cannot take now.
    pub(super) retries: Arc<Redirects>,
    /// Wakes the maintenance thread.
    pub(super) maintenance: SyncSender<()>,
    /// By producer.
    pub(super) producer_health: [ProducerHealth; MOST_PRODUCERS],
    /// Counts the records that fail because the client is not authorized to write to the topic.
    pub(super) unauthorized: Throttle,
    /// Counts the reports that were given up.
    pub(super) given_up: Throttle,
}

impl Shared {
    pub(super) fn name(&self) -> &str {
        &self.watch.name
    }

    pub(super) fn key(&self, partition: Option<u32>) -> LaneKey {
        LaneKey {
            topic: self.name().into(),
            partition,
        }
    }

    pub(super) fn policy(&self) -> Policy {
        Policy {
            has_spool: self.spool.is_some(),
            redirects: self.redirects.is_some(),
        }
    }

    /// Returns the number of partitions if it is known.
    pub(super) fn known_partitions(&self) -> Option<u32> {
        let known = self.partitions.load(Ordering::Acquire);
        (known > 0).then_some(known)
    }

    /// Returns a number for a report, higher than all others of the topic.
    pub(super) fn next_number(&self) -> Number {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns whether reports should go to the spool now, because the limits are half used.
    pub(super) fn is_crowded(&self) -> bool {
        self.spool.is_some() && self.limits.are_half_used()
    }

    /// Wakes the maintenance thread.
    pub(super) fn wake(&self) {
        // When the channel is full, the thread is about to wake anyway.
        let _is_full = self.maintenance.try_send(());
    }

    /// Ends a report in memory that only the spool keeps now.
    pub(super) fn spooled(&self, lane: &LaneKey, number: Number, mut report: Pending) {
        self.delete_origin(&mut report);
        if let (Some(mark), Some(spool)) = (report.spooled(&self.metrics), &self.spool) {
            spool.mark(lane, number, mark);
        }
    }

    /// Handles a report that its lane or the inbox has dropped: retries it if it is redirected from a row, else gives
    /// it up.
    pub(super) fn dropped(&self, report: Pending, why: Option<Reason>) {
        // Without a retry, its row would stay unnoticed until the next start.
        if report.origin.is_some() {
            self.retries.retry(report);
        } else {
            self.give_up(report, PublishError::NoRoom, why);
        }
    }

    /// Ends a report without keeping it, and logs why.
    pub(super) fn give_up(&self, report: Pending, answer: PublishError, why: Option<Reason>) {
        given_up::log(self.name(), &self.given_up, why);
        report.failed(answer, &self.metrics);
    }

    /// Deletes the row that kept a redirected report, if there is one.
    pub(super) fn delete_origin(&self, report: &mut Pending) {
        if let (Some((lane, number)), Some(spool)) = (report.origin.take(), &self.spool) {
            spool.delete(&lane, number);
        }
    }

    /// Records that a producer has delivered a record.
    pub(super) fn delivered(&self, producer: usize) {
        let has_delivered = &self.producer_health[producer].has_delivered;
        if !has_delivered.load(Ordering::Relaxed) {
            has_delivered.store(true, Ordering::Relaxed);
        }
    }

    /// Handles a failed delivery. `by` is the producer and its generation if the record was sent.
    pub(super) fn failed(&self, by: Option<(usize, Generation)>, why: DeliveryError) {
        if let Some((producer, generation)) = by
            && why.has_invalid_producer_id()
        {
            let invalid_generation = &self.producer_health[producer].invalid_generation;
            invalid_generation.fetch_max(generation, Ordering::Relaxed);
        }
        if why.is_unauthorized()
            && let Some(records) = self.unauthorized.count()
        {
            warn!(
                topic = self.name(),
                records,
                "Kafka does not authorize this client to write: grant this client WRITE on the topic"
            );
        }
        self.watch.request_refresh();
        self.wake();
    }
}

/// The queue of redirected reports: Kafka rejects their records, so they go to the rejected topic.
pub(super) struct Redirects {
    waiting: Mutex<Vec<(Instant, Pending)>>,
    /// The number of reports that `place` has taken out and not placed yet.
    being_moved: AtomicUsize,
    /// Wakes the maintenance thread of the rejected topic.
    maintenance: SyncSender<()>,
}

impl Redirects {
    pub(super) fn new(maintenance: SyncSender<()>) -> Self {
        Self {
            waiting: Mutex::default(),
            being_moved: AtomicUsize::new(0),
            maintenance,
        }
    }

    pub(super) fn add(&self, report: Pending) {
        self.waiting.lock().push((Instant::now(), report));
        let _is_full = self.maintenance.try_send(());
    }

    /// Queues a report again that the rejected topic could not take now.
    pub(super) fn retry(&self, report: Pending) {
        self.waiting.lock().push((Instant::now() + RETRY, report));
    }

    /// Gives the reports that are due at `now` to `take`, and queues those again that it gives back.
    pub(super) fn hand_over(&self, now: Instant, take: impl Fn(Pending) -> Result<(), Pending>) {
        let due: Vec<_> = {
            let mut waiting = self.waiting.lock();
            let due = waiting.extract_if(.., |(not_before, _)| *not_before <= now);
            let due: Vec<_> = due.collect();
            self.being_moved.fetch_add(due.len(), Ordering::SeqCst);
            due
        };
        for (_, report) in due {
            if let Err(report) = take(report) {
                self.retry(report);
            }
            self.being_moved.fetch_sub(1, Ordering::SeqCst);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty() && self.being_moved.load(Ordering::SeqCst) == 0
    }

    /// Returns the number of waiting reports that are only in memory.
    pub(super) fn count_unwritten(&self) -> usize {
        let waiting = self.waiting.lock();
        let unwritten = |(_, report): &&(Instant, Pending)| report.origin.is_none();
        waiting.iter().filter(unwritten).count()
    }
}
