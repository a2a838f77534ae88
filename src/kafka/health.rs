//! What Kafka says of the topics: a thread asks again and again, and says what changed.
//!
//! Each answer is a true round trip to a broker, so that a bridge cut off from Kafka knows it.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use tokio::sync::watch;
use tracing::{info, warn};

use super::producer::Producer;
use super::settings::Settings;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How soon to ask again where all is well, and where it is not.
const CALM: Duration = Duration::from_secs(5);
const TROUBLED: Duration = Duration::from_secs(1);
/// How soon to say again what is still wrong.
const REMINDER: Duration = Duration::from_mins(1);

/// What Kafka last said of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicState {
    pub condition: Condition,
    /// How many partitions there are; kept while Kafka can't be reached.
    pub partitions: Option<u32>,
    pub durability: Option<Durability>,
}

/// Whether a topic can take records now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Kafka has not been asked yet.
    #[default]
    Unknown,
    /// No broker answers; librdkafka's words.
    Unreachable(String),
    /// Kafka answers, but there is no such topic.
    Missing,
    /// Kafka answers, but not to this client; librdkafka's words.
    Refused(String),
    /// This many partitions have no leader.
    Leaderless(usize),
    Ready,
}

/// How safely Kafka keeps a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durability {
    /// The replicas of the least replicated partition.
    pub replication: u32,
    /// The topic's `min.insync.replicas`.
    pub min_insync: u32,
}

impl Durability {
    /// Whether a record survives the loss of a broker.
    #[must_use]
    pub fn is_safe(self) -> bool {
        self.replication >= 2 && self.min_insync >= 2
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("Kafka has not answered yet"),
            Self::Unreachable(reason) => write!(
                f,
                "Kafka can't be reached: {reason}; check bootstrap.servers, security.protocol and \
                 the sasl and ssl properties under [kafka.properties]"
            ),
            Self::Missing => f.write_str("the topic does not exist; create it, koobridge does not"),
            Self::Refused(reason) => write!(
                f,
                "Kafka refuses the topic: {reason}; grant this client DESCRIBE and WRITE on it"
            ),
            Self::Leaderless(count) => write!(f, "{count} of its partitions have no leader"),
            Self::Ready => f.write_str("ready"),
        }
    }
}

/// A view of one topic's state.
#[derive(Clone, Debug)]
pub struct TopicWatch {
    pub name: String,
    state: watch::Receiver<TopicState>,
    wake: SyncSender<()>,
}

impl TopicWatch {
    /// What Kafka last said.
    #[must_use]
    pub fn state(&self) -> TopicState {
        self.state.borrow().clone()
    }

    /// The number of partitions, waiting for Kafka's first answer; `None` where there is no topic
    /// to send to.
    pub async fn partitions(&mut self) -> Option<u32> {
        let answered = |state: &TopicState| state.condition != Condition::Unknown;
        self.state.wait_for(answered).await.ok()?.partitions
    }

    /// The number of partitions where Kafka has named it already.
    #[must_use]
    pub fn known_partitions(&self) -> Option<u32> {
        self.state.borrow().partitions
    }

    /// Has Kafka asked again at once: what it said last seems to be wrong.
    pub fn doubt(&self) {
        // A full channel means that somebody has asked for it already.
        let _asked = self.wake.try_send(());
    }
}

/// The asking thread; it ends when this is dropped.
pub struct Watching {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watching {
    /// Asks for `topics` by the connections of `producer` from now on. Durability is only asked of
    /// real clusters (`with_durability`).
    pub fn start<T: Send + Sync + 'static, const N: usize>(
        producer: &Arc<Producer<T>>,
        settings: &Settings,
        topics: [String; N],
        with_durability: bool,
    ) -> (Self, [TopicWatch; N]) {
        let (wake, woken) = mpsc::sync_channel(1);
        let (stop, stopped) = mpsc::sync_channel(1);
        let (publish, receivers): (Vec<_>, Vec<_>) = topics
            .iter()
            .map(|_| watch::channel(TopicState::default()))
            .unzip();
        let mut receivers = receivers.into_iter();
        let watches = topics.each_ref().map(|name| TopicWatch {
            name: name.clone(),
            state: receivers.next().expect("one receiver a topic"),
            wake: wake.clone(),
        });
        let questions: Vec<_> = topics
            .into_iter()
            .zip(publish)
            .map(|(n, p)| Asked::new(n, p))
            .collect();
        let asker = Asker {
            producer: Arc::clone(producer),
            settings: with_durability.then(|| settings.clone()),
            topics: questions,
        };
        let thread = thread::Builder::new()
            .name("kafka-health".to_owned())
            .spawn(move || asker.run(&woken, &stopped))
            .expect("the system can start a thread");
        // The wake channel's receiver sees the end when the last watch is gone; `stop` is quicker.
        (
            Self {
                stop: Some(stop),
                thread: Some(thread),
            },
            watches,
        )
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            debug_assert!(ended.is_ok(), "the asking thread does not panic");
        }
    }
}

struct Asker<T: Send + Sync + 'static> {
    producer: Arc<Producer<T>>,
    /// For the admin client that reads durability.
    settings: Option<Settings>,
    topics: Vec<Asked>,
}

impl<T: Send + Sync + 'static> Asker<T> {
    fn run(mut self, woken: &Receiver<()>, stopped: &Receiver<()>) {
        loop {
            for topic in &mut self.topics {
                topic.ask(&self.producer, self.settings.as_ref());
            }
            let calm = self
                .topics
                .iter()
                .all(|topic| topic.state.condition == Condition::Ready);
            if wait(woken, stopped, if calm { CALM } else { TROUBLED }) {
                return;
            }
        }
    }
}

