//! Delivery: from an event to Kafka's acknowledgement, or to the spool. Only this folder sends to Kafka and writes to the
//! spool.
//!
//! Each `Topic` has producers and a maintenance thread of its own, and each of its partitions a lane,
//! so that a fault of one does not delay the others. The way of a report:
//!
//! 1. `topic` gets a permit from `limits`, makes a report `pending`, and picks its partition.
//! 2. `partition` numbers it in its `lane`, which decides what is done, and does it: the producer or the spool has the
//!    record. Until the partitions are known, the `inbox` has it written.
//! 3. Kafka's delivery report and the spool's answer name it by a ticket (`shared`); `partitions` finds its partition,
//!    the lane decides, and the sender that waits in `topic` is woken by `replies`.
//!
//! `maintenance` does the work that can block, with `backoff` and `outage` to say when.

mod backoff;
mod given_up;
mod inbox;
mod lane;
mod limits;
mod maintenance;
mod outage;
mod partition;
mod partitions;
mod pending;
mod producers;
mod refused_size;
mod replies;
mod shared;
mod topic;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tracing::warn;

use lane::Input;
pub use limits::{BodyPermit, InFlight, InFlightLimits};
use maintenance::Maintenance;
use partitions::Partitions;
pub use pending::{NotTaken, Promised};
use producers::{CurrentSettings, Producers};
use refused_size::RefusedSize;
pub use replies::Replies;
use shared::{Redirects, Shared, SpoolTicket};
use topic::Topic;

use super::metrics::Metrics;
use crate::config::LAST_WRITES;
use crate::contract::{Event, Fault, Rejected};
use crate::kafka::{ClientError, PollView, Settings, TopicState, TopicWatch, Watching};
use crate::spool::{Level, OpenError, Options, Remains, Restored, Spool};
use crate::telemetry::Throttle;

/// How often to look whether everything is delivered.
const LOOK: Duration = Duration::from_millis(20);

/// Why delivery can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("kafka.properties: librdkafka can't start with them: {0}")]
    Kafka(ClientError),
    #[error(transparent)]
    Spool(OpenError),
    #[error("can't start the thread {0}: {1}")]
    Thread(&'static str, io::Error),
}

/// The spool, and when a report goes there.
#[derive(Clone, Debug)]
pub struct Spooling {
    pub spool: Options,
    /// How long a report may wait for Kafka alone.
    pub after: Duration,
}

/// The reports that are not delivered when a bridge stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// In the spool, without quarantined ones; a lower bound unless `is_counted`.
    pub spooled: u64,
    /// Whether all reports in the spool are counted.
    pub is_counted: bool,
    /// Whether some of them are of the two topics: a later run delivers these.
    pub is_due: bool,
    /// The topics of others of them: a run without these topics does not deliver them.
    pub other_topics: Vec<String>,
    /// Delivered, but the disk does not let them be deleted yet: a later run delivers them again.
    pub undeleted: u64,
    /// In memory alone: none of them was promised.
    pub unpromised: u64,
}

impl Left {
    /// Returns whether Kafka has every report, and the next run none to repeat.
    #[must_use]
    pub fn is_none(&self) -> bool {
        let counts = [self.spooled, self.undeleted, self.unpromised];
        counts == [0; 3] && self.is_counted
    }
}

/// The two topics, and what their reports go through.
pub struct Delivery {
    // The maintenance threads end first.
    _maintenance: [Maintenance; 2],
    watching: Watching,
    events: Arc<Topic>,
    rejected: Arc<Topic>,
    redirects: Arc<Redirects>,
    spool: Option<Arc<Spool<SpoolTicket>>>,
    /// Topics that are not configured and that the spool holds reports for.
    other_topics: Vec<String>,
    limits: Arc<InFlightLimits>,
    settings: CurrentSettings,
}

/// The two topics.
#[derive(Clone, Debug)]
pub struct Topics {
    pub events: String,
    pub rejected: String,
    /// How many producers the events topic has; chosen by its partitions if it is not given.
    pub producers: Option<NonZeroUsize>,
}

