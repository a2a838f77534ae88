//! What the lanes of one topic share: the producer of the moment, the spool, and whom to wake.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use arc_swap::ArcSwap;

use super::ceilings::Ceilings;
use super::cell::{Cell, SpoolTicket, Ticket};
use super::lane::{Generation, Number};
use super::refused_size::RefusedSize;
use crate::bridge::metrics::Metrics;
use crate::contract::Record;
use crate::kafka::{Failed, Producer, TopicWatch, partition_for};
use crate::spool::{LaneKey, Spool};

/// The longest pause between two probes of a lane, with a spool and without: without one, senders
/// wait for the next.
const LONGEST_PAUSE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(1)];
/// How soon to try again to bring what Kafka refuses to the rejected topic.
const UNFIT_PAUSE: Duration = Duration::from_secs(1);

/// The producer of the moment.
pub(super) struct Current {
    pub(super) producer: Arc<Producer<Ticket>>,
    pub(super) generation: Generation,
}

pub(super) struct Route {
    pub(super) topic: TopicWatch,
    pub(super) metrics: Arc<Metrics>,
    pub(super) spool: Option<Arc<Spool<SpoolTicket>>>,
    /// How long a report may wait for Kafka alone, where there is a spool.
    pub(super) stall_after: Option<Duration>,
    pub(super) ceilings: Arc<Ceilings>,
    pub(super) current: Arc<ArcSwap<Current>>,
    /// How many partitions the topic had when it was last seen; 0 where it never was.
    pub(super) partitions: AtomicU32,
    /// Bytes that reports read back from the spool may take.
    pub(super) memory: usize,
    pub(super) lanes: AtomicUsize,
    pub(super) keeper: SyncSender<()>,
    pub(super) is_wedged: AtomicBool,
    /// Whether the producer of the moment has delivered anything.
    pub(super) has_delivered: AtomicBool,
    pub(super) refused: RefusedSize,
    /// What Kafka refuses for size or form.
    pub(super) unfit: Mutex<Vec<Unfit>>,
}

/// A report that Kafka refuses on its own topic.
pub(super) struct Unfit {
    pub(super) cell: Arc<Cell>,
    pub(super) number: Number,
    pub(super) code: &'static str,
    pub(super) not_before: Instant,
}

impl Route {
    pub(super) fn is_hedged(&self) -> bool {
        self.spool.is_some()
    }

    pub(super) fn longest_pause(&self) -> Duration {
        LONGEST_PAUSE[usize::from(!self.is_hedged())]
    }

    pub(super) fn producer(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// The number of partitions, where it is known; with a spool the last one counts while there is
    /// no topic.
    pub(super) fn known_partitions(&self) -> Option<u32> {
        let remembered = || {
            let last = self.partitions.load(Ordering::Relaxed);
            (self.is_hedged() && last > 0).then_some(last)
        };
        self.topic.known_partitions().or_else(remembered)
    }

    /// Where a lane's record goes: to the lane's partition, unless there is none of that number.
    pub(super) fn partition(&self, lane: &LaneKey, record: &Record) -> Option<u32> {
        let count = self.known_partitions()?;
        lane.partition
            .filter(|partition| *partition < count)
            .or_else(|| {
                record
                    .key
                    .as_ref()
                    .map(|key| partition_for(key.as_bytes(), count))
            })
    }

    /// Whether reports had better go to the spool than wait for Kafka.
    pub(super) fn is_crowded(&self) -> bool {
        self.is_hedged() && self.ceilings.are_half_reached()
    }

    pub(super) fn memory_per_lane(&self) -> usize {
        self.memory / self.lanes.load(Ordering::Relaxed).max(1)
    }

    /// Has the keeper look after the lanes.
    pub(super) fn wake(&self) {
        // A full channel means that somebody has asked for it already.
        let _asked = self.keeper.try_send(());
    }

    /// A record was delivered.
    pub(super) fn delivered(&self) {
        if !self.has_delivered.load(Ordering::Relaxed) {
            self.has_delivered.store(true, Ordering::Relaxed);
        }
    }

    /// A record was not delivered.
    pub(super) fn trouble(&self, why: Failed) {
        if why.is_wedged() {
            self.is_wedged.store(true, Ordering::Relaxed);
        }
        self.topic.doubt();
        self.wake();
    }

    /// Kafka refuses a report for its size or form, sent alone.
    pub(super) fn unfit(&self, cell: Arc<Cell>, number: Number, code: &'static str) {
        self.add_unfit(Unfit {
            cell,
            number,
            code,
            not_before: Instant::now(),
        });
        self.wake();
    }

    /// The rejected topic can't be reached: later.
    pub(super) fn unfit_again(&self, cell: Arc<Cell>, number: Number, code: &'static str) {
        self.add_unfit(Unfit {
            cell,
            number,
            code,
            not_before: Instant::now() + UNFIT_PAUSE,
        });
    }

    fn add_unfit(&self, unfit: Unfit) {
        self.unfit.lock().push(unfit);
    }

    /// What is to be brought to the rejected topic now.
    pub(super) fn take_unfit(&self) -> Vec<Unfit> {
        let mut unfit = self.unfit.lock();
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut *unfit)
            .into_iter()
            .partition(|unfit| unfit.not_before <= now);
        *unfit = later;
        due
    }
}
