//! Delivery: from an event to Kafka's acknowledgement, or to the spool. The only caller of `kafka` and
//! `spool`.
//!
//! Each topic has an `outlet` with a producer of its own, so that what is wrong with
//! one does not hold up the other, and each of its partitions a lane, so that the same is true of
//! partitions. The `lane` decides, a `cell` does what its lane decides, and the topic's
//! `keeper` does what can block: draining the spool and replacing a broken producer. A report has a
//! place under the ceilings until its fate is known or the spool has it; its answer goes back to its worker
//! by the worker's `postbox`.

mod ceilings;
mod cell;
mod keeper;
mod lane;
mod outage;
mod outlet;
mod pace;
mod postbox;
mod receipt;
mod refused_size;
mod rider;
mod route;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tracing::warn;

pub use ceilings::{Ceilings, Hold};
use cell::{Cell, SpoolTicket, Ticket};
use keeper::Keeper;
use outlet::Outlet;
pub use postbox::Postbox;
use refused_size::RefusedSize;
use rider::KeptBy;
use route::{Current, Route};

use crate::contract::{Event, Fault, Rejected};
use crate::kafka::{Asking, ClientError, Producer, Settings, TopicState, TopicWatch, Watching};
use crate::spool::{Level, OpenError, Options, Remains, Restored, Spool};

/// How often to look whether everything is delivered.
const LOOK: Duration = Duration::from_millis(20);
/// How long a stopping bridge waits for the spool's last writes.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// The report is kept: every in-sync replica has it, at least `min.insync.replicas` of them, or the
/// spool has it, fsynced. Only a delivery report or an fsync makes one, and only with one is a sender
/// told 2xx.
#[derive(Debug)]
pub struct Promised(KeptBy);

impl Promised {
    /// Whether the spool has it, and Kafka is still to get it.
    pub fn is_spooled(&self) -> bool {
        self.0 == KeptBy::Spool
    }
}

/// Why a report was not promised to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The ceilings are reached, or librdkafka's queue is full.
    Overloaded,
    /// There is no topic to send to.
    NoTopic,
    /// Kafka can't take it now, and neither can the spool.
    NoRoom,
    /// Kafka refuses it for its size or form on both topics, and there is no spool.
    Unfit,
    /// It was not kept by the deadline; the record may still arrive.
    Deadline,
}

/// Why delivery can't start.
#[derive(Debug)]
pub enum StartError {
    /// librdkafka refuses the settings as a whole.
    Kafka(ClientError),
    Spool(OpenError),
    /// The system can't start the thread of this name.
    Thread(&'static str, io::Error),
}

/// The spool, and when a report goes there.
#[derive(Clone, Debug)]
pub struct Hedge {
    pub spool: Options,
    /// How long a report may wait for Kafka alone.
    pub after: Duration,
}

/// What was not delivered when a bridge stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// In the spool, quarantined ones left out: a later run delivers them.
    pub spooled: u64,
    /// In memory alone: none of them was promised.
    pub unpromised: u64,
}

/// Where reports go: the events topic, and the rejected topic for what could not be accepted.
pub struct Delivery {
    // The keepers end first.
    _keepers: [Keeper; 2],
    watching: Watching,
    events: Arc<Outlet>,
    rejected: Arc<Outlet>,
    spool: Option<Arc<Spool<SpoolTicket>>>,
    ceilings: Arc<Ceilings>,
}

/// The names of the two topics.
#[derive(Clone, Debug)]
pub struct Topics {
    pub events: String,
    pub rejected: String,
}

