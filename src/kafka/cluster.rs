//! A client that asks for the state of a cluster; `changes` has its changes. It publishes nothing except a probe.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, ConfigEntry};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::metadata::MetadataBroker;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer as _, ProducerContext};
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};

use super::admin::{admin_client, topic_settings};
use super::age_limits::AgeLimits;
use super::callbacks::Callbacks;
use super::client_error::ClientError;
use super::outgoing::to_base_record;
use super::questions::{Answer, answer_of, by_name, in_words};
use super::settings::Settings;
use super::topic::Condition;
use crate::contract::Record;

/// How long to wait for the first answer in each attempt, and whether a refusal is final after that.
const CONNECTING: [(Duration, bool); 3] = [
    (Duration::from_secs(1), false),
    (Duration::from_secs(3), true),
    (Duration::from_secs(6), true),
];
/// How long each later answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a broker may take to know a topic that another one already shows, and how often to ask.
const KNOWN: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(200);
/// How long to wait for librdkafka's events, whether there are any or not.
const SHORTLY: Duration = Duration::from_millis(5);

/// A connected client.
pub struct Cluster {
    producer: BaseProducer<Callbacks>,
    pub(super) admin: AdminClient<DefaultClientContext>,
    pub(super) runtime: Runtime,
}

/// The reason why a cluster does not answer, as librdkafka words it.
#[derive(Debug, Error)]
pub enum Unreached {
    #[error(
        "the TLS handshake with Kafka failed: {0}; run `koobridge check` to see which step failed"
    )]
    Tls(String),
    #[error(
        "authentication with Kafka failed: {0}; run `koobridge check` to see which step failed"
    )]
    Login(String),
    #[error("no broker answers: {0}; run `koobridge check` to see which step failed")]
    Nobody(String),
}

/// A broker, and its advertised address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: i32,
    pub host: String,
    pub port: u16,
}

/// Kafka's description of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    pub condition: Condition,
    pub partitions: u32,
    /// The replicas of the least replicated partition.
    pub replication: u32,
    /// The in-sync replicas of the partition with the fewest.
    pub in_sync: u32,
    /// The topic's settings by name; `None` if Kafka does not show them to this client.
    pub settings: Option<BTreeMap<String, String>>,
}

impl From<&MetadataBroker> for Node {
    fn from(broker: &MetadataBroker) -> Self {
        Self {
            id: broker.id(),
            host: broker.host().to_owned(),
            port: u16::try_from(broker.port()).unwrap_or_default(),
        }
    }
}

impl TopicFacts {
    /// Returns whether records have the time at which Kafka appended them.
    #[must_use]
    pub fn has_own_clock(&self) -> bool {
        let settings = self.settings.as_ref();
        settings
            .and_then(|all| all.get("message.timestamp.type"))
            .is_some_and(|kind| kind == "LogAppendTime")
    }

    /// Returns the limits on the age of the topic's records, if Kafka shows them.
    #[must_use]
    pub fn age_limits(&self) -> AgeLimits {
        self.settings
            .as_ref()
            .map(AgeLimits::of)
            .unwrap_or_default()
    }
}

impl Cluster {
    /// Starts a client, which connects by itself. Its requests create no topic, whatever the settings say.
    ///
    /// # Errors
    /// If librdkafka refuses the settings as a whole, or the system can't start a thread.
    pub fn start(settings: &Settings) -> Result<Self, ClientError> {
        let mut config = settings.client_config().clone();
        config.set("allow.auto.create.topics", "false");
        let producer =
            BaseProducer::from_config_and_context(&config, Callbacks::new((), settings))?;
        let runtime = Builder::new_current_thread().enable_time().build()?;
        Ok(Self {
            producer,
            admin: admin_client(&config)?,
            runtime,
        })
    }

    /// Waits for the first answer, the list of brokers. Later requests go to the addresses in it.
    ///
    /// # Errors
    /// The reason if no broker answers.
    pub fn brokers(&self) -> Result<Vec<Node>, Unreached> {
        let mut last = Unreached::Nobody(String::new());
        // The first broker that is asked is not always the one that answers.
        for (patience, is_enough_for_a_refusal) in CONNECTING {
            match self.producer.client().fetch_metadata(None, patience) {
                Ok(metadata) => return Ok(metadata.brokers().iter().map(Node::from).collect()),
                Err(error) => {
                    // librdkafka reports the reason on the main queue, which only this code reads.
                    self.producer.poll(SHORTLY);
                    last = self.why(&error);
                }
            }
            if is_enough_for_a_refusal && !matches!(last, Unreached::Nobody(_)) {
                break;
            }
        }
        Err(last)
    }

