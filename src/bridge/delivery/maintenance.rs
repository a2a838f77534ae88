//! The maintenance thread of a topic: drains its lanes, replaces producers that are of no use any more, and brings
//! reports that Kafka refuses to the rejected topic. Work that can block is done here.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::lane::Input;
use super::outage::Outage;
use super::partition::Partition;
use super::producers::InService;
use super::shared::Redirects;
use super::topic::Topic;
use crate::blocking::StoppableThread;

/// How long to wait for something to do before the producer is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long a partition may go without an acknowledgement while it has a leader.
const STUCK: Duration = Duration::from_mins(1);
/// How long requests in flight may take to bring their true results before they count as unsure.
const RESULTS: Duration = Duration::from_secs(10);
/// The pauses between two replacements, as long as no new producer delivers anything.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];
/// How often to look whether a retired producer is still in use.
const RETIRING: Duration = Duration::from_millis(10);

/// The thread; it ends when this is dropped.
pub(super) struct Maintenance {
    topic: Arc<Topic>,
    thread: StoppableThread,
}

impl Maintenance {
    /// Looks after `topic` from now on. The one of the rejected topic also takes the `redirects`.
    ///
    /// # Errors
    /// If the system can't start a thread.
    pub(super) fn start(
        topic: Arc<Topic>,
        redirects: Option<Arc<Redirects>>,
        woken: Receiver<()>,
    ) -> io::Result<Self> {
        let work = Work {
            topic: Arc::clone(&topic),
            redirects,
            producers: Vec::new(),
            outage: Outage::default(),
            remembered: topic.shared().known_partitions(),
        };
        topic.shared().metrics.producer_up(topic.name(), true);
        let name = format!("deliver-{}", topic.producers.role);
        let thread = StoppableThread::start(&name, move |stop| work.run(&woken, stop))?;
        Ok(Self { topic, thread })
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.thread.stop();
        self.topic.shared().wake();
    }
}

struct Work {
    topic: Arc<Topic>,
    redirects: Option<Arc<Redirects>>,
    /// By producer.
    producers: Vec<ProducerState>,
    outage: Outage,
    /// The number of partitions that the spool remembers.
    remembered: Option<u32>,
}

/// A producer, as this thread knows it.
struct ProducerState {
    replacement: Option<Replacement>,
    /// How long the next generation waits if the last one has delivered nothing.
    pause: Duration,
}

impl Default for ProducerState {
    fn default() -> Self {
        Self {
            replacement: None,
            pause: PAUSES[0],
        }
    }
}

/// A producer on its way out: it is given nothing any more.
#[derive(Clone, Copy)]
struct Replacement {
    since: Instant,
    not_before: Instant,
}

