//! The keeper of a topic: the thread that drains its lanes, replaces a producer that is of no use any
//! more, and brings what Kafka refuses to the rejected topic. What can block is done here.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::cell::{Cell, Ticket};
use super::lane::Generation;
use super::outage::Outage;
use super::outlet::Outlet;
use super::rider::Origin;
use super::route::{Current, Unfit};
use crate::contract::refused_by_kafka;
use crate::kafka::{Condition, Producer, Settings};
use crate::telemetry::Throttle;

/// How long to wait for something to do before the producer is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long a lane may go without an acknowledgement while its leader is up.
const STUCK: Duration = Duration::from_mins(1);
/// How long requests in flight may take to bring their true results before they count as unsure.
const RESULTS: Duration = Duration::from_secs(10);
/// The pauses between two replacements, as long as no new producer delivers anything.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];

static REFUSED: Throttle = Throttle::new();

/// The thread; it ends when this is dropped.
pub(super) struct Keeper {
    outlet: Arc<Outlet>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Looks after `outlet` from now on. What Kafka refuses there goes to `rejected`, if there is
    /// any such topic for it.
    ///
    /// # Errors
    /// If the system can't start a thread.
    pub(super) fn start(
        name: &'static str,
        outlet: Arc<Outlet>,
        rejected: Option<Arc<Outlet>>,
        settings: &Settings,
        woken: Receiver<()>,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        outlet.route.metrics.producer_up(outlet.topic(), true);
        let work = Work {
            name,
            outlet: Arc::clone(&outlet),
            rejected,
            settings: settings.clone(),
            stop: Arc::clone(&stop),
            replacement: None,
            pause: PAUSES[0],
            outage: Outage::default(),
        };
        let thread = thread::Builder::new()
            .name(format!("keeper-{name}"))
            .spawn(move || work.run(&woken))?;
        Ok(Self {
            outlet,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.outlet.route.wake();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            debug_assert!(ended.is_ok(), "the keeper does not panic");
        }
    }
}

struct Work {
    name: &'static str,
    outlet: Arc<Outlet>,
    rejected: Option<Arc<Outlet>>,
    settings: Settings,
    stop: Arc<AtomicBool>,
    replacement: Option<Replacement>,
    /// How long the next producer waits where the last one has delivered nothing.
    pause: Duration,
    outage: Outage,
}

/// A producer on its way out: it is given nothing any more.
struct Replacement {
    generation: Generation,
    since: Instant,
    not_before: Instant,
}

impl Work {
    fn run(mut self, woken: &Receiver<()>) {
        while !self.stop.load(Ordering::SeqCst) {
            self.look_at_topic();
            self.tend_producer();
            self.bring_unfit();
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

    /// A topic that has come back is not kept waiting.
    fn look_at_topic(&mut self) {
        let state = self.outlet.topic_state();
        let metrics = &self.outlet.route.metrics;
        if self.outage.look(self.outlet.topic(), &state, metrics) {
            self.outlet.cells().iter().for_each(|cell| cell.hurry());
        }
    }

    /// Hands over what is due in each lane; says when the first of them wants to be seen again.
    fn drain(&self) -> Option<Instant> {
        if self.replacement.is_some() || !self.outlet.note_partitions() {
            return None;
        }
        self.outlet.drain()
    }

    fn tend_producer(&mut self) {
        let current = self.outlet.route.producer();
        match &self.replacement {
            None => {
                if let Some(why) = self.what_is_wrong(&current) {
                    self.take_out_of_service(&current, &why);
                }
            }
            Some(replacement) => {
                let landed = || {
                    let cells = self.outlet.cells();
                    cells
                        .iter()
                        .all(|cell| cell.has_landed(replacement.generation))
                };
                let now = Instant::now();
                if now >= replacement.not_before && (now >= replacement.since + RESULTS || landed())
                {
                    self.replace(&current);
                }
            }
        }
    }

    fn what_is_wrong(&self, current: &Current) -> Option<String> {
        let route = &self.outlet.route;
        if let Some(reason) = current.producer.fatal_error() {
            return Some(reason);
        }
        if route.is_wedged.load(Ordering::Relaxed) {
            return Some("its producer id is not valid any more".to_owned());
        }
        let is_led = |partition: Option<u32>| match partition {
            Some(partition) => route.topic.is_led(partition),
            None => self.outlet.topic_state().condition == Condition::Ready,
        };
        let is_stuck = |cell: &Arc<Cell>| is_led(cell.key.partition) && cell.is_stuck(STUCK);
        let cells = self.outlet.cells();
        let stuck = cells.iter().find(|cell| is_stuck(cell))?;
        let which = stuck.key.partition.map_or_else(
            || "every partition has a leader, and one".to_owned(),
            |partition| format!("partition {partition} has a leader and"),
        );
        let seconds = STUCK.as_secs();
        Some(format!("{which} has acknowledged nothing for {seconds} s"))
    }

    fn take_out_of_service(&mut self, current: &Current, why: &str) {
        let topic = self.outlet.topic();
        warn!(
            topic,
            why, "the producer is of no use any more: it is being replaced"
        );
        self.outlet.cells().iter().for_each(|cell| cell.halt());
        let route = &self.outlet.route;
        route.metrics.producer_up(topic, false);
        if route.has_delivered.swap(false, Ordering::Relaxed) {
            self.pause = PAUSES[0];
        }
        let now = Instant::now();
        self.replacement = Some(Replacement {
            generation: current.generation,
            since: now,
            not_before: now + self.pause,
        });
        self.pause = (self.pause * 2).min(PAUSES[1]);
    }

    fn replace(&mut self, old: &Arc<Current>) {
        let route = &self.outlet.route;
        let producer = match Producer::start(self.name, &self.settings, Ticket::settle) {
            Ok(producer) => Arc::new(producer),
            Err(error) => {
                error!(%error, "can't start a new producer; trying again");
                if let Some(replacement) = &mut self.replacement {
                    replacement.not_before = Instant::now() + self.pause;
                }
                return;
            }
        };
        let next = Current {
            producer,
            generation: old.generation + 1,
        };
        route.current.store(Arc::new(next));
        route.is_wedged.store(false, Ordering::Relaxed);
        let cells = self.outlet.cells();
        let unsure: usize = cells.iter().map(|cell| cell.resume(old.generation)).sum();
        route.metrics.producer_rebuilds.inc();
        route.metrics.producer_up(self.outlet.topic(), true);
        self.replacement = None;
        info!(
            topic = self.outlet.topic(),
            unsure, "a new producer is in service"
        );
        self.retire(Arc::clone(old));
    }

    /// Ends a producer, which takes a moment, on a thread of its own.
    fn retire(&self, old: Arc<Current>) {
        let retired = thread::Builder::new()
            .name(format!("retire-{}", self.name))
            .spawn(move || drop(old));
        if let Err(error) = retired {
            warn!(%error, "can't start a thread to end a producer");
        }
    }

    fn bring_unfit(&self) {
        for Unfit {
            cell, number, code, ..
        } in self.outlet.route.take_unfit()
        {
            let Some(record) = cell.record(number) else {
                continue;
            };
            match &self.rejected {
                Some(rejected) => {
                    if let Some(reports) = REFUSED.count() {
                        warn!(
                            topic = self.outlet.topic(),
                            code, reports, "Kafka refuses reports: they go to the rejected topic"
                        );
                    }
                    rejected.take_over(
                        refused_by_kafka(&record, code),
                        Origin { cell, number, code },
                    );
                }
                None => cell.park(number),
            }
        }
    }
}
