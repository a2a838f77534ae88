//! A topic with its partitions, its maintenance thread, a fake spool and a fake Kafka.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{self, Duration, Instant};

use arc_swap::ArcSwap;
use shuttle::future;

use super::answers::wake_in_batches;
use super::limits::{InFlight, InFlightLimits};
use super::maintenance::Maintenance;
use super::partitions::Partitions;
use super::pending::{Pending, Reply};
use super::producers::{CurrentSettings, Producers};
use super::rejected_size::RejectedSize;
use super::shared::{Redirects, Shared, SpoolTicket};
use super::topic::Topic;
use crate::bridge::metrics::Metrics;
use crate::contract::Record;
use crate::kafka::{DeliveryError, Settings, TopicWatch};
use crate::spool::Spool;
use crate::telemetry::Throttle;

/// How long a report waits for Kafka before it spills.
const SPILL_AFTER: Duration = Duration::from_secs(1);
const TWO: Option<usize> = Some(2);
const STEP: Duration = Duration::from_millis(250);
/// The maximum number of steps of a wait.
const STEPS: usize = 400;
/// The keys of the reports, sorted.
pub(super) const KEYS: [&str; 3] = ["a", "b", "c"];

pub(super) struct Fixture {
    pub(super) kafka: Settings,
    pub(super) watch: TopicWatch,
    pub(super) spool: Arc<Spool<SpoolTicket>>,
    pub(super) topic: Arc<Topic>,
    threads: Vec<JoinHandle<()>>,
    maintenance: Option<Maintenance>,
    senders: Vec<JoinHandle<Reply>>,
    answered: Arc<AtomicUsize>,
}

impl Fixture {
    /// Starts the maintenance thread and the spool's thread. `partitions` is the number that an earlier run remembered.
    pub(super) fn start(partitions: Option<u32>) -> Self {
        wake_in_batches();
        let (kafka, watch) = (Settings::default(), TopicWatch::default());
        let spool = Arc::new(Spool::new());
        let (topic, woken) = topic(&kafka, &watch, Some(&spool), partitions);
        let (disk, lanes) = (Arc::clone(&spool), Arc::clone(&topic.partitions));
        let writer = thread::spawn(move || {
            disk.serve(|ticket, result| lanes.written(ticket, result));
        });
        let maintenance = Maintenance::start(Arc::clone(&topic), None, woken);
        Self {
            kafka,
            watch,
            spool,
            topic,
            threads: vec![writer],
            maintenance: Some(maintenance.expect("a thread")),
            senders: Vec::new(),
            answered: Arc::default(),
        }
    }

    /// Starts to answer records.
    pub(super) fn serve(
        &mut self,
        outcome: impl Fn(usize, usize) -> Option<Result<(), DeliveryError>> + Send + 'static,
    ) {
        let kafka = self.kafka.clone();
        let serving = thread::spawn(move || kafka.serve(outcome));
        self.threads.push(serving);
    }

    /// Delivers a report for each key, each on its own thread. Checks that a promised report is on the topic or on
    /// disk.
    pub(super) fn deliver(&mut self, timeout: Duration) {
        let senders = KEYS.map(|key| {
            let (topic, kafka) = (Arc::clone(&self.topic), self.kafka.clone());
            let (spool, answered) = (Arc::clone(&self.spool), Arc::clone(&self.answered));
            thread::spawn(move || {
                let deadline = Instant::now() + timeout;
                let answer = future::block_on(topic.deliver(record(key), deadline));
                assert!(answer.is_err() || spool.has(key) || kafka.has(key));
                answered.fetch_add(1, Ordering::SeqCst);
                answer
            })
        });
        self.senders.extend(senders);
    }

    /// Advances the clock until `condition` holds.
    pub(super) fn wait_until(&self, condition: impl Fn(&Self) -> bool) {
        let mut steps = 0..STEPS;
        while !condition(self) {
            steps.next().expect("the condition never holds");
            time::pass(STEP);
            thread::yield_now();
        }
    }

    pub(super) fn are_answered(&self) -> bool {
        self.answered.load(Ordering::SeqCst) == KEYS.len()
    }

    /// Waits until everything is delivered and deleted, and ends the threads. Checks that each report is on the topic
    /// once and was counted once. Returns the answers to the senders.
    pub(super) fn finish(mut self) -> Vec<Reply> {
        self.wait_until(|fixture| {
            fixture.topic.partitions.is_idle()
                && fixture.spool.is_empty()
                && fixture.topic.shared().metrics.settled() >= KEYS.len()
        });
        let answers = self.stop();
        let shared = self.topic.shared();
        assert_eq!(self.kafka.keys(), KEYS, "{answers:?}");
        assert_eq!(shared.metrics.settled(), KEYS.len(), "{answers:?}");
        assert_eq!(shared.metrics.reports_unsure.get(), 0, "{answers:?}");
        assert_eq!(shared.limits.in_flight().reports, 0, "{answers:?}");
        answers
    }

    /// Ends the threads. Returns the answers to the senders.
    pub(super) fn stop(&mut self) -> Vec<Reply> {
        self.spool.close();
        self.wait_until(Self::are_answered);
        self.maintenance = None;
        self.kafka.close();
        for thread in self.threads.drain(..) {
            thread.join().expect("a thread");
        }
        let senders = self.senders.drain(..);
        senders
            .map(|sender| sender.join().expect("a sender"))
            .collect()
    }
}

/// Starts a topic. Returns it with the receiver that wakes its maintenance thread.
pub(super) fn topic(
    kafka: &Settings,
    watch: &TopicWatch,
    spool: Option<&Arc<Spool<SpoolTicket>>>,
    partitions: Option<u32>,
) -> (Arc<Topic>, Receiver<()>) {
    let (wake, woken) = mpsc::sync_channel(1);
    let shared = shared(watch.clone(), spool.cloned(), wake);
    let lanes = Arc::new(Partitions::new(Arc::new(shared), [].iter()));
    let spill_after = spool.map(|_| SPILL_AFTER);
    let settings = CurrentSettings::new(ArcSwap::from_pointee(kafka.clone()));
    let producers = Producers::start("events", &settings, TWO, lanes);
    let producers = producers.unwrap_or_else(|_| unreachable!("the fake starts"));
    let topic = Topic::new(producers, spill_after, partitions);
    (Arc::new(topic), woken)
}

/// Creates a report.
pub(super) fn pending(topic: &Topic, key: &str) -> Pending {
    let permit = topic.shared().limits.report(1).expect("a permit");
    Pending::new(record(key), permit)
}

fn shared(
    watch: TopicWatch,
    spool: Option<Arc<Spool<SpoolTicket>>>,
    wake: SyncSender<()>,
) -> Shared {
    let max = InFlight {
        reports: 100,
        bytes: 1 << 20,
    };
    Shared {
        topic: 0,
        watch,
        metrics: Metrics::new(),
        limits: Arc::new(InFlightLimits::new(max)),
        spool,
        read_back_memory: 1 << 20,
        partitions: AtomicU32::new(0),
        lanes: AtomicUsize::new(0),
        next: AtomicU64::new(1),
        rejected_size: RejectedSize::new(true),
        redirects: None,
        retries: Arc::new(Redirects::new(wake.clone())),
        maintenance: wake,
        producer_health: Default::default(),
        unauthorized: Throttle::new(),
        given_up: Throttle::new(),
    }
}

fn record(key: &str) -> Record {
    Record {
        key: Some(key.to_owned()),
        headers: Vec::new(),
        value: Vec::new(),
        timestamp: 0,
    }
}
