//! A fake of a Kafka cluster with one topic, and of the producers that send to it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

pub use koobridge::kafka::{
    Acknowledged, ClientCertificate, ClientError, Condition, DeliveryError, TopicState,
    partition_for,
};

use crate::contract::Record;

/// The position of each record.
pub const POSITION: Acknowledged = Acknowledged {
    partition: 0,
    offset: Some(0),
};

/// The settings of a producer: here the cluster itself.
#[derive(Clone, Default)]
pub struct Settings(Arc<Cluster>);

impl Settings {
    /// Returns `None`: the fake has no TLS.
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        None
    }
}

#[derive(Default)]
struct Cluster {
    state: Mutex<State>,
    changed: Condvar,
    /// The keys of the records that the topic has.
    topic: Mutex<Vec<String>>,
    producers: AtomicUsize,
}

#[derive(Default)]
struct State {
    in_flight: VecDeque<InFlight>,
    is_closed: bool,
}

struct InFlight {
    producer: usize,
    key: String,
    report: Box<dyn FnOnce(Result<(), DeliveryError>) + Send>,
}

impl Settings {
    /// Answers records until the cluster is closed. `outcome` gets the number of the producer and the number of its
    /// record. It returns `None` for a record without an answer. Records with `Ok` are appended to the topic.
    pub fn serve(&self, outcome: impl Fn(usize, usize) -> Option<Result<(), DeliveryError>>) {
        let mut records: BTreeMap<_, usize> = BTreeMap::new();
        while let Some(InFlight {
            producer,
            key,
            report,
        }) = self.next()
        {
            let sent = records.entry(producer).or_default();
            let outcome = outcome(producer, *sent);
            *sent += 1;
            if outcome == Some(Ok(())) {
                self.0.topic.lock().push(key);
            }
            if let Some(outcome) = outcome {
                report(outcome);
            }
        }
    }

    fn next(&self) -> Option<InFlight> {
        let mut state = self.0.state.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(next) = state.in_flight.pop_front() {
                return Some(next);
            }
            let long = Instant::now() + crate::LONG;
            self.0.changed.wait_until(&mut state, long);
        }
    }

    pub fn close(&self) {
        self.0.state.lock().is_closed = true;
        self.0.changed.notify_one();
    }

    /// Returns whether the topic has a record with this key.
    pub fn has(&self, key: &str) -> bool {
        self.0.topic.lock().iter().any(|has| has == key)
    }

    /// Returns the keys of the records that the topic has, sorted.
    pub fn keys(&self) -> Vec<String> {
        let mut keys = self.0.topic.lock().clone();
        keys.sort();
        keys
    }
}

pub struct Producer<T> {
    cluster: Settings,
    number: usize,
    on_report: Arc<dyn Fn(T, Result<Acknowledged, DeliveryError>) + Send + Sync>,
}

impl<T: Send + 'static> Producer<T> {
    pub fn start(
        _: &str,
        cluster: &Settings,
        on_report: impl Fn(T, Result<Acknowledged, DeliveryError>) + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            cluster: cluster.clone(),
            number: cluster.0.producers.fetch_add(1, Ordering::SeqCst),
            on_report: Arc::new(on_report),
        })
    }

    pub fn send(
        &self,
        _: &str,
        _: u32,
        record: &Record,
        ticket: T,
    ) -> Result<(), (DeliveryError, T)> {
        let on_report = Arc::clone(&self.on_report);
        let in_flight = InFlight {
            producer: self.number,
            key: record.key.clone().expect("each record has a key"),
            report: Box::new(move |outcome| on_report(ticket, outcome.map(|()| POSITION))),
        };
        let cluster = &self.cluster.0;
        cluster.state.lock().in_flight.push_back(in_flight);
        cluster.changed.notify_one();
        Ok(())
    }

    pub fn stop(&self) {}

    /// Returns `Ready` at once.
    pub fn condition(&self, _: &str, _: Duration) -> Condition {
        Condition::Ready
    }

    pub fn rejection_within(&self, _: Duration) -> Option<String> {
        None
    }

    /// Does nothing: sent records are in flight at once.
    pub fn purge_queue(&self) {}

    pub fn fatal_error(&self) -> Option<String> {
        None
    }
}

/// The topic's metadata.
#[derive(Clone, Default)]
pub struct TopicWatch {
    pub name: String,
    state: Arc<Mutex<TopicState>>,
}

impl TopicWatch {
    pub fn state(&self) -> TopicState {
        self.state.lock().clone()
    }

    /// Makes the number of partitions known.
    pub fn learn(&self, partitions: u32) {
        *self.state.lock() = TopicState {
            condition: Condition::Ready,
            partitions: Some(partitions),
            led: vec![true; partitions as usize],
            ..TopicState::default()
        };
    }

    #[expect(clippy::unused_async, reason = "the real one waits")]
    pub async fn partitions(&mut self) -> Option<u32> {
        self.known_partitions()
    }

    pub fn known_partitions(&self) -> Option<u32> {
        self.state.lock().partitions
    }

    /// Returns the same leader for all partitions.
    pub fn preferred_leaders(&self) -> Vec<i32> {
        vec![1; 8]
    }

    pub fn is_led(&self, _: u32) -> bool {
        true
    }

    pub fn request_refresh(&self) {}
}