    fn why(&self, error: &KafkaError) -> Unreached {
        let last = self.producer.context().unreached();
        last.unwrap_or_else(|| Unreached::Nobody(in_words(error)))
    }

    /// Returns Kafka's description of a topic. The caller waits for a topic that it has just created.
    ///
    /// # Errors
    /// The error as librdkafka words it.
    pub fn topic(&self, name: &str) -> Result<TopicFacts, String> {
        let Answer {
            condition,
            partitions,
            replication,
            in_sync,
            ..
        } = self.answer(name)?;
        let settings = partitions.and_then(|_| self.topic_settings(name));
        Ok(TopicFacts {
            condition,
            partitions: partitions.unwrap_or_default(),
            replication: replication.unwrap_or_default(),
            in_sync: in_sync.into_iter().min().unwrap_or_default(),
            settings,
        })
    }

    /// Returns whether a topic can be used.
    ///
    /// # Errors
    /// The error as librdkafka words it.
    pub fn condition(&self, name: &str) -> Result<Condition, String> {
        self.answer(name).map(|answer| answer.condition)
    }

    fn answer(&self, name: &str) -> Result<Answer, String> {
        let metadata = self.producer.client().fetch_metadata(Some(name), PATIENCE);
        let metadata = metadata.map_err(|error| in_words(&error))?;
        let topic = metadata.topics().first();
        Ok(topic.map_or_else(|| Answer::without_partitions(Condition::Missing), answer_of))
    }

    /// Returns the settings of a topic; `None` if Kafka does not show them. A broker that does not know a new topic yet
    /// is asked again.
    fn topic_settings(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let until = Instant::now() + KNOWN;
        let mut entries = self.describe(name);
        while !matches!(entries, Ok(Some(_))) && Instant::now() < until {
            thread::park_timeout(AGAIN);
            entries = self.describe(name);
        }
        entries.ok().flatten().map(by_name)
    }

    pub(super) fn describe(&self, name: &str) -> Result<Option<Vec<ConfigEntry>>, String> {
        let answer = topic_settings(&self.admin, name, PATIENCE);
        self.runtime.block_on(answer)
    }

    /// Publishes one record, and waits until every in-sync replica has it. Returns its timestamp on the topic, in
    /// milliseconds since 1970.
    ///
    /// # Errors
    /// The error as librdkafka words it.
    pub fn publish(&self, topic: &str, record: &Record) -> Result<Option<i64>, String> {
        // Earlier errors are not the reason of this failure.
        self.producer.context().forget_error();
        let (sender, receiver) = mpsc::channel();
        let outgoing = to_base_record(topic, record, Box::new(sender));
        let sent = self.producer.send(outgoing);
        sent.map_err(|(error, _)| error.to_string())
            .and_then(|()| self.wait_for_report(&receiver))
            .map_err(|why| self.last_words().unwrap_or(why))
    }

    fn wait_for_report(&self, receiver: &Receiver<Acknowledgement>) -> Result<Option<i64>, String> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            self.producer.poll(SHORTLY);
            if let Ok(acknowledgement) = receiver.try_recv() {
                return acknowledgement;
            }
        }
        let trouble = self.producer.context().last_error();
        Err(trouble.unwrap_or_else(|| "Kafka has not acknowledged it".to_owned()))
    }

    /// Returns the error that ended the producer, if there is one: later errors only say that it has ended.
    fn last_words(&self) -> Option<String> {
        let (_, reason) = self.producer.client().fatal_error()?;
        Some(reason)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cluster")
    }
}

/// The timestamp that Kafka gave a record, or the reason why Kafka did not accept it.
type Acknowledgement = Result<Option<i64>, String>;

impl ProducerContext for Callbacks {
    type DeliveryOpaque = Box<Sender<Acknowledgement>>;

    fn delivery(&self, result: &DeliveryResult<'_>, sender: Self::DeliveryOpaque) {
        let acknowledgement = match result {
            Ok(message) => Ok(message.timestamp().to_millis()),
            Err((error, _)) => Err(error.to_string()),
        };
        // The receiver is gone if the wait has timed out.
        let _sent = sender.send(acknowledgement);
    }
}