/// The topics as the spool's thread finds them: it must not keep them alive.
type Written = OnceLock<[Weak<Partitions>; 2]>;

impl Delivery {
    /// Opens the spool and starts the producers. Kafka need not be there yet. `with_durability` has the topics'
    /// replication read, which an embedded broker does not tell.
    ///
    /// # Errors
    /// If librdkafka refuses the settings as a whole, or the spool can't be owned.
    pub fn start(
        settings: &Settings,
        topics: Topics,
        limits: InFlightLimits,
        spooling: Option<Spooling>,
        with_durability: bool,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let written = Arc::new(Written::new());
        let opened = spooling
            .as_ref()
            .map(|spooling| open_spool(spooling, &written, metrics));
        let (spool, remains) = opened.transpose().map_err(StartError::Spool)?.unzip();
        let names = [topics.events, topics.rejected];
        let compresses = settings.compresses();
        let settings = CurrentSettings::new(ArcSwap::from_pointee(settings.clone()));
        let parts = Parts {
            settings: &settings,
            compresses,
            metrics,
            limits: Arc::new(limits),
            spooling: spooling.as_ref(),
            spool,
            remains: remains.unwrap_or_default(),
        };
        let other_topics = other_topics(&parts.remains.lanes, &names);

        let ([events, rejected], prepared) = Watching::prepare(names);
        let (wake_events, events_woken) = mpsc::sync_channel(1);
        let (wake_rejected, rejected_woken) = mpsc::sync_channel(1);
        let redirects = Arc::new(Redirects::new(wake_rejected.clone()));
        let producers = topics.producers.map(NonZeroUsize::get);
        let events = parts.start("events", events, producers, wake_events, &redirects)?;
        // Few reports go there, if senders are sound.
        let one = Some(1);
        let rejected = parts.start("rejected", rejected, one, wake_rejected, &redirects)?;
        // The spool's thread does not keep them alive.
        let _first =
            written.set([&events, &rejected].map(|topic| Arc::downgrade(&topic.partitions)));

        let asked = Arc::clone(&events);
        let producer = move || Arc::clone(&asked.producers.get(0).load().producer);
        let watching = prepared.start(producer, &settings, with_durability);
        let watching = watching.map_err(|error| StartError::Thread("kafka-health", error))?;
        let maintain = |topic: &Arc<Topic>, redirects, woken| {
            Maintenance::start(Arc::clone(topic), redirects, woken)
        };
        let taken = Some(Arc::clone(&redirects));
        Ok(Self {
            _maintenance: [
                maintain(&events, None, events_woken)
                    .map_err(|error| StartError::Thread("deliver-events", error))?,
                maintain(&rejected, taken, rejected_woken)
                    .map_err(|error| StartError::Thread("deliver-rejected", error))?,
            ],
            watching,
            events,
            rejected,
            redirects,
            spool: parts.spool,
            other_topics,
            limits: parts.limits,
            settings,
        })
    }

    /// Uses other settings from now on. The producers are replaced one after the other, each when its successor has
    /// had an answer of Kafka and its own reports in flight have their results, or have waited for them for long.
    pub fn renew(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
        for topic in self.both() {
            *topic.renewal_problem.lock() = None;
            topic.shared().wake();
        }
    }

    /// Returns why a producer with the latest settings could not take over, while one is left that has others.
    #[must_use]
    pub fn renewal_problem(&self) -> Option<String> {
        let problem = |topic: &Topic| topic.renewal_problem.lock().clone();
        self.both().into_iter().find_map(problem)
    }

    /// Returns when the first of the certificates expires that the producers show, if there are any.
    #[must_use]
    pub fn certificate_expires(&self) -> Option<Timestamp> {
        let producers = self.both().map(|topic| &topic.producers);
        let expires = producers
            .into_iter()
            .filter_map(Producers::certificate_expires);
        expires.min()
    }

    /// Returns a permit for a body that is about to be read; it counts until the report is published.
    ///
    /// # Errors
    /// [`NotTaken::Overloaded`] if no report can be taken now.
    pub fn body_permit(&self) -> Result<BodyPermit, NotTaken> {
        self.limits.body().ok_or(NotTaken::Overloaded)
    }

