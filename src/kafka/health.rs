//! The thread that polls Kafka for the state of the topics.
//!
//! Each answer is a round trip to a broker, so that the bridge notices when it is cut off from Kafka.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{info, warn};

use super::age_limits::AgeLimits;
use super::poll_view::{MIN_INTERVAL, PollState, PollView};
use super::producer::Producer;
use super::settings::Settings;
use super::topic::{Condition, Durability, NoAnswer, TopicState, TopicWatch};
use super::topic_metadata::{Answer, PATIENCE, read_settings, request_topic};

/// The interval of the requests if every topic is ready, and if not.
const READY_INTERVAL: Duration = Duration::from_secs(5);
const OUTAGE_INTERVAL: Duration = Duration::from_secs(1);
/// The interval at which a topic's settings are read: they can change at any time.
const SETTINGS_INTERVAL: Duration = Duration::from_mins(10);

/// The polling thread. Dropping this stops it; the thread ends after its current request, which can take seconds.
pub struct Watching {
    stop: Arc<AtomicBool>,
    view: PollView,
}

/// The topics to poll when there is a producer.
pub struct Prepared {
    topics: Vec<WatchedTopic>,
    wake: SyncSender<()>,
    woken: Receiver<()>,
}

impl Prepared {
    /// Starts to poll, over the connections of the producer that `producer` returns for each request. Durability is
    /// checked on real clusters only (`with_durability`).
    ///
    /// # Errors
    /// If the system can't start a thread.
    pub fn start<T: Send + Sync + 'static>(
        self,
        producer: impl Fn() -> Arc<Producer<T>> + Send + 'static,
        settings: &Arc<ArcSwap<Settings>>,
        with_durability: bool,
    ) -> io::Result<Watching> {
        let Self {
            topics,
            wake,
            woken,
        } = self;
        let stop = Arc::new(AtomicBool::new(false));
        let (poll, polls) = watch::channel(PollState::default());
        let poller = Poller {
            producer,
            settings: with_durability.then(|| Arc::clone(settings)),
            topics,
            poll,
            stop: Arc::clone(&stop),
        };
        thread::Builder::new()
            .name("kafka-health".to_owned())
            .spawn(move || poller.run(&woken))?;
        Ok(Watching {
            stop,
            view: PollView { poll: polls, wake },
        })
    }
}

impl Watching {
    /// Returns a view of each topic, and the topics to poll.
    pub fn prepare<const N: usize>(topics: [String; N]) -> ([TopicWatch; N], Prepared) {
        let (wake, woken) = mpsc::sync_channel(1);
        let pairs = topics.map(|topic| WatchedTopic::new(&topic, wake.clone()));
        let mut topics = Vec::with_capacity(N);
        let watches = pairs.map(|(topic, watch)| {
            topics.push(topic);
            watch
        });
        let prepared = Prepared {
            topics,
            wake,
            woken,
        };
        (watches, prepared)
    }

    /// Returns the view of the current request.
    #[must_use]
    pub fn poll_view(&self) -> &PollView {
        &self.view
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // A full channel wakes the thread just as well.
        let _woken = self.view.wake.try_send(());
    }
}

struct Poller<P> {
    producer: P,
    /// For the admin client that reads durability.
    settings: Option<Arc<ArcSwap<Settings>>>,
    topics: Vec<WatchedTopic>,
    poll: watch::Sender<PollState>,
    stop: Arc<AtomicBool>,
}

impl<P> Poller<P> {
    fn run<T: Send + Sync + 'static>(mut self, woken: &Receiver<()>)
    where
        P: Fn() -> Arc<Producer<T>>,
    {
        while !self.stop.load(Ordering::SeqCst) {
            let began = Instant::now();
            for topic in &mut self.topics {
                let settings = self.settings.as_ref().map(|settings| settings.load_full());
                topic.refresh(&(self.producer)(), settings.as_deref(), &self.poll);
            }
            self.poll.send_modify(|poll| poll.last_round = Some(began));
            self.pause(woken);
        }
    }

