//! The maintenance thread of a topic: drains its lanes, replaces a producer that is of no use any more, and brings
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
use super::shared::{InService, Redirects};
use super::topic::Topic;
use crate::blocking::StoppableThread;
use crate::kafka::Settings;

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
        settings: &Settings,
        woken: Receiver<()>,
    ) -> io::Result<Self> {
        let work = Work {
            topic: Arc::clone(&topic),
            redirects,
            settings: settings.clone(),
            replacement: None,
            pause: PAUSES[0],
            outage: Outage::default(),
            remembered: topic.shared().known_partitions(),
        };
        topic.shared().metrics.producer_up(topic.name(), true);
        let name = format!("deliver-{}", topic.role);
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
    settings: Settings,
    replacement: Option<Replacement>,
    /// How long the next producer waits if the last one has delivered nothing.
    pause: Duration,
    outage: Outage,
    /// The number of partitions that the spool remembers.
    remembered: Option<u32>,
}

/// A producer on its way out: it is given nothing any more.
struct Replacement {
    since: Instant,
    not_before: Instant,
}

impl Work {
    fn run(mut self, woken: &Receiver<()>, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            self.look_at_topic();
            self.tend_producer();
            self.redirect();
            let later = self.drain();
            let tick = if self.replacement.is_some() {
                TICK / 20
            } else {
                TICK
            };
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
            self.each(Partition::hurry);
        }
    }

    fn each(&self, act: impl FnMut(&Partition)) {
        let partitions = self.topic.partitions.all();
        partitions
            .iter()
            .map(|partition| &**partition)
            .for_each(act);
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
        if self.replacement.is_some() {
            return None;
        }
        let producer = &self.topic.producer;
        let partitions = self.topic.partitions.all();
        let later = partitions
            .iter()
            .filter_map(|partition| partition.drain(producer));
        later.min()
    }

    fn tend_producer(&mut self) {
        match &self.replacement {
            None => {
                if let Some(why) = self.defect() {
                    self.take_out_of_service(&why);
                }
            }
            Some(Replacement { since, not_before }) => {
                let now = Instant::now();
                let has_results = || {
                    let generation = self.topic.producer.load().generation;
                    let partitions = self.topic.partitions.all();
                    partitions.iter().all(|partition| {
                        partition.lane(|lane| lane.in_flight_of(generation).is_empty())
                    })
                };
                if now >= *not_before && (now >= *since + RESULTS || has_results()) {
                    self.replace();
                }
            }
        }
    }

    /// Returns why the producer in service will not deliver anything any more, if that is so.
    fn defect(&self) -> Option<String> {
        let producer = self.topic.producer.load();
        if let Some(reason) = producer.producer.fatal_error() {
            return Some(reason);
        }
        let shared = self.topic.shared();
        if shared.wedged.load(Ordering::Relaxed) == producer.generation {
            return Some("its producer id is not valid any more".to_owned());
        }
        let is_stuck = |partition: &&Arc<Partition>| {
            shared.watch.is_led(partition.number()) && partition.is_stuck(STUCK)
        };
        let partitions = self.topic.partitions.all();
        let number = partitions.iter().find(is_stuck)?.number();
        let seconds = STUCK.as_secs();
        Some(format!(
            "partition {number} has a leader and has acknowledged nothing for {seconds} s"
        ))
    }

    fn take_out_of_service(&mut self, why: &str) {
        let topic = self.topic.name();
        warn!(
            topic,
            why, "the producer is of no use any more: it is being replaced"
        );
        self.each(|partition| partition.feed(Input::Pause));
        let shared = self.topic.shared();
        shared.metrics.producer_up(topic, false);
        if shared.has_delivered.swap(false, Ordering::Relaxed) {
            self.pause = PAUSES[0];
        }
        let now = Instant::now();
        self.replacement = Some(Replacement {
            since: now,
            not_before: now + self.pause,
        });
        self.pause = (self.pause * 2).min(PAUSES[1]);
    }

    fn replace(&mut self) {
        let Topic {
            role, partitions, ..
        } = &*self.topic;
        let next = self.topic.producer.load().generation + 1;
        let next = match InService::start(role, partitions, &self.settings, next) {
            Ok(next) => Arc::new(next),
            Err(error) => {
                error!(%error, "can't start a new producer; trying again");
                if let Some(replacement) = &mut self.replacement {
                    replacement.not_before = Instant::now() + self.pause;
                }
                return;
            }
        };
        let old = self.topic.producer.swap(next);
        let mut unsure = 0;
        self.each(|partition| unsure += partition.resume(old.generation));
        self.replacement = None;
        let shared = self.topic.shared();
        shared.metrics.producer_rebuilds.inc();
        shared.metrics.producer_up(shared.name(), true);
        info!(
            topic = shared.name(),
            unsure, "a new producer is in service"
        );
        retire(old, self.topic.role);
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