impl Delivery {
    /// Opens the spool and starts the producers. Kafka need not be there yet. `with_durability` has the
    /// topics' replication read, which an embedded broker can't tell.
    ///
    /// # Errors
    /// Where librdkafka refuses the settings as a whole, or the spool can't be owned.
    pub fn start(
        settings: &Settings,
        topics: Topics,
        ceilings: Ceilings,
        hedge: Option<Hedge>,
        with_durability: bool,
    ) -> Result<Self, StartError> {
        let metrics = Arc::clone(&ceilings.metrics);
        let opened = hedge.as_ref().map(|hedge| {
            let metrics = Arc::clone(&metrics);
            let on_commit = move |took| metrics.committed(took);
            Spool::open(&hedge.spool, SpoolTicket::settle, on_commit)
        });
        let (spool, remains) = match opened.transpose().map_err(StartError::Spool)? {
            Some((spool, remains)) => (Some(Arc::new(spool)), remains),
            None => (None, Remains::default()),
        };
        let start =
            |name| Producer::start(name, settings, Ticket::settle).map_err(StartError::Kafka);
        let producers = [start("events")?, start("rejected")?].map(|producer| {
            let producer = Arc::new(producer);
            Arc::new(ArcSwap::from_pointee(Current {
                producer,
                generation: 1,
            }))
        });
        let asked = Arc::clone(&producers[0]);
        let names = [topics.events, topics.rejected];
        warn_of_strangers(&remains.lanes, &names);
        let producer = move || Arc::clone(&asked.load().producer);
        let watching = Watching::start(producer, settings, names, with_durability);
        let thread = |name| move |error| StartError::Thread(name, error);
        let (watching, watches) = watching.map_err(thread("kafka-health"))?;
        let ceilings = Arc::new(ceilings);
        let parts = Parts {
            hedge,
            spool: spool.clone(),
            remains,
            ceilings: Arc::clone(&ceilings),
            sizes_compare: !settings.compresses(),
        };
        let [events, rejected] = watches;
        let [events_producer, rejected_producer] = producers;
        let (events, events_woken) = parts.outlet(events, events_producer);
        let (rejected, rejected_woken) = parts.outlet(rejected, rejected_producer);
        let taker = Some(Arc::clone(&rejected));
        let keepers = [
            Keeper::start("events", Arc::clone(&events), taker, settings, events_woken)
                .map_err(thread("keeper-events"))?,
            Keeper::start(
                "rejected",
                Arc::clone(&rejected),
                None,
                settings,
                rejected_woken,
            )
            .map_err(thread("keeper-rejected"))?,
        ];
        Ok(Self {
            _keepers: keepers,
            watching,
            events,
            rejected,
            spool,
            ceilings,
        })
    }

    /// What a body takes while it is read counts by this, until it is published or let go.
    ///
    /// # Errors
    /// [`NotTaken::Overloaded`] where no report can be taken now.
    pub fn hold(&self) -> Result<Hold, NotTaken> {
        self.ceilings.hold().ok_or(NotTaken::Overloaded)
    }

    /// Publishes an event and waits until Kafka or the spool has it.
    ///
    /// # Errors
    /// Why the report is not promised. After [`NotTaken::Deadline`] delivery goes on.
    pub async fn publish(&self, event: Event, deadline: Instant) -> Result<Promised, NotTaken> {
        self.events
            .deliver(event.into_record(), deadline)
            .await
            .map(Promised)
    }

    /// Keeps what could not be accepted, whole, on the rejected topic; says what was wrong with it.
    ///
    /// # Errors
    /// Why it is not kept. After [`NotTaken::Deadline`] delivery goes on.
    pub async fn keep(
        &self,
        rejected: Rejected,
        deadline: Instant,
    ) -> Result<(Promised, Fault), NotTaken> {
        let (fault, record) = rejected.into_parts();
        let kept_by = self.rejected.deliver(record, deadline).await?;
        Ok((Promised(kept_by), fault))
    }

    /// What Kafka last said of the events topic and of the rejected topic.
    #[must_use]
    pub fn topics(&self) -> [(&str, TopicState); 2] {
        [&self.events, &self.rejected].map(|outlet| (outlet.topic(), outlet.topic_state()))
    }

    /// Since when Kafka owes an answer, and how to have it asked now.
    #[must_use]
    pub fn asking(&self) -> &Asking {
        self.watching.asking()
    }

    /// What the spool holds now, where there is one.
    #[must_use]
    pub fn spool_level(&self) -> Option<Level> {
        self.spool.as_ref().map(|spool| spool.level())
    }

