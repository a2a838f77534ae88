//! Replaces a producer that is defective or has old settings.
//!
//! Its partitions pause, requests in flight get some time for their true results, and the next generation takes over.
//! If only the settings have changed, the replacement begins when Kafka has answered the successor, and the producers
//! of a topic are replaced one after the other.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::MaintenanceLoop;
use super::defects::REJECTION_COUNTS_FOR;
use super::successor::Successor;
use crate::bridge::delivery::lane::{Input, Lane};
use crate::bridge::delivery::partition::Partition;
use crate::bridge::delivery::producers::StartedProducer;
use crate::kafka::Condition;
use crate::telemetry::Throttle;

/// How long to wait for the true results of requests in flight. After that, they are unsure.
const RESULT_TIMEOUT: Duration = Duration::from_secs(10);
/// The shortest and the longest pause before a replacement. The pause doubles when the last producer delivered nothing.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];
/// How often to check whether a retired producer is still in use.
const RETIRE_POLL: Duration = Duration::from_millis(10);
/// The pause before another successor is started after one could not take over.
const RENEWAL_RETRY: Duration = Duration::from_secs(10);
/// How long an outdated producer may keep unsent records in its queue.
const PURGE_AFTER: Duration = Duration::from_secs(1);

static NOT_RENEWED: Throttle = Throttle::new();

/// The maintenance thread's state of a producer.
pub(super) struct ProducerState {
    stage: Stage,
    /// The pause before the next replacement if the producer delivers nothing until then.
    pause: Duration,
    /// When the next successor may be started.
    renew_after: Option<Instant>,
}

enum Stage {
    InService,
    /// Still delivers while its successor connects.
    Connecting(Successor),
    /// Gets no more records.
    Replacing(Replacement),
}

/// A replacement in progress.
struct Replacement {
    since: Instant,
    not_before: Instant,
    /// The next producer if it is already started, which it is when the settings have changed.
    successor: Option<StartedProducer>,
    /// When its queue was last purged.
    purged: Option<Instant>,
}

impl Default for ProducerState {
    fn default() -> Self {
        Self {
            stage: Stage::InService,
            pause: PAUSES[0],
            renew_after: None,
        }
    }
}

impl ProducerState {
    fn is_in_service(&self) -> bool {
        matches!(self.stage, Stage::InService)
    }

    fn is_being_replaced(&self) -> bool {
        matches!(self.stage, Stage::Replacing(_))
    }

    /// Returns whether it is being replaced because of a defect, not because of old settings.
    fn is_defective(&self) -> bool {
        matches!(&self.stage, Stage::Replacing(replacement) if replacement.successor.is_none())
    }
}

impl MaintenanceLoop {
    /// Returns whether a producer is being replaced or its successor connects.
    pub(super) fn is_replacing(&self) -> bool {
        !self.producers.iter().all(ProducerState::is_in_service)
    }

    /// Returns whether the producer of a partition is being replaced.
    pub(super) fn is_paused(&self, partition: &Partition) -> bool {
        let producer = partition.producer();
        let state = producer.and_then(|producer| self.producers.get(producer));
        state.is_some_and(ProducerState::is_being_replaced)
    }

    pub(super) fn check_producers(&mut self) {
        let count = self.topic.producers.all().count();
        self.producers.resize_with(count, ProducerState::default);
        for producer in 0..count {
            self.check_producer(producer);
        }
    }

    fn check_producer(&mut self, producer: usize) {
        if let Stage::Replacing(replacement) = &self.producers[producer].stage {
            let (now, since) = (Instant::now(), replacement.since);
            let is_time = now >= replacement.not_before;
            if is_time && (now >= since + RESULT_TIMEOUT || self.has_results(producer)) {
                self.replace(producer);
            } else {
                self.purge_unsent(producer);
            }
            return;
        }
        self.log_rejection(producer);
        if let Some(why) = self.defect(producer) {
            self.take_out_of_service(producer, &why);
        } else if matches!(self.producers[producer].stage, Stage::Connecting(_)) {
            self.check_successor(producer);
        } else if self.is_to_be_renewed(producer) {
            self.start_successor(producer);
        }
    }

