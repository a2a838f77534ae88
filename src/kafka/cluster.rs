//! A client for the metadata of a cluster; it publishes only the probe of `koobridge check`. `changes` holds the
//! changes of topics.

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
use super::settings::Settings;
use super::topic::Condition;
use super::topic_metadata::{Answer, answer_of, by_name, error_message};
use crate::contract::Record;

/// The limit of each attempt to get the first answer, and whether a rejection counts after it.
const FIRST_ATTEMPTS: [(Duration, bool); 3] = [
    (Duration::from_secs(1), false),
    (Duration::from_secs(3), true),
    (Duration::from_secs(6), true),
];
/// The limit for each later request.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The time a broker may take to learn of a new topic that another one shows, and the interval of the requests.
const NEW_TOPIC_LIMIT: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The time for which librdkafka's main queue is polled.
const ERROR_POLL: Duration = Duration::from_millis(5);

/// A connected client.
pub struct Cluster {
    producer: BaseProducer<Callbacks>,
    pub(super) admin: AdminClient<DefaultClientContext>,
    pub(super) runtime: Runtime,
}

/// The reason why no broker answers, with librdkafka's message.
#[derive(Debug, Error)]
pub enum ConnectError {
    #[error(
        "the TLS handshake with Kafka failed: {0}; run `koobridge check` to see which step failed"
    )]
    Tls(String),
    #[error(
        "authentication with Kafka failed: {0}; run `koobridge check` to see which step failed"
    )]
    Authentication(String),
    #[error("no broker answers: {0}; run `koobridge check` to see which step failed")]
    NoBroker(String),
}

/// A broker with its advertised address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: i32,
    pub host: String,
    pub port: u16,
}

/// The state of a topic according to Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    pub condition: Condition,
    pub partitions: u32,
    /// The lowest number of replicas of a partition.
    pub replication: u32,
    /// The lowest number of in-sync replicas of a partition.
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
    /// Returns whether Kafka sets the timestamps of the records (`LogAppendTime`).
    #[must_use]
    pub fn uses_log_append_time(&self) -> bool {
        let settings = self.settings.as_ref();
        settings
            .and_then(|all| all.get("message.timestamp.type"))
            .is_some_and(|kind| kind == "LogAppendTime")
    }

    /// Returns the known limits on the age of records.
    #[must_use]
    pub fn age_limits(&self) -> AgeLimits {
        self.settings
            .as_ref()
            .map(AgeLimits::of)
            .unwrap_or_default()
    }
}

impl Cluster {
    /// Starts a client, which connects in the background. Its requests never create a topic, even if the settings allow
    /// that.
    ///
    /// # Errors
    /// If librdkafka rejects the settings, or the system can't start a thread.
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

    /// Waits for the first answer and returns the brokers. Later requests go to their advertised addresses.
    ///
    /// # Errors
    /// If no broker answers, or brokers reject this client.
    pub fn brokers(&self) -> Result<Vec<Node>, ConnectError> {
        let mut last = ConnectError::NoBroker(String::new());
        // librdkafka tries one broker first, which may be the dead one.
        for (patience, is_rejection_final) in FIRST_ATTEMPTS {
            match self.producer.client().fetch_metadata(None, patience) {
                Ok(metadata) => return Ok(metadata.brokers().iter().map(Node::from).collect()),
                Err(error) => {
                    // librdkafka reports the reason on the main queue, which nothing else polls.
                    self.producer.poll(ERROR_POLL);
                    last = self.connect_failure(&error);
                }
            }
            if is_rejection_final && !matches!(last, ConnectError::NoBroker(_)) {
                break;
            }
        }
        Err(last)
    }

    fn connect_failure(&self, error: &KafkaError) -> ConnectError {
        let last = self.producer.context().connect_error();
        last.unwrap_or_else(|| ConnectError::NoBroker(error_message(error)))
    }

    /// Returns the state of a topic. After a creation the caller waits until the topic is ready.
    ///
    /// # Errors
    /// librdkafka's message if there is no answer.
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
    /// librdkafka's message if there is no answer.
    pub fn condition(&self, name: &str) -> Result<Condition, String> {
        self.answer(name).map(|answer| answer.condition)
    }

    fn answer(&self, name: &str) -> Result<Answer, String> {
        let metadata = self.producer.client().fetch_metadata(Some(name), PATIENCE);
        let metadata = metadata.map_err(|error| error_message(&error))?;
        let topic = metadata.topics().first();
        Ok(topic.map_or_else(|| Answer::without_partitions(Condition::Missing), answer_of))
    }

    /// Returns the settings of a topic; `None` if Kafka does not show them. Retries, because a broker that does not
    /// know a new topic yet shows none.
    fn topic_settings(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let until = Instant::now() + NEW_TOPIC_LIMIT;
        let mut entries = self.describe(name);
        while !matches!(entries, Ok(Some(_))) && Instant::now() < until {
            thread::park_timeout(RETRY_PAUSE);
            entries = self.describe(name);
        }
        entries.ok().flatten().map(by_name)
    }

    pub(super) fn describe(&self, name: &str) -> Result<Option<Vec<ConfigEntry>>, String> {
        let answer = topic_settings(&self.admin, name, PATIENCE);
        self.runtime.block_on(answer)
    }

    /// Publishes one record, waits until every in-sync replica has it, and returns its timestamp on the topic, in
    /// milliseconds since 1970.
    ///
    /// # Errors
    /// librdkafka's message if Kafka does not accept the record.
    pub fn publish(&self, topic: &str, record: &Record) -> Result<Option<i64>, String> {
        // An earlier error does not explain a failure of this record.
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
            self.producer.poll(ERROR_POLL);
            if let Ok(acknowledgement) = receiver.try_recv() {
                return acknowledgement;
            }
        }
        let trouble = self.producer.context().last_error();
        Err(trouble.unwrap_or_else(|| "Kafka has not acknowledged it".to_owned()))
    }

    /// Returns the producer's fatal error: later errors only report that there was one.
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

/// The time that Kafka gave a record, or why Kafka did not accept it.
type Acknowledgement = Result<Option<i64>, String>;

impl ProducerContext for Callbacks {
    type DeliveryOpaque = Box<Sender<Acknowledgement>>;

    fn delivery(&self, result: &DeliveryResult<'_>, sender: Self::DeliveryOpaque) {
        let acknowledgement = match result {
            Ok(message) => Ok(message.timestamp().to_millis()),
            Err((error, _)) => Err(error.to_string()),
        };
        // The receiver is gone when the wait has timed out.
        let _sent = sender.send(acknowledgement);
    }
}
