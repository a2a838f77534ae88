//! Delivers events to Kafka, or to the spool when Kafka is slow or down. In the bridge, only this folder sends to Kafka
//! and writes to the spool.
//!
//! Each `Topic` has its own producers and maintenance thread, and each of its partitions has a lane, so that a fault of
//! one does not delay the others. The path of a report:
//!
//! 1. `topic` gets a permit from `limits`, creates a `pending` report and picks its partition.
//! 2. `partition` gives the report a number. Its `lane` decides on the next actions, and `partition` executes them: it
//!    sends the record to Kafka or writes it to the spool. Until the partitions are known, the `inbox` writes it to the
//!    spool.
//! 3. Kafka's delivery report and the spool's answer carry a ticket (`shared`). `partitions` finds the partition of the
//!    ticket, the lane decides, and `replies` wakes the sender that waits in `topic`.
//!
//! `maintenance` does the work that can block. `backoff` times its attempts, and `outage` logs outages.

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
mod rejected_size;
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
pub use pending::{Promised, PublishError};
use producers::{CurrentSettings, Producers};
use rejected_size::RejectedSize;
pub use replies::Replies;
use shared::{Redirects, Shared, SpoolTicket};
use topic::Topic;

use super::metrics::Metrics;
use crate::config::LAST_WRITES;
use crate::contract::{Event, Fault, Rejected};
use crate::kafka::{ClientError, PollView, Settings, TopicState, TopicWatch, Watching};
use crate::spool::{Level, OpenError, Options, RestoredLane, RestoredState, Spool};
use crate::telemetry::Throttle;

/// How often a stopping bridge checks whether everything is delivered.
const FINISH_POLL: Duration = Duration::from_millis(20);

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

/// The settings of the spool.
#[derive(Clone, Debug)]
pub struct Spooling {
    pub spool: Options,
    /// How long a report waits for Kafka before it is also written to the spool.
    pub after: Duration,
}

/// The undelivered reports of a bridge that has stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// Reports in the spool, without quarantined ones; a lower bound unless `is_counted`.
    pub spooled: u64,
    /// Whether all reports in the spool are counted.
    pub is_counted: bool,
    /// Whether the spool has reports for the two configured topics. The next run delivers them.
    pub is_due: bool,
    /// Topics that are not configured, but have reports in the spool. A run that is configured with them
    /// delivers these.
    pub other_topics: Vec<String>,
    /// Delivered reports that could not be deleted from the spool yet. The next run delivers them again.
    pub undeleted: u64,
    /// Reports in memory only. Their senders were not promised anything.
    pub unpromised: u64,
}

impl Undelivered {
    /// Returns whether Kafka has every report and the next run repeats none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let counts = [self.spooled, self.undeleted, self.unpromised];
        counts == [0; 3] && self.is_counted
    }
}

/// The two topics, with the spool and the limits that they share.
pub struct Delivery {
    // First, so that these threads end before the other fields are dropped.
    _maintenance: [Maintenance; 2],
    watching: Watching,
    events: Arc<Topic>,
    rejected: Arc<Topic>,
    redirects: Arc<Redirects>,
    spool: Option<Arc<Spool<SpoolTicket>>>,
    /// Topics that are not configured, but have reports in the spool.
    other_topics: Vec<String>,
    limits: Arc<InFlightLimits>,
    settings: CurrentSettings,
}

/// The configuration of the two topics.
#[derive(Clone, Debug)]
pub struct Topics {
    pub events: String,
    pub rejected: String,
    /// The number of producers of the events topic. If it is `None`, it depends on the number of partitions.
    pub producers: Option<NonZeroUsize>,
}

/// The topics, for the spool's thread, which must not keep them alive.
type WeakTopics = OnceLock<[Weak<Partitions>; 2]>;

impl Delivery {
    /// Opens the spool and starts the producers. Kafka need not be reachable yet. If `with_durability`, the topics'
    /// replication settings are read too, which the embedded broker does not support.
    ///
    /// # Errors
    /// If librdkafka rejects the settings, the spool can't be opened, or the system can't start a thread.
    pub fn start(
        settings: &Settings,
        topics: Topics,
        limits: InFlightLimits,
        spooling: Option<Spooling>,
        with_durability: bool,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let weak_topics = Arc::new(WeakTopics::new());
        let opened = spooling
            .as_ref()
            .map(|spooling| open_spool(spooling, &weak_topics, metrics));
        let (spool, restored) = opened.transpose().map_err(StartError::Spool)?.unzip();
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
            restored: restored.unwrap_or_default(),
        };
        let other_topics = other_topics(&parts.restored.lanes, &names);