impl Work {
    fn run(mut self, woken: &Receiver<()>, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            self.look_at_topic();
            self.tend_producers();
            self.redirect();
            let later = self.drain();
            let is_replacing = self
                .producers
                .iter()
                .any(|state| state.replacement.is_some());
            let tick = if is_replacing { TICK / 20 } else { TICK };
            let wait = later.map_or(tick, |at| {
                at.saturating_duration_since(Instant::now()).min(tick)
            });
            match woken.recv_timeout(wait) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// A topic that has come back is tried at once.
    fn look_at_topic(&mut self) {
        let topic = &self.topic;
        let (waiting, _) = topic.partitions.waiting();
        let is_back = self
            .outage
            .look(topic.name(), &topic.state(), &topic.untaken, waiting == 0);
        if is_back {
            self.topic
                .partitions
                .all()
                .iter()
                .for_each(|partition| partition.hurry());
        }
    }

    /// Returns the partitions that are bound to a producer.
    fn bound(&self, producer: usize) -> Vec<Arc<Partition>> {
        let all = self.topic.partitions.all();
        let bound = all
            .iter()
            .filter(|partition| partition.producer() == Some(producer));
        bound.cloned().collect()
    }

    /// Returns whether a partition waits until its producer is replaced.
    fn is_paused(&self, partition: &Partition) -> bool {
        let producer = partition.producer();
        let state = producer.and_then(|producer| self.producers.get(producer));
        state.is_some_and(|state| state.replacement.is_some())
    }

    /// Sends what is due in each lane. Returns when the first of them wants to be looked at again.
    fn drain(&mut self) -> Option<Instant> {
        let known = self.topic.note_partitions()?;
        if self.remembered != Some(known) {
            self.remembered = Some(known);
            if let Some(spool) = &self.topic.shared().spool {
                spool.remember(self.topic.name(), known);
            }
        }
        let producers = &self.topic.producers;
        let partitions = self.topic.partitions.all();
        let served = partitions
            .iter()
            .filter(|partition| !self.is_paused(partition));
        let later = served.filter_map(|partition| partition.drain(producers));
        later.min()
    }

    fn tend_producers(&mut self) {
        let count = self.topic.producers.all().count();
        self.producers.resize_with(count, ProducerState::default);
        for producer in 0..count {
            self.tend(producer);
        }
    }

    fn tend(&mut self, producer: usize) {
        match self.producers[producer].replacement {
            None => {
                if let Some(why) = self.defect(producer) {
                    self.take_out_of_service(producer, &why);
                }
            }
            Some(Replacement { since, not_before }) => {
                let now = Instant::now();
                if now >= not_before && (now >= since + RESULTS || self.has_results(producer)) {
                    self.replace(producer);
                }
            }
        }
    }

    /// Returns whether a producer has reported on everything that it was given.
    fn has_results(&self, producer: usize) -> bool {
        let generation = self.topic.producers.get(producer).load().generation;
        let is_empty = |partition: &Arc<Partition>| {
            partition.lane(|lane| lane.in_flight_of(generation).is_empty())
        };
        self.bound(producer).iter().all(is_empty)
    }

    /// Returns why a producer will not deliver anything any more, if that is so.
    fn defect(&self, producer: usize) -> Option<String> {
        let in_service = self.topic.producers.get(producer).load();
        if let Some(reason) = in_service.producer.fatal_error() {
            return Some(reason);
        }
        let shared = self.topic.shared();
        if shared.noticed[producer].wedged.load(Ordering::Relaxed) == in_service.generation {
            return Some("its producer id is not valid any more".to_owned());
        }
        let is_stuck = |partition: &&Arc<Partition>| {
            partition.producer() == Some(producer)
                && shared.watch.is_led(partition.number())
                && partition.is_stuck(STUCK)
        };
        let partitions = self.topic.partitions.all();
        let number = partitions.iter().find(is_stuck)?.number();
        let seconds = STUCK.as_secs();
        Some(format!(
            "partition {number} has a leader and has acknowledged nothing for {seconds} s"
        ))
    }

    /// Has the partitions of a producer wait for the next one.
    fn take_out_of_service(&mut self, producer: usize, why: &str) {
        let bound = self.bound(producer);
        let (topic, partitions) = (self.topic.name(), bound.len());
        warn!(
            topic,
            producer = producer + 1,
            partitions,
            why,
            "a producer is of no use any more: it is being replaced"
        );
        for partition in &bound {
            partition.feed(Input::Pause);
        }
        let shared = self.topic.shared();
        shared.metrics.producer_up(topic, false);
        let state = &mut self.producers[producer];
        let has_delivered = &shared.noticed[producer].has_delivered;
        if has_delivered.swap(false, Ordering::Relaxed) {
            state.pause = PAUSES[0];
        }
        let now = Instant::now();
        state.replacement = Some(Replacement {
            since: now,
            not_before: now + state.pause,
        });
        state.pause = (state.pause * 2).min(PAUSES[1]);
    }

    fn replace(&mut self, producer: usize) {
        let producers = &self.topic.producers;
        let in_service = producers.get(producer);
        let next = in_service.load().generation + 1;
        let next = match producers.start_one(producer, next) {
            Ok(next) => Arc::new(next),
            Err(error) => {
                error!(%error, "can't start a new producer; trying again");
                let state = &mut self.producers[producer];
                if let Some(replacement) = &mut state.replacement {
                    replacement.not_before = Instant::now() + state.pause;
                }
                return;
            }
        };
        let old = in_service.swap(next);
        let bound = self.bound(producer);
        let resumed = bound
            .iter()
            .map(|partition| partition.resume(old.generation));
        let unsure: usize = resumed.sum();
        self.producers[producer].replacement = None;
        let is_complete = self
            .producers
            .iter()
            .all(|state| state.replacement.is_none());
        let shared = self.topic.shared();
        shared.metrics.producer_rebuilds.inc();
        shared.metrics.producer_up(shared.name(), is_complete);
        info!(
            topic = shared.name(),
            producer = producer + 1,
            unsure,
            "a new producer is in service"
        );
        retire(old, producers.role);
    }

    fn redirect(&self) {
        let Some(redirects) = &self.redirects else {
            return;
        };
        redirects.place(Instant::now(), |report| self.topic.take_over(report));
    }
}

/// Ends a producer, which takes a moment, on a thread of its own: once no worker is about to send with it.
fn retire(old: Arc<InService>, role: &str) {
    let kept = Arc::clone(&old);
    let end = move || {
        while Arc::strong_count(&old) > 1 || Arc::strong_count(&old.producer) > 1 {
            thread::park_timeout(RETIRING);
        }
    };
    let thread = thread::Builder::new().name(format!("retire-{role}"));
    match thread.spawn(end) {
        Ok(_) => drop(kept),
        Err(error) => {
            warn!(%error, "can't start a thread to end a producer: it is kept until the bridge ends");
            mem::forget(kept);
        }
    }
}