/// Waits for a wake-up or the time to pass; `true` where it is time to stop.
fn wait(woken: &Receiver<()>, stopped: &Receiver<()>, pause: Duration) -> bool {
    const STEP: Duration = Duration::from_millis(250);
    let until = Instant::now() + pause;
    loop {
        match woken.recv_timeout(STEP.min(until.saturating_duration_since(Instant::now()))) {
            Ok(()) => return false,
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if stopped.try_recv() == Err(mpsc::TryRecvError::Disconnected) {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
    }
}

/// One topic: what was said of it last, and to whom to pass it on.
struct Asked {
    name: String,
    state: TopicState,
    publish: watch::Sender<TopicState>,
    said: Option<(Condition, Instant)>,
}

impl Asked {
    fn new(name: String, publish: watch::Sender<TopicState>) -> Self {
        Self {
            name,
            state: TopicState::default(),
            publish,
            said: None,
        }
    }

    fn ask<T: Send + Sync + 'static>(
        &mut self,
        producer: &Producer<T>,
        settings: Option<&Settings>,
    ) {
        let (condition, partitions, replication) = question(producer, &self.name);
        let was_missing = self.state.condition == Condition::Missing;
        self.state.partitions = match condition {
            // A broker that has just started can deny a topic that is there: believe the second no.
            Condition::Missing if was_missing => None,
            _ => partitions.or(self.state.partitions),
        };
        self.state.condition = condition;
        if let (Some(settings), Some(replication)) = (settings, replication) {
            self.learn_durability(settings, replication);
        }
        self.say();
        self.publish.send_if_modified(|published| {
            let changed = *published != self.state;
            published.clone_from(&self.state);
            changed
        });
    }

    /// Reads `min.insync.replicas` once, and again when the replication has changed.
    fn learn_durability(&mut self, settings: &Settings, replication: u32) {
        if self
            .state
            .durability
            .is_some_and(|known| known.replication == replication)
        {
            return;
        }
        let Some(min_insync) = min_insync_replicas(settings, &self.name) else {
            return;
        };
        let durability = Durability {
            replication,
            min_insync,
        };
        if !durability.is_safe() {
            warn!(
                topic = self.name,
                replication,
                min_insync_replicas = min_insync,
                "the topic does not survive the loss of a broker: \
                 raise its replication factor and min.insync.replicas to at least 2"
            );
        }
        self.state.durability = Some(durability);
    }

    /// Says what has changed, and now and then what is still wrong.
    fn say(&mut self) {
        let condition = &self.state.condition;
        let due = match &self.said {
            None => true,
            Some((said, at)) => {
                said != condition && !same_kind(said, condition)
                    || *condition != Condition::Ready && at.elapsed() >= REMINDER
            }
        };
        if !due {
            return;
        }
        let topic = &self.name;
        match condition {
            Condition::Ready => {
                info!(
                    topic,
                    partitions = self.state.partitions,
                    "the topic can take records"
                );
            }
            trouble => warn!(topic, "no report can be taken for this topic: {trouble}"),
        }
        self.said = Some((condition.clone(), Instant::now()));
    }
}

/// The words of an outage vary from broker to broker; that is no news.
fn same_kind(one: &Condition, other: &Condition) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

fn question<T: Send + Sync + 'static>(
    producer: &Producer<T>,
    topic: &str,
) -> (Condition, Option<u32>, Option<u32>) {
    match producer.client().fetch_metadata(Some(topic), PATIENCE) {
        Ok(metadata) => {
            producer.forget_trouble();
            metadata
                .topics()
                .first()
                .map_or((Condition::Missing, None, None), condition_of)
        }
        Err(error) => {
            let reason = producer.trouble().unwrap_or_else(|| in_words(&error));
            (Condition::Unreachable(reason), None, None)
        }
    }
}

fn condition_of(topic: &MetadataTopic) -> (Condition, Option<u32>, Option<u32>) {
    use RDKafkaErrorCode::{UnknownTopic, UnknownTopicOrPartition};
    match topic.error().map(RDKafkaErrorCode::from) {
        Some(UnknownTopic | UnknownTopicOrPartition) => (Condition::Missing, None, None),
        Some(error) => (Condition::Refused(error.to_string()), None, None),
        None => {
            let partitions = topic.partitions();
            let leaderless = partitions
                .iter()
                .filter(|partition| partition.leader() < 0)
                .count();
            let replication = partitions
                .iter()
                .map(|partition| partition.replicas().len())
                .min();
            let condition = match (partitions.len(), leaderless) {
                (0, _) => return (Condition::Missing, None, None),
                (_, 0) => Condition::Ready,
                (_, count) => Condition::Leaderless(count),
            };
            let to_u32 = |count: usize| u32::try_from(count).ok();
            (
                condition,
                to_u32(partitions.len()),
                replication.and_then(to_u32),
            )
        }
    }
}

fn in_words(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::OperationTimedOut) => {
            "no broker answers".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The topic's `min.insync.replicas`; `None` where Kafka does not say (no `DESCRIBE_CONFIGS`).
fn min_insync_replicas(settings: &Settings, topic: &str) -> Option<u32> {
    let admin = AdminClient::<DefaultClientContext>::from_config(settings.client_config()).ok()?;
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let resource = [ResourceSpecifier::Topic(topic)];
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    let answers = runtime
        .block_on(admin.describe_configs(&resource, &options))
        .ok()?;
    let resource = answers.into_iter().next()?.ok()?;
    resource
        .get("min.insync.replicas")?
        .value
        .as_ref()?
        .parse()
        .ok()
}