        let ([events, rejected], prepared) = Watching::prepare(names);
        let (wake_events, events_woken) = mpsc::sync_channel(1);
        let (wake_rejected, rejected_woken) = mpsc::sync_channel(1);
        let redirects = Arc::new(Redirects::new(wake_rejected.clone()));
        let producers = topics.producers.map(NonZeroUsize::get);
        let events = parts.start_topic("events", events, producers, wake_events, &redirects)?;
        // One producer is enough: few reports go to this topic.
        let one = Some(1);
        let rejected = parts.start_topic("rejected", rejected, one, wake_rejected, &redirects)?;
        let _set_once =
            weak_topics.set([&events, &rejected].map(|topic| Arc::downgrade(&topic.partitions)));

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

    /// Replaces the producers by ones with other settings, one after the other in each topic. Each is replaced when Kafka
    /// has answered its successor and its own reports in flight have their results or have timed out.
    pub fn renew(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
        for topic in self.both_topics() {
            *topic.renewal_problem.lock() = None;
            topic.shared().wake();
        }
    }

    /// Returns why a producer with the latest settings could not take over, until all producers have these settings.
    #[must_use]
    pub fn renewal_problem(&self) -> Option<String> {
        let problem = |topic: &Topic| topic.renewal_problem.lock().clone();
        self.both_topics().into_iter().find_map(problem)
    }

    /// Returns when the first client certificate of the producers expires, if they have any.
    #[must_use]
    pub fn certificate_expires(&self) -> Option<Timestamp> {
        let producers = self.both_topics().map(|topic| &topic.producers);
        let expires = producers
            .into_iter()
            .filter_map(Producers::certificate_expires);
        expires.min()
    }

    /// Returns a permit for a request body that is about to be read. Its bytes count until it is dropped.
    ///
    /// # Errors
    /// [`PublishError::Overloaded`] if a limit is reached.
    pub fn body_permit(&self) -> Result<BodyPermit, PublishError> {
        self.limits.body().ok_or(PublishError::Overloaded)
    }

    /// Publishes an event and waits until Kafka or the spool has it.
    ///
    /// # Errors
    /// If neither Kafka nor the spool has the report. After [`PublishError::Deadline`] the record may still arrive.
    pub async fn publish(&self, event: Event, deadline: Instant) -> Result<Promised, PublishError> {
        let kept = self.events.deliver(event.into_record(), deadline).await?;
        Ok(Promised::by(kept))
    }

    /// Publishes a rejected request, unchanged, to the rejected topic. Returns its fault.
    ///
    /// # Errors
    /// If neither Kafka nor the spool has the request. After [`PublishError::Deadline`] the record may still arrive.
    pub async fn publish_rejected(
        &self,
        rejected: Rejected,
        deadline: Instant,
    ) -> Result<(Promised, Fault), PublishError> {
        let (fault, record) = rejected.into_parts();
        let kept = self.rejected.deliver(record, deadline).await?;
        Ok((Promised::by(kept), fault))
    }

    /// Returns the state of the events topic and of the rejected topic, as Kafka last described it.
    #[must_use]
    pub fn topics(&self) -> [(&str, TopicState); 2] {
        self.both_topics()
            .map(|topic| (topic.name(), topic.state()))
    }

    /// Returns the handle that shows how long Kafka has not answered and requests a check now.
    #[must_use]
    pub fn poll_view(&self) -> &PollView {
        self.watching.poll_view()
    }

    /// Returns the fill level of the spool, if there is one.
    #[must_use]
    pub fn spool_level(&self) -> Option<Level> {
        self.spool.as_ref().map(|spool| spool.level())
    }

