//! A client that asks a cluster about itself; `changes` has what it can change. It publishes nothing but a probe.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ConfigEntry, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::metadata::MetadataBroker;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer as _, ProducerContext};
use tokio::runtime::{Builder, Runtime};

use super::admin::admin_client;
use super::callbacks::Callbacks;
use super::client_error::ClientError;
use super::outgoing::to_base_record;
use super::questions::{Answer, answer_of, in_words};
use super::settings::Settings;
use super::topic::Condition;
use crate::contract::Record;

/// How long to wait for the first answer, each time, and whether a refusal is believed after that.
const CONNECTING: [(Duration, bool); 3] = [
    (Duration::from_secs(1), false),
    (Duration::from_secs(3), true),
    (Duration::from_secs(6), true),
];
/// How long each later answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a broker may take to hear of a topic that another one already shows, and how often to ask.
const HEARD: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(200);
/// How long taking what librdkafka has to say takes, whether it says anything or not.
const SHORTLY: Duration = Duration::from_millis(5);

/// A connected client.
pub struct Cluster {
    producer: BaseProducer<Callbacks>,
    pub(super) admin: AdminClient<DefaultClientContext>,
    pub(super) runtime: Runtime,
}

/// Why a cluster does not answer.
#[derive(Debug)]
pub enum Unreached {
    /// TLS did not come about; librdkafka's words.
    Tls(String),
    /// Kafka does not know who this is; librdkafka's words.
    Login(String),
    /// No broker answers; librdkafka's words.
    Nobody(String),
}

/// A broker, where it says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: i32,
    pub host: String,
    pub port: u16,
}

/// What Kafka says of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    pub condition: Condition,
    pub partitions: u32,
    /// The replicas of the least replicated partition.
    pub replication: u32,
    /// The replicas in sync of the partition that has the fewest.
    pub in_sync: u32,
    /// The topic's settings by name; `None` where Kafka does not tell them.
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
    /// Whether records bear the time at which Kafka took them.
    #[must_use]
    pub fn has_own_clock(&self) -> bool {
        let settings = self.settings.as_ref();
        settings
            .and_then(|all| all.get("message.timestamp.type"))
            .is_some_and(|kind| kind == "LogAppendTime")
    }
}

impl Cluster {
    /// Starts a client, which connects by itself. What is asked for a topic makes none, whatever the settings say.
    ///
    /// # Errors
    /// If librdkafka refuses the settings as a whole, or the system can't start a thread.
    pub fn start(settings: &Settings) -> Result<Self, ClientError> {
        let mut config = settings.client_config().clone();
        config.set("allow.auto.create.topics", "false");
        let producer = BaseProducer::from_config_and_context(&config, Callbacks::default())?;
        let runtime = Builder::new_current_thread().enable_time().build()?;
        Ok(Self {
            producer,
            admin: admin_client(&config)?,
            runtime,
        })
    }