    /// Waits until the next round is due or the thread is to stop.
    fn pause(&self, woken: &Receiver<()>) {
        let is_ready = |topic: &WatchedTopic| topic.state.condition == Condition::Ready;
        let all_ready = self.topics.iter().all(is_ready);
        let asked = Instant::now();
        let mut until = asked
            + if all_ready {
                READY_INTERVAL
            } else {
                OUTAGE_INTERVAL
            };
        while !self.stop.load(Ordering::SeqCst) {
            match woken.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(()) => until = until.min(asked + MIN_INTERVAL),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

/// One topic: its last state, and the channel that publishes it.
struct WatchedTopic {
    name: String,
    state: TopicState,
    publish: watch::Sender<TopicState>,
    /// When a broker last answered.
    last_answer: Option<Timestamp>,
    /// When the settings were last requested, and the number of replicas then.
    settings_asked: Option<(Instant, u32)>,
}

impl WatchedTopic {
    fn new(name: &str, wake: SyncSender<()>) -> (Self, TopicWatch) {
        let (publish, state) = watch::channel(TopicState::default());
        let name = name.to_owned();
        let watch = TopicWatch {
            name: name.clone(),
            state,
            wake,
        };
        let topic = Self {
            name,
            state: TopicState::default(),
            publish,
            last_answer: None,
            settings_asked: None,
        };
        (topic, watch)
    }

    fn refresh<T: Send + Sync + 'static>(
        &mut self,
        producer: &Producer<T>,
        settings: Option<&Settings>,
        poll: &watch::Sender<PollState>,
    ) {
        poll.send_modify(|poll| poll.open_since = Some(Instant::now()));
        let Answer {
            condition,
            partitions,
            replication,
            in_sync,
            preferred_leaders,
        } = request_topic(producer, &self.name, PATIENCE);
        let condition = self.with_last_answer(condition);
        let was_missing = self.state.condition == Condition::Missing;
        if condition == Condition::Missing && was_missing {
            // A broker that has just started can report an existing topic as missing, so the second such answer counts.
            self.state.partitions = None;
            self.state.durability = None;
            self.state.age_limits = AgeLimits::default();
            self.settings_asked = None;
        } else if partitions.is_some() {
            self.state.partitions = partitions;
            self.state.preferred_leaders = preferred_leaders;
        }
        self.state.condition = condition;
        let enough = self
            .state
            .durability
            .map_or(1, |known| known.min_insync.min(known.replication));
        self.state.led = in_sync
            .into_iter()
            .map(|count| count >= enough.max(1))
            .collect();
        self.publish();
        poll.send_modify(|poll| poll.open_since = None);
        if let (Some(settings), Some(replication)) = (settings, replication) {
            self.read_settings(settings, replication);
            self.publish();
        }
    }

    /// Records the time of an answer. It is published only with the next outage, because each publication wakes the
    /// watchers.
    fn with_last_answer(&mut self, condition: Condition) -> Condition {
        match condition {
            Condition::Unreachable(no_answer) => Condition::Unreachable(NoAnswer {
                last_answer: self.last_answer,
                ..no_answer
            }),
            answered => {
                self.last_answer = Some(Timestamp::now());
                answered
            }
        }
    }

    fn publish(&self) {
        self.publish.send_if_modified(|published| {
            let changed = *published != self.state;
            published.clone_from(&self.state);
            changed
        });
    }

    /// Reads the settings when they are due or the replication has changed.
    fn read_settings(&mut self, settings: &Settings, replication: u32) {
        let is_known = self
            .settings_asked
            .is_some_and(|(at, of)| of == replication && at.elapsed() < SETTINGS_INTERVAL);
        if is_known {
            return;
        }
        let topic = &self.name;
        let read = read_settings(settings, topic);
        self.settings_asked = Some((Instant::now(), replication));
        match read {
            Ok(Some(read)) => self.apply_settings(&read, replication),
            Ok(None) => info!(
                topic,
                "Kafka denied access to the topic's settings: grant this client DESCRIBE_CONFIGS on the topic so that \
                 min.insync.replicas and retention.ms are checked"
            ),
            Err(error) => {
                info!(topic, %error, "can't read the topic's settings; trying again in 10 minutes");
            }
        }
    }

    fn apply_settings(&mut self, read: &BTreeMap<String, String>, replication: u32) {
        self.state.age_limits = AgeLimits::of(read);
        let min_insync = read.get("min.insync.replicas");
        let Some(min_insync) = min_insync.and_then(|text| text.parse().ok()) else {
            return;
        };
        let durability = Durability {
            replication,
            min_insync,
        };
        let before = self.state.durability.replace(durability);
        if before != Some(durability) && !durability.is_safe() {
            warn!(
                topic = self.name,
                replication,
                min_insync_replicas = min_insync,
                "the topic does not survive the loss of a broker: \
                 raise its replication factor and min.insync.replicas to at least 2"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_carries_the_time_of_the_last_answer() {
        let (wake, _woken) = mpsc::sync_channel(1);
        let (mut topic, _watch) = WatchedTopic::new("t", wake);
        let unreachable = || Condition::Unreachable("Connection refused".to_owned().into());
        assert_eq!(topic.with_last_answer(unreachable()), unreachable());
        let before = Timestamp::now();
        assert_eq!(
            topic.with_last_answer(Condition::Missing),
            Condition::Missing
        );
        let Condition::Unreachable(no_answer) = topic.with_last_answer(unreachable()) else {
            panic!("an outage")
        };
        assert!(no_answer.last_answer >= Some(before));
        assert_eq!(no_answer.reason, "Connection refused");
    }
}