    /// How many lanes wait for Kafka, and of how many.
    #[must_use]
    pub fn waiting_lanes(&self) -> (usize, usize) {
        let cells = self.cells();
        let waiting = cells
            .iter()
            .filter(|cell| !cell.is_direct() && !cell.is_idle());
        (waiting.count(), cells.len())
    }

    /// Waits until everything is delivered, at most for `timeout`, then has what is left written to the
    /// spool. Blocks: not for a runtime's thread.
    #[must_use]
    pub fn finish(&self, timeout: Duration) -> Left {
        let until = Instant::now() + timeout;
        while Instant::now() < until && !self.is_delivered() {
            thread::park_timeout(LOOK);
        }
        let mut spooled = 0;
        if let Some(spool) = &self.spool {
            for cell in self.cells() {
                cell.halt();
                cell.save();
            }
            if !spool.close(LAST_WRITES) {
                warn!("the spool's disk does not answer: its last writes are left undone");
            }
            let level = spool.level();
            spooled = level.reports.saturating_sub(level.quarantined);
        }
        let unpromised = self.ceilings.metrics.reports_in_flight.get();
        let in_memory = u64::try_from(unpromised).unwrap_or_default();
        let unpromised = if self.spool.is_some() {
            self.unwritten()
        } else {
            in_memory
        };
        Left {
            spooled,
            unpromised,
        }
    }

    /// Whether nothing is left to be delivered.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        self.cells().iter().all(|cell| cell.is_idle())
    }

    fn unwritten(&self) -> u64 {
        self.cells().iter().map(|cell| cell.unwritten()).sum()
    }

    fn cells(&self) -> Vec<Arc<Cell>> {
        [&self.events, &self.rejected]
            .into_iter()
            .flat_map(|outlet| outlet.cells())
            .collect()
    }
}

/// What outlets are made of.
struct Parts {
    hedge: Option<Hedge>,
    spool: Option<Arc<Spool<SpoolTicket>>>,
    remains: Remains,
    ceilings: Arc<Ceilings>,
    /// A larger record is larger for Kafka too: nothing is compressed.
    sizes_compare: bool,
}

impl Parts {
    fn outlet(
        &self,
        topic: TopicWatch,
        current: Arc<ArcSwap<Current>>,
    ) -> (Arc<Outlet>, Receiver<()>) {
        let (keeper, woken): (SyncSender<()>, _) = mpsc::sync_channel(1);
        let Remains { lanes, partitions } = &self.remains;
        let known = partitions.iter().find(|(name, _)| *name == topic.name);
        let restored = lanes.iter().filter(|left| *left.lane.topic == *topic.name);
        let restored = restored.cloned().collect();
        let route = Route {
            topic,
            metrics: Arc::clone(&self.ceilings.metrics),
            spool: self.spool.clone(),
            stall_after: self.hedge.as_ref().map(|hedge| hedge.after),
            ceilings: Arc::clone(&self.ceilings),
            current,
            partitions: AtomicU32::new(known.map_or(0, |(_, partitions)| *partitions)),
            // The other half is for the pages of its files.
            memory: self
                .hedge
                .as_ref()
                .map_or(0, |hedge| hedge.spool.memory / 2),
            lanes: AtomicUsize::new(0),
            keeper,
            is_wedged: AtomicBool::new(false),
            has_delivered: AtomicBool::new(false),
            refused: RefusedSize::new(self.sizes_compare),
            unfit: Mutex::default(),
        };
        (Arc::new(Outlet::new(Arc::new(route), restored)), woken)
    }
}

/// Lanes of other topics stay where they are: nobody said where they are to go.
fn warn_of_strangers(restored: &[Restored], names: &[String; 2]) {
    for Restored { lane, first, last } in restored {
        if first <= last && names.iter().all(|name| **name != *lane.topic) {
            warn!(
                topic = &*lane.topic,
                "the spool holds reports for a topic that is not configured: they stay there; \
                 `koobridge spool drain --set kafka.topic=…` delivers them"
            );
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Delivery")
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kafka(error) => write!(f, "{error}"),
            Self::Spool(error) => write!(f, "{error}"),
            Self::Thread(name, error) => write!(f, "can't start the thread {name}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

#[cfg(test)]
mod tests;