    /// Publishes an event and waits until Kafka or the spool has it.
    ///
    /// # Errors
    /// Why the report is not promised. After [`NotTaken::Deadline`] the record may still arrive.
    pub async fn publish(&self, event: Event, deadline: Instant) -> Result<Promised, NotTaken> {
        let kept = self.events.deliver(event.into_record(), deadline).await?;
        Ok(Promised::by(kept))
    }

    /// Keeps a request that could not be accepted, whole, on the rejected topic. Returns its fault.
    ///
    /// # Errors
    /// Why it is not kept. After [`NotTaken::Deadline`] the record may still arrive.
    pub async fn keep(
        &self,
        rejected: Rejected,
        deadline: Instant,
    ) -> Result<(Promised, Fault), NotTaken> {
        let (fault, record) = rejected.into_parts();
        let kept = self.rejected.deliver(record, deadline).await?;
        Ok((Promised::by(kept), fault))
    }

    /// Returns the state of the events topic and of the rejected topic, as Kafka last described it.
    #[must_use]
    pub fn topics(&self) -> [(&str, TopicState); 2] {
        self.both().map(|topic| (topic.name(), topic.state()))
    }

    /// Returns since when Kafka owes an answer, and a way to have it asked now.
    #[must_use]
    pub fn poll_view(&self) -> &PollView {
        self.watching.poll_view()
    }

    /// Returns what the spool holds now, if there is one.
    #[must_use]
    pub fn spool_level(&self) -> Option<Level> {
        self.spool.as_ref().map(|spool| spool.level())
    }

    /// Returns what is in flight now.
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
        self.limits.in_flight()
    }

    /// Returns how many partitions wait for Kafka, and of how many.
    #[must_use]
    pub fn waiting_partitions(&self) -> (usize, usize) {
        let [events, rejected] = self.both().map(|topic| topic.partitions.waiting());
        (events.0 + rejected.0, events.1 + rejected.1)
    }

    /// Returns the topics that are not configured and that the spool holds reports for: those stay there.
    #[must_use]
    pub fn other_topics(&self) -> &[String] {
        &self.other_topics
    }

    /// Waits until everything is delivered and counted, at most for `timeout`, then has the rest written to the
    /// spool. Blocks: not for a runtime's thread.
    #[must_use]
    pub fn finish(&self, timeout: Duration) -> Left {
        let until = Instant::now() + timeout;
        while Instant::now() < until && !(self.is_delivered() && self.is_counted()) {
            thread::park_timeout(LOOK);
        }
        let Some(spool) = &self.spool else {
            return self.left(&Level::default(), self.limits.in_flight().reports);
        };
        let soon = Instant::now() + LOOK;
        self.redirects
            .place(soon, |report| self.rejected.take_over(report));
        // A producer that is replaced has its partitions go on.
        let close = |topic: &Topic| *topic.is_closed.lock() = true;
        self.both().into_iter().for_each(close);
        for partition in self
            .both()
            .iter()
            .flat_map(|topic| topic.partitions.all().to_vec())
        {
            partition.feed(Input::Pause);
            partition.feed(Input::SpillAll);
        }
        if !spool.close(LAST_WRITES) {
            warn!("the spool's disk does not answer: its last writes are left undone");
        }
        self.left(&spool.level(), self.count_unwritten() as u64)
    }

    fn left(&self, level: &Level, unpromised: u64) -> Left {
        let spooled = level.reports.saturating_sub(level.quarantined);
        let is_counted = self.is_counted();
        Left {
            spooled,
            is_counted,
            is_due: (spooled > 0 || !is_counted) && !self.is_delivered(),
            other_topics: self.other_topics.clone(),
            undeleted: level.undeleted,
            unpromised,
        }
    }

    /// Returns whether the reports in the spool are counted.
    fn is_counted(&self) -> bool {
        self.spool_level().is_none_or(|level| level.is_counted)
    }

    /// Returns whether nothing is left to be delivered.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        // In the order in which reports move on.
        self.events.partitions.is_idle()
            && self.redirects.is_empty()
            && self.rejected.partitions.is_idle()
    }

    fn count_unwritten(&self) -> usize {
        let [events, rejected] = self.both().map(|topic| topic.partitions.count_unwritten());
        events + rejected + self.redirects.count_unwritten()
    }

    fn both(&self) -> [&Topic; 2] {
        [&self.events, &self.rejected]
    }
}