    /// Returns the partitions that are bound to a producer.
    fn bound_partitions(&self, producer: usize) -> Vec<Arc<Partition>> {
        let all = self.topic.partitions.all();
        let bound = all
            .iter()
            .filter(|partition| partition.producer() == Some(producer));
        bound.cloned().collect()
    }

    /// Returns whether a producer has no more reports in flight.
    fn has_results(&self, producer: usize) -> bool {
        let generation = self.topic.producers.get(producer).load().generation;
        let is_empty = |partition: &Arc<Partition>| {
            partition.lane(|lane| lane.in_flight_of(generation).is_empty())
        };
        self.bound_partitions(producer).iter().all(is_empty)
    }

    /// Returns whether a producer has old settings and none is being replaced.
    fn is_to_be_renewed(&self, producer: usize) -> bool {
        let is_time = |after: Instant| Instant::now() >= after;
        !self.is_replacing()
            && self.producers[producer].renew_after.is_none_or(is_time)
            && self.topic.producers.is_outdated(producer)
    }

    fn start_successor(&mut self, producer: usize) {
        let producers = &self.topic.producers;
        let generation = producers.get(producer).load().generation + 1;
        let started = producers.start_one(producer, generation);
        let started = started.and_then(|successor| {
            let connecting = Successor::connect(successor, producers.role, self.topic.name());
            Ok(connecting?)
        });
        match started {
            Ok(successor) => self.producers[producer].stage = Stage::Connecting(successor),
            Err(error) => self.renewal_failed(producer, &error.to_string()),
        }
    }

    /// Starts the replacement if the successor has had an answer of Kafka that is no worse than the old producer's.
    /// Drops the successor if it has not.
    fn check_successor(&mut self, producer: usize) {
        let state = &mut self.producers[producer];
        if !matches!(&state.stage, Stage::Connecting(successor) if successor.has_result()) {
            return;
        }
        let Stage::Connecting(successor) = mem::replace(&mut state.stage, Stage::InService) else {
            return;
        };
        let (successor, answer) = successor.into_parts();
        if answer.can_follow(&self.topic.state().condition) {
            return self.renew(producer, successor);
        }
        retire(Arc::new(successor), self.topic.producers.role);
        self.renewal_failed(producer, &answer.to_string());
    }

    fn renewal_failed(&mut self, producer: usize, why: &str) {
        self.producers[producer].renew_after = Some(Instant::now() + RENEWAL_RETRY);
        let topic = self.topic.name();
        *self.topic.renewal_problem.lock() = Some(format!("{topic}: {why}"));
        if let Some(times) = NOT_RENEWED.count() {
            warn!(
                topic,
                producer = producer + 1,
                why,
                times,
                "a producer with the new settings can't take over: the old one stays in service; trying again"
            );
        }
    }

    /// Ends the successor of a producer if one is connecting.
    fn drop_successor(&mut self, producer: usize) {
        let stage = mem::replace(&mut self.producers[producer].stage, Stage::InService);
        if let Stage::Connecting(successor) = stage {
            let (successor, _) = successor.into_parts();
            retire(Arc::new(successor), self.topic.producers.role);
        }
    }

    /// Pauses the partitions of a producer until its connected successor takes over.
    fn renew(&mut self, producer: usize, successor: StartedProducer) {
        // Otherwise a partition could bind itself now and not pause: its reports would be in flight at the switch.
        for partition in self.topic.partitions.all().iter() {
            partition.bind(&self.topic.producers);
        }
        self.pause(producer);
        let now = Instant::now();
        self.producers[producer].stage = Stage::Replacing(Replacement {
            since: now,
            not_before: now,
            successor: Some(successor),
            purged: None,
        });
        self.purge_unsent(producer);
    }

    /// Purges the queue of an outdated producer, whose successor then sends these records. If the producer is blocked,
    /// the queue is purged at once and again each second, so that no healthy partition waits for the blocked one.
    /// Otherwise it is purged once, after a second.
    fn purge_unsent(&mut self, producer: usize) {
        let is_blocked = self.is_blocked(producer);
        let Stage::Replacing(replacement) = &mut self.producers[producer].stage else {
            return;
        };
        let is_time = match replacement.purged {
            None => is_blocked || replacement.since.elapsed() >= PURGE_AFTER,
            Some(purged) => is_blocked && purged.elapsed() >= PURGE_AFTER,
        };
        if is_time && replacement.successor.is_some() {
            replacement.purged = Some(Instant::now());
            let current = self.topic.producers.get(producer).load();
            current.producer.purge_queue();
        }
    }

