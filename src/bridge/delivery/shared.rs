//! What the partitions of a topic share, and the tickets by which Kafka and the spool name a report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::warn;

use super::given_up::{self, Reason};
use super::lane::{Generation, Number, Policy};
use super::limits::InFlightLimits;
use super::pending::{NotTaken, Pending};
use super::refused_size::RefusedSize;
use crate::bridge::metrics::Metrics;
use crate::config::MOST_PRODUCERS;
use crate::kafka::{Failed, TopicWatch};
use crate::spool::{LaneKey, Spool};
use crate::telemetry::Throttle;

/// How soon to try again to bring a report to the rejected topic.
const RETRY: Duration = Duration::from_secs(1);

/// Names a report of a topic to librdkafka, until its delivery report.
pub(super) struct Ticket {
    pub(super) partition: u32,
    pub(super) number: Number,
    pub(super) generation: Generation,
    pub(super) sent: Instant,
}

/// Names a report to the spool, until it is written.
#[derive(Clone, Copy)]
pub(super) struct SpoolTicket {
    /// Which of the two topics.
    pub(super) topic: usize,
    /// `None` for the inbox.
    pub(super) partition: Option<u32>,
    pub(super) number: Number,
}

/// What the partitions that are bound to a producer have noticed of it.
#[derive(Default)]
pub(super) struct Noticed {
    /// The last generation whose producer id is not valid any more; 0 for none.
    pub(super) wedged: AtomicU64,
    /// Whether the one in service has delivered anything.
    pub(super) has_delivered: AtomicBool,
}

pub(super) struct Shared {
    /// Which of the two topics it is, in tickets.
    pub(super) topic: usize,
    pub(super) watch: TopicWatch,
    pub(super) metrics: Arc<Metrics>,
    pub(super) limits: Arc<InFlightLimits>,
    pub(super) spool: Option<Arc<Spool<SpoolTicket>>>,
    /// Bytes of memory for reports that were read back.
    pub(super) memory: usize,
    /// How many partitions the topic has; 0 if that is not known. With a spool the last count stays when the topic
    /// vanishes.
    pub(super) partitions: AtomicU32,
    /// How many lanes share the memory: more than partitions if the topic once had more.
    pub(super) lanes: AtomicUsize,
    /// The number of the topic's next report.
    pub(super) next: AtomicU64,
    pub(super) refused_size: RefusedSize,
    /// For records that Kafka refuses here for good; the rejected topic has none.
    pub(super) redirects: Option<Arc<Redirects>>,
    /// For redirected reports that the rejected topic cannot take now.
    pub(super) retries: Arc<Redirects>,
    /// Wakes the maintenance thread.
    pub(super) maintenance: SyncSender<()>,
    /// By producer.
    pub(super) noticed: [Noticed; MOST_PRODUCERS],
    /// Counts the records that fail because the client has no right to write to the topic.
    pub(super) unauthorized: Throttle,
    /// Counts the reports that nothing keeps any longer.
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

    /// Returns the number of partitions, if it is known.
    pub(super) fn known_partitions(&self) -> Option<u32> {
        let known = self.partitions.load(Ordering::Acquire);
        (known > 0).then_some(known)
    }

    /// Returns a number for a report, above all others of the topic.
    pub(super) fn next_number(&self) -> Number {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns whether reports had better go to the spool than wait for Kafka.
    pub(super) fn is_crowded(&self) -> bool {
        self.spool.is_some() && self.limits.are_half_reached()
    }

    /// Has the maintenance thread look after the topic.
    pub(super) fn wake(&self) {
        // A full channel means that it is about to.
        let _asked = self.maintenance.try_send(());
    }

    /// From here on only the spool has a report.
    pub(super) fn spooled(&self, lane: &LaneKey, number: Number, mut report: Pending) {
        self.delete_origin(&mut report);
        if let (Some(mark), Some(spool)) = (report.spooled(&self.metrics), &self.spool) {
            spool.mark(lane, number, mark);
        }
    }

    /// Nothing here keeps a report any longer. A sender that still waits is told that the spool has no room.
    pub(super) fn dropped(&self, report: Pending, why: Option<Reason>) {
        // Without a retry its row would be forgotten until the next start.
        if report.origin.is_some() {
            self.retries.retry(report);
        } else {
            self.give_up(report, NotTaken::NoRoom, why);
        }
    }

    /// Nothing keeps a report any longer.
    pub(super) fn give_up(&self, report: Pending, answer: NotTaken, why: Option<Reason>) {
        given_up::log(self.name(), &self.given_up, why);
        report.failed(answer, &self.metrics);
    }

    /// Deletes the row that kept a report until the rejected topic had it.
    pub(super) fn delete_origin(&self, report: &mut Pending) {
        if let (Some((lane, number)), Some(spool)) = (report.origin.take(), &self.spool) {
            spool.delete(&lane, number);
        }
    }

    /// Notes that a producer has delivered a record.
    pub(super) fn delivered(&self, producer: usize) {
        let has_delivered = &self.noticed[producer].has_delivered;
        if !has_delivered.load(Ordering::Relaxed) {
            has_delivered.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that a record was not delivered, by a generation of a producer if it was sent.
    pub(super) fn failed(&self, by: Option<(usize, Generation)>, why: Failed) {
        if let Some((producer, generation)) = by
            && why.is_wedged()
        {
            let wedged = &self.noticed[producer].wedged;
            wedged.fetch_max(generation, Ordering::Relaxed);
        }
        if why.is_unauthorized()
            && let Some(records) = self.unauthorized.count()
        {
            warn!(
                topic = self.name(),
                records, "Kafka does not let this client write: grant it WRITE on the topic"
            );
        }
        self.watch.doubt();
        self.wake();
    }
}

/// Reports on their way to the rejected topic, because Kafka refuses them on their own.
pub(super) struct Redirects {
    waiting: Mutex<Vec<(Instant, Pending)>>,
    /// How many of them are being placed.
    in_hand: AtomicUsize,
    /// Wakes the maintenance thread of the rejected topic.
    maintenance: SyncSender<()>,
}

impl Redirects {
    pub(super) fn new(maintenance: SyncSender<()>) -> Self {
        Self {
            waiting: Mutex::default(),
            in_hand: AtomicUsize::new(0),
            maintenance,
        }
    }

    pub(super) fn add(&self, report: Pending) {
        self.waiting.lock().push((Instant::now(), report));
        let _asked = self.maintenance.try_send(());
    }

    /// Takes a report back that the rejected topic could not take now.
    pub(super) fn retry(&self, report: Pending) {
        self.waiting.lock().push((Instant::now() + RETRY, report));
    }

    /// Gives the reports that are due by `now` to `place`, and keeps those that it gives back.
    pub(super) fn place(&self, now: Instant, place: impl Fn(Pending) -> Result<(), Pending>) {
        let due: Vec<_> = {
            let mut waiting = self.waiting.lock();
            let due = waiting.extract_if(.., |(not_before, _)| *not_before <= now);
            let due: Vec<_> = due.collect();
            self.in_hand.fetch_add(due.len(), Ordering::SeqCst);
            due
        };
        for (_, report) in due {
            if let Err(report) = place(report) {
                self.retry(report);
            }
            self.in_hand.fetch_sub(1, Ordering::SeqCst);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty() && self.in_hand.load(Ordering::SeqCst) == 0
    }

    /// Returns how many of the waiting reports only the memory has.
    pub(super) fn count_unwritten(&self) -> usize {
        let waiting = self.waiting.lock();
        let unwritten = |(_, report): &&(Instant, Pending)| report.origin.is_none();
        waiting.iter().filter(unwritten).count()
    }
}