/// What topics are made of.
struct Parts<'a> {
    settings: &'a CurrentSettings,
    compresses: bool,
    metrics: &'a Arc<Metrics>,
    limits: Arc<InFlightLimits>,
    spooling: Option<&'a Spooling>,
    spool: Option<Arc<Spool<SpoolTicket>>>,
    remains: Remains,
}

impl Parts<'_> {
    /// Starts a topic with the lanes that earlier runs left.
    fn start(
        &self,
        role: &'static str,
        watch: TopicWatch,
        producers: Option<usize>,
        maintenance: SyncSender<()>,
        redirects: &Arc<Redirects>,
    ) -> Result<Arc<Topic>, StartError> {
        let Remains { lanes, partitions } = &self.remains;
        let lanes = lanes.iter().filter(|lane| *lane.lane.topic == *watch.name);
        let remembered = partitions.iter().find(|(name, _)| *name == watch.name);
        let remembered = remembered.map(|(_, count)| *count);
        let is_rejected = role == "rejected";
        let shared = Shared {
            topic: usize::from(is_rejected),
            watch: watch.clone(),
            metrics: Arc::clone(self.metrics),
            limits: Arc::clone(&self.limits),
            spool: self.spool.clone(),
            // The other half is for the pages of its files.
            memory: self
                .spooling
                .map_or(0, |spooling| spooling.spool.memory / 2),
            partitions: AtomicU32::new(0),
            lanes: AtomicUsize::new(0),
            next: AtomicU64::new(1),
            // Compressed, a larger record can be the smaller one.
            refused_size: RefusedSize::new(!self.compresses),
            redirects: (!is_rejected).then(|| Arc::clone(redirects)),
            retries: Arc::clone(redirects),
            maintenance,
            noticed: Default::default(),
            unauthorized: Throttle::new(),
            given_up: Throttle::new(),
        };
        let partitions = Arc::new(Partitions::new(Arc::new(shared), lanes));
        let after = self.spooling.map(|spooling| spooling.after);
        let producers = Producers::start(role, self.settings, producers, partitions);
        let topic = producers.map(|producers| Topic::new(producers, after, remembered));
        topic.map(Arc::new).map_err(StartError::Kafka)
    }
}

fn open_spool(
    spooling: &Spooling,
    written: &Arc<Written>,
    metrics: &Arc<Metrics>,
) -> Result<(Arc<Spool<SpoolTicket>>, Remains), OpenError> {
    let (written, metrics) = (Arc::clone(written), Arc::clone(metrics));
    let on_written = move |ticket: SpoolTicket, result| {
        let topic = written
            .get()
            .and_then(|topics| topics[ticket.topic].upgrade());
        if let Some(topic) = topic {
            topic.written(ticket, result);
        }
    };
    let on_commit = move |took| metrics.committed(took);
    let (spool, remains) = Spool::open(&spooling.spool, on_written, on_commit)?;
    Ok((Arc::new(spool), remains))
}

/// Returns the topics of due reports that are none of `names`, and warns of each.
fn other_topics(restored: &[Restored], names: &[String; 2]) -> Vec<String> {
    let due = restored.iter().filter(|lane| lane.first <= lane.last);
    let topics = due.map(|lane| lane.lane.topic.to_string());
    let others = topics.filter(|topic| !names.contains(topic));
    let others: BTreeSet<String> = others.collect();
    for topic in &others {
        warn!(
            topic,
            "the spool holds reports for a topic that is not configured: they stay there until \
             `koobridge spool drain --set kafka.topic={topic}` delivers them"
        );
    }
    others.into_iter().collect()
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Delivery")
    }
}

#[cfg(test)]
mod tests;