    /// Returns whether a producer can't send some of its records.
    fn is_blocked(&self, producer: usize) -> bool {
        let current = self.topic.producers.get(producer).load();
        let watch = &self.topic.shared().watch;
        let has_no_leader = |partition: &Arc<Partition>| {
            let number = partition.number();
            !watch.is_led(number) && partition.lane(Lane::in_flight) > 0
        };
        matches!(self.topic.state().condition, Condition::Unreachable(_))
            || current
                .producer
                .rejection_within(REJECTION_COUNTS_FOR)
                .is_some()
            || self.bound_partitions(producer).iter().any(has_no_leader)
    }

    fn pause(&self, producer: usize) -> usize {
        let bound = self.bound_partitions(producer);
        for partition in &bound {
            partition.feed(Input::Pause);
        }
        bound.len()
    }

    /// Pauses the partitions of a defective producer until the next one is started.
    fn take_out_of_service(&mut self, producer: usize, why: &str) {
        self.drop_successor(producer);
        let partitions = self.pause(producer);
        let topic = self.topic.name();
        warn!(
            topic,
            producer = producer + 1,
            partitions,
            why,
            "a producer can no longer deliver: replacing it"
        );
        let shared = self.topic.shared();
        shared.metrics.producer_up(topic, false);
        let state = &mut self.producers[producer];
        let has_delivered = &shared.producer_health[producer].has_delivered;
        if has_delivered.swap(false, Ordering::Relaxed) {
            state.pause = PAUSES[0];
        }
        let now = Instant::now();
        state.stage = Stage::Replacing(Replacement {
            since: now,
            not_before: now + state.pause,
            successor: None,
            purged: None,
        });
        state.pause = (state.pause * 2).min(PAUSES[1]);
    }

    fn replace(&mut self, producer: usize) {
        let is_closed = self.topic.is_closed.lock();
        if *is_closed {
            return;
        }
        let state = &mut self.producers[producer];
        let Stage::Replacing(replacement) = &mut state.stage else {
            return;
        };
        let producers = &self.topic.producers;
        let current = producers.get(producer);
        let successor = replacement.successor.take();
        let is_renewal = successor.is_some();
        let generation = current.load().generation + 1;
        let next = successor.map_or_else(|| producers.start_one(producer, generation), Ok);
        let next = match next {
            Ok(next) => Arc::new(next),
            Err(error) => {
                error!(%error, "can't start a new producer; trying again");
                replacement.not_before = Instant::now() + state.pause;
                return;
            }
        };
        let old = current.swap(next);
        state.stage = Stage::InService;
        let bound = self.bound_partitions(producer);
        let resumed = bound
            .iter()
            .map(|partition| partition.resume(old.generation));
        let unsure: usize = resumed.sum();
        drop(is_closed);
        self.count_replacement(is_renewal);
        info!(
            topic = self.topic.name(),
            producer = producer + 1,
            unsure,
            "a new producer is in service"
        );
        retire(old, self.topic.producers.role);
    }

    fn count_replacement(&self, is_renewal: bool) {
        let shared = self.topic.shared();
        if is_renewal {
            shared.metrics.producer_renewals.inc();
        } else {
            shared.metrics.producer_rebuilds.inc();
        }
        let is_complete = !self.producers.iter().any(ProducerState::is_defective);
        shared.metrics.producer_up(shared.name(), is_complete);
        if !self.topic.producers.are_outdated() {
            *self.topic.renewal_problem.lock() = None;
        }
    }
}

/// Ends a producer when no other thread uses it. This takes a moment, and so runs on its own thread.
fn retire(old: Arc<StartedProducer>, role: &str) {
    let kept = Arc::clone(&old);
    let end = move || {
        while Arc::strong_count(&old) > 1 || Arc::strong_count(&old.producer) > 1 {
            thread::park_timeout(RETIRE_POLL);
        }
    };
    let thread = thread::Builder::new().name(format!("retire-{role}"));
    match thread.spawn(end) {
        Ok(_) => drop(kept),
        Err(error) => {
            warn!(%error, "can't start a thread to end a producer: it stays in memory until the bridge stops");
            mem::forget(kept);
        }
    }
}