    /// Returns the reports and bytes in flight now.
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
        self.limits.in_flight()
    }

    /// Returns the number of partitions that wait for Kafka, and the number of all partitions.
    #[must_use]
    pub fn waiting_partitions(&self) -> (usize, usize) {
        let [events, rejected] = self.both_topics().map(|topic| topic.partitions.waiting());
        (events.0 + rejected.0, events.1 + rejected.1)
    }

    /// Returns the topics that are not configured, but have reports in the spool. These reports stay there.
    #[must_use]
    pub fn other_topics(&self) -> &[String] {
        &self.other_topics
    }

    /// Waits at most `timeout` until everything is delivered and counted, then writes the remaining reports to the
    /// spool. Blocks, so it must not run on a thread of a runtime.
    #[must_use]
    pub fn finish(&self, timeout: Duration) -> Undelivered {
        let until = Instant::now() + timeout;
        while Instant::now() < until && !(self.is_delivered() && self.is_counted()) {
            thread::park_timeout(FINISH_POLL);
        }
        let Some(spool) = &self.spool else {
            return self.undelivered(&Level::default(), self.limits.in_flight().reports);
        };
        let soon = Instant::now() + FINISH_POLL;
        self.redirects
            .hand_over(soon, |report| self.rejected.take_over(report));
        // Prevents replacements from now on, because a replacement resumes the partitions.
        let close = |topic: &Topic| *topic.is_closed.lock() = true;
        self.both_topics().into_iter().for_each(close);
        for partition in self
            .both_topics()
            .iter()
            .flat_map(|topic| topic.partitions.all().to_vec())
        {
            partition.feed(Input::Pause);
            partition.feed(Input::SpillAll);
        }
        if !spool.close(LAST_WRITES) {
            warn!("the spool's disk does not respond: the last writes did not finish");
        }
        self.undelivered(&spool.level(), self.count_unwritten() as u64)
    }

    fn undelivered(&self, level: &Level, unpromised: u64) -> Undelivered {
        let spooled = level.reports.saturating_sub(level.quarantined);
        let is_counted = self.is_counted();
        Undelivered {
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

    /// Returns whether every report is delivered.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        // In the order in which reports move, so that none is missed in between.
        self.events.partitions.is_idle()
            && self.redirects.is_empty()
            && self.rejected.partitions.is_idle()
    }

    fn count_unwritten(&self) -> usize {
        let [events, rejected] = self
            .both_topics()
            .map(|topic| topic.partitions.count_unwritten());
        events + rejected + self.redirects.count_unwritten()
    }

    fn both_topics(&self) -> [&Topic; 2] {
        [&self.events, &self.rejected]
    }
}

/// The parts that both topics are made of.
struct Parts<'a> {
    settings: &'a CurrentSettings,
    compresses: bool,
    metrics: &'a Arc<Metrics>,
    limits: Arc<InFlightLimits>,
    spooling: Option<&'a Spooling>,
    spool: Option<Arc<Spool<SpoolTicket>>>,
    restored: RestoredState,
}

impl Parts<'_> {
    /// Starts a topic with the lanes that earlier runs left in the spool.
    fn start_topic(
        &self,
        role: &'static str,
        watch: TopicWatch,
        producers: Option<usize>,
        maintenance: SyncSender<()>,
        redirects: &Arc<Redirects>,
    ) -> Result<Arc<Topic>, StartError> {
        let RestoredState { lanes, partitions } = &self.restored;
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
            // The other half is for SQLite's page cache.
            read_back_memory: self
                .spooling
                .map_or(0, |spooling| spooling.spool.memory / 2),
            partitions: AtomicU32::new(0),
            lanes: AtomicUsize::new(0),
            next: AtomicU64::new(1),
            // With compression, a larger record can be smaller on the wire.
            rejected_size: RejectedSize::new(!self.compresses),
            redirects: (!is_rejected).then(|| Arc::clone(redirects)),
            retries: Arc::clone(redirects),
            maintenance,
            producer_health: Default::default(),
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
    weak_topics: &Arc<WeakTopics>,
    metrics: &Arc<Metrics>,
) -> Result<(Arc<Spool<SpoolTicket>>, RestoredState), OpenError> {
    let (weak_topics, metrics) = (Arc::clone(weak_topics), Arc::clone(metrics));
    let on_written = move |ticket: SpoolTicket, result| {
        let topic = weak_topics
            .get()
            .and_then(|topics| topics[ticket.topic].upgrade());
        if let Some(topic) = topic {
            topic.written(ticket, result);
        }
    };
    let on_commit = move |took| metrics.committed(took);
    let (spool, restored) = Spool::open(&spooling.spool, on_written, on_commit)?;
    Ok((Arc::new(spool), restored))
}

/// Returns the topics of due reports that are not in `names`, and logs a warning for each.
fn other_topics(restored: &[RestoredLane], names: &[String; 2]) -> Vec<String> {
    let due = restored.iter().filter(|lane| lane.first <= lane.last);
    let topics = due.map(|lane| lane.lane.topic.to_string());
    let others = topics.filter(|topic| !names.contains(topic));
    let others: BTreeSet<String> = others.collect();
    for topic in &others {
        warn!(
            topic,
            "the spool holds reports for a topic that is not configured: run `koobridge spool drain --set \
             kafka.topic={topic}` to deliver them"
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
