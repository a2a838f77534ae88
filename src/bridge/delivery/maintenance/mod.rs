//! The maintenance thread of a topic: drains its lanes, replaces producers that are defective or have old settings
//! (`replacement`), and redirects reports that Kafka rejects. Work that can block is done here.

mod defects;
mod replacement;
mod successor;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use replacement::ProducerState;

use super::outage::Outage;
use super::shared::Redirects;
use super::topic::Topic;
use crate::blocking::StoppableThread;

/// The longest wait between two checks of the producers.
const TICK: Duration = Duration::from_secs(1);

/// The maintenance thread; dropping this ends it.
pub(super) struct Maintenance {
    topic: Arc<Topic>,
    thread: StoppableThread,
}

impl Maintenance {
    /// Starts the maintenance thread of `topic`. The thread of the rejected topic also handles the `redirects`.
    ///
    /// # Errors
    /// If the system can't start a thread.
    pub(super) fn start(
        topic: Arc<Topic>,
        redirects: Option<Arc<Redirects>>,
        woken: Receiver<()>,
    ) -> io::Result<Self> {
        let work = MaintenanceLoop {
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

/// The state of the maintenance thread.
struct MaintenanceLoop {
    topic: Arc<Topic>,
    redirects: Option<Arc<Redirects>>,
    /// Indexed by producer number.
    producers: Vec<ProducerState>,
    outage: Outage,
    /// The number of partitions that the spool remembers.
    remembered: Option<u32>,
}

impl MaintenanceLoop {
    fn run(mut self, woken: &Receiver<()>, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            self.check_topic();
            self.check_producers();
            self.redirect();
            let later = self.drain();
            let tick = if self.is_replacing() { TICK / 20 } else { TICK };
            let wait = later.map_or(tick, |at| {
                at.saturating_duration_since(Instant::now()).min(tick)
            });
            match woken.recv_timeout(wait) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Logs outages, and ends the pauses of all partitions when the topic can take records again.
    fn check_topic(&mut self) {
        let topic = &self.topic;
        let (waiting, _) = topic.partitions.waiting();
        let is_back = self.outage.update(
            topic.name(),
            &topic.state(),
            &topic.outage_answers,
            waiting > 0,
            topic.shared().spool.is_some(),
        );
        if is_back {
            self.topic
                .partitions
                .all()
                .iter()
                .for_each(|partition| partition.retry_now());
        }
    }

    /// Drains each lane that is not paused. Returns the earliest time at which a lane must be drained again.
    fn drain(&mut self) -> Option<Instant> {
        let known = self.topic.update_partitions()?;
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

    fn redirect(&self) {
        let Some(redirects) = &self.redirects else {
            return;
        };
        redirects.hand_over(Instant::now(), |report| self.topic.take_over(report));
    }
}