    /// Waits for the first answer: the brokers that there are. Later ones come from where these say that they are.
    ///
    /// # Errors
    /// Why there is none.
    pub fn brokers(&self) -> Result<Vec<Node>, Unreached> {
        let mut last = Unreached::Nobody(String::new());
        // The first broker that is asked need not be the one that answers.
        for (patience, is_enough_for_a_refusal) in CONNECTING {
            match self.producer.client().fetch_metadata(None, patience) {
                Ok(metadata) => return Ok(metadata.brokers().iter().map(Node::from).collect()),
                Err(error) => {
                    // librdkafka says why on the main queue, which only this takes from.
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
        match self.producer.context().last_error_with_code() {
            None => Unreached::Nobody(in_words(error)),
            Some((RDKafkaErrorCode::SSL, words)) => Unreached::Tls(words),
            // What hangs up during the handshake is a lost connection to librdkafka.
            Some((_, words)) if words.contains("SSL handshake failed") => Unreached::Tls(words),
            Some((code, words)) if is_about_login(code) => Unreached::Login(words),
            Some((_, words)) => Unreached::Nobody(words),
        }
    }

    /// What Kafka says of a topic. One that is being made is waited for by who made it.
    ///
    /// # Errors
    /// librdkafka's words.
    pub fn topic(&self, name: &str) -> Result<TopicFacts, String> {
        let metadata = self.producer.client().fetch_metadata(Some(name), PATIENCE);
        let metadata = metadata.map_err(|error| in_words(&error))?;
        let Answer {
            condition,
            partitions,
            replication,
            in_sync,
        } = metadata
            .topics()
            .first()
            .map_or_else(|| Answer::without_partitions(Condition::Missing), answer_of);
        let settings = partitions.and_then(|_| self.topic_settings(name));
        Ok(TopicFacts {
            condition,
            partitions: partitions.unwrap_or_default(),
            replication: replication.unwrap_or_default(),
            in_sync: in_sync.into_iter().min().unwrap_or_default(),
            settings,
        })
    }

    /// The broker that is asked need not be the one that has shown the topic: where it has not heard of it yet, it
    /// tells as little as one that may not tell.
    fn topic_settings(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let until = Instant::now() + HEARD;
        let entries = loop {
            match self.describe(name) {
                Ok(entries) => break entries,
                Err(_) if Instant::now() < until => thread::park_timeout(AGAIN),
                Err(_) => return None,
            }
        };
        let known = entries
            .into_iter()
            .filter_map(|entry| Some((entry.name, entry.value?)));
        Some(known.collect())
    }

    /// The wrapper of librdkafka passes a refusal on as no entries at all.
    pub(super) fn describe(&self, name: &str) -> Result<Vec<ConfigEntry>, String> {
        let resource = [ResourceSpecifier::Topic(name)];
        let answers = self.admin.describe_configs(&resource, &options());
        let answers = self.runtime.block_on(answers);
        let mut answers = answers.map_err(|error| in_words(&error))?.into_iter();
        match answers.next() {
            Some(Ok(resource)) if !resource.entries.is_empty() => Ok(resource.entries),
            Some(Err(code)) => Err(code.to_string()),
            Some(Ok(_)) | None => Err("Kafka does not tell its settings".to_owned()),
        }
    }

    /// Publishes one record, and waits until every in-sync replica has it; gives the time that it bears on the
    /// topic, in milliseconds since 1970.
    ///
    /// # Errors
    /// librdkafka's words.
    pub fn publish(&self, topic: &str, record: &Record) -> Result<Option<i64>, String> {
        // What was the matter before is not why this is not taken.
        self.producer.context().forget_error();
        let (tell, told) = mpsc::channel();
        let outgoing = to_base_record(topic, record, Box::new(tell));
        let sent = self.producer.send(outgoing);
        sent.map_err(|(error, _)| error.to_string())
            .and_then(|()| self.wait_for_report(&told))
            .map_err(|why| self.last_words().unwrap_or(why))
    }

    fn wait_for_report(&self, told: &Receiver<Told>) -> Result<Option<i64>, String> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            self.producer.poll(SHORTLY);
            if let Ok(told) = told.try_recv() {
                return told;
            }
        }
        let trouble = self.producer.context().last_error();
        Err(trouble.unwrap_or_else(|| "Kafka has not acknowledged it".to_owned()))
    }

    /// What has ended the producer, where something has: every later error says only that it has.
    fn last_words(&self) -> Option<String> {
        let (_, reason) = self.producer.client().fatal_error()?;
        Some(reason)
    }
}

pub(super) fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE))
}

fn is_about_login(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{Authentication, SaslAuthenticationFailed, UnsupportedSASLMechanism};
    matches!(
        code,
        Authentication | SaslAuthenticationFailed | UnsupportedSASLMechanism
    )
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(why) => write!(f, "TLS with Kafka does not come about: {why}"),
            Self::Login(why) => write!(f, "Kafka does not take this client for who it says: {why}"),
            Self::Nobody(why) => write!(f, "no broker answers: {why}"),
        }?;
        f.write_str("; `koobridge check` looks at each step of the way there")
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cluster")
    }
}

/// The time that a record bears, or why it was not taken.
type Told = Result<Option<i64>, String>;

impl ProducerContext for Callbacks {
    type DeliveryOpaque = Box<Sender<Told>>;

    fn delivery(&self, result: &DeliveryResult<'_>, tell: Self::DeliveryOpaque) {
        let told = match result {
            Ok(message) => Ok(message.timestamp().to_millis()),
            Err((error, _)) => Err(error.to_string()),
        };
        // Who asked may have given up.
        let _told = tell.send(told);
    }
}
