//! Kafka as a client sees it, real or librdkafka's mock: creates topics and reads records. `until` is the only place in
//! which the tests sleep.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Display;
use std::pin::pin;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::metadata::{Metadata, MetadataPartition, MetadataTopic};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_mins(1);
const ANSWER: Duration = Duration::from_mins(1);

/// Polls until `look` succeeds, or returns its last error after `within`.
pub fn until<T, E: Display>(
    within: Duration,
    mut look: impl FnMut() -> Result<T, E>,
) -> Result<T, String> {
    let deadline = Instant::now() + within;
    loop {
        match look() {
            Err(why) if Instant::now() >= deadline => {
                return Err(format!("{why} (waited {within:?})"));
            }
            // No other thread unparks this one: this is the pause between two polls.
            Err(_) => thread::park_timeout(Duration::from_millis(50)),
            Ok(seen) => return Ok(seen),
        }
    }
}

/// Returns a topic name that no test has used.
pub fn unused_name(prefix: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{count}", process::id())
}

/// A Kafka cluster as its clients see it.
pub struct Kafka {
    bootstrap: String,
}

impl Kafka {
    pub fn at(bootstrap: String) -> Self {
        Self { bootstrap }
    }

    /// Returns the address of every broker, as `host:port,…`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Creates a topic as in production: three replicas, of which two must have a record.
    pub fn topic(&self, prefix: &str, partitions: i32) -> String {
        self.topic_with(prefix, partitions, 3, &[("min.insync.replicas", "2")])
    }

    /// Creates a topic with this replication and configuration, and waits until every replica is in sync.
    pub fn topic_with(
        &self,
        prefix: &str,
        partitions: i32,
        replication: i32,
        config: &[(&str, &str)],
    ) -> String {
        let name = unused_name(prefix);
        self.create_topic(&name, partitions, replication, config);
        name
    }

    /// Creates this topic, and waits until each broker knows it and every replica is in sync.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: i32,
        config: &[(&str, &str)],
    ) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
        topic.config.extend_from_slice(config);
        create_topic(&self.admin(), &topic, false)
            .and_then(|()| until(PATIENCE, || self.topic_is_in_sync(name)))
            .unwrap_or_else(|why| panic!("cannot create topic {name}: {why}"));
    }

    /// Deletes all topics except Kafka's internal ones, and waits until Kafka shows none.
    pub fn clear(&self) -> Result<(), String> {
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        until(PATIENCE, || {
            let metadata = self.metadata(None)?;
            let names = metadata.topics().iter().map(MetadataTopic::name);
            let left: Vec<&str> = names.filter(|name| !name.starts_with("__")).collect();
            if left.is_empty() {
                return Ok(());
            }
            let deleted = block_on(self.admin().delete_topics(&left, &options));
            deleted.map_err(|error| error.to_string())?;
            Err(format!("{} topics are left", left.len()))
        })
    }

    fn topic_is_in_sync(&self, topic: &str) -> Result<(), String> {
        self.bootstrap.split(',').try_for_each(|address| {
            let broker = Self::at(address.to_owned());
            every_replica_is_in_sync(&broker.metadata(Some(topic))?)
        })
    }

    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("reconnect.backoff.max.ms", "500")
            .create()
            .expect("an admin client needs no more than brokers")
    }

    /// Returns an error unless a controller would place `brokers` replicas now and every replica is in sync.
    pub fn check_health(&self, brokers: usize) -> Result<(), String> {
        let replicas = i32::try_from(brokers).expect("a handful of brokers");
        let probe = NewTopic::new("health-probe", 1, TopicReplication::Fixed(replicas));
        create_topic(&self.admin(), &probe, true)?;
        let metadata = self.metadata(None)?;
        let seen = metadata.brokers().len();
        if seen < brokers {
            return Err(format!("{seen} of {brokers} brokers are registered"));
        }
        every_replica_is_in_sync(&metadata)
    }

    /// Returns the metadata of one of the bootstrap brokers: the client is new and knows no other broker.
    pub fn metadata(&self, topic: Option<&str>) -> Result<Metadata, String> {
        let admin = self.admin();
        admin
            .inner()
            .fetch_metadata(topic, ANSWER)
            .map_err(|error| error.to_string())
    }
}

fn create_topic(
    admin: &AdminClient<DefaultClientContext>,
    topic: &NewTopic<'_>,
    validate_only: bool,
) -> Result<(), String> {
    let options = AdminOptions::new()
        .request_timeout(Some(ANSWER))
        .validate_only(validate_only);
    let results = block_on(admin.create_topics([topic], &options));
    for result in results.map_err(|error| error.to_string())? {
        result.map_err(|(topic, code)| format!("{topic}: {code}"))?;
    }
    Ok(())
}

fn every_partition_is_led(metadata: &Metadata) -> Result<(), String> {
    for topic in metadata.topics() {
        let name = topic.name();
        if let Some(error) = topic.error() {
            return Err(format!("{name}: {}", RDKafkaErrorCode::from(error)));
        }
        if let Some(partition) = topic.partitions().iter().find(|p| p.leader() < 0) {
            return Err(format!("{name}/{} has no leader", partition.id()));
        }
    }
    Ok(())
}

fn every_replica_is_in_sync(metadata: &Metadata) -> Result<(), String> {
    every_partition_is_led(metadata)?;
    let lags = |p: &&MetadataPartition| p.isr().len() < p.replicas().len();
    for topic in metadata.topics() {
        if let Some(p) = topic.partitions().iter().find(lags) {
            let (name, id, isr, all) = (topic.name(), p.id(), p.isr(), p.replicas());
            return Err(format!("{name}/{id}: {isr:?} of {all:?} are in sync"));
        }
    }
    Ok(())
}

/// Waits for a future on this thread. rdkafka's admin requests end by their own timeout.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    pub value: Option<Vec<u8>>,
}

impl Record {
    /// Returns the first header with this name, if its value is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        str::from_utf8(value.as_deref()?).ok()
    }

    fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = message
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter());
        Self {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            headers: headers
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect(),
            timestamp: message.timestamp().to_millis(),
            value: message.payload().map(<[u8]>::to_vec),
        }
    }
}

/// Returns every record that is committed at the time of the call, by partition and offset. A transaction's records
/// count when its marker is written, which can be shortly after the commit is acknowledged.
pub fn read_all(bootstrap: &str, topic: &str) -> Vec<Record> {
    read_each(bootstrap, topic, |record| record)
}

/// Does the same, but keeps only the result of `keep` for each record: there may be a million.
pub fn read_each<T>(bootstrap: &str, topic: &str, keep: impl Fn(Record) -> T) -> Vec<T> {
    read(bootstrap, topic, keep).unwrap_or_else(|why| panic!("cannot read {topic}: {why}"))
}

fn read<T>(bootstrap: &str, topic: &str, keep: impl Fn(Record) -> T) -> Result<Vec<T>, String> {
    let consumer = consumer(bootstrap);
    let ends = until(PATIENCE, || assign_to_the_ends(&consumer, topic))?;
    let mut unread: BTreeSet<i32> = ends.keys().copied().collect();
    let mut records = Vec::new();
    let mut trouble = None;
    let mut last = Instant::now();
    while !unread.is_empty() {
        if last.elapsed() >= PATIENCE {
            let read = records.len();
            return Err(format!(
                "{read} records, {unread:?} of {ends:?} not read to the end ({trouble:?})"
            ));
        }
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                if message.offset() + 1 >= ends[&message.partition()] {
                    unread.remove(&message.partition());
                }
                let record = Record::of(&message);
                records.push(((record.partition, record.offset), keep(record)));
                last = Instant::now();
            }
            // A transaction's last offset is its marker, which consumers do not receive.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                unread.remove(&partition);
            }
            Some(Err(error)) => trouble = Some(error),
            None => {}
        }
    }
    records.retain(|((partition, offset), _)| *offset < ends[partition]);
    records.sort_by_key(|(place, _)| *place);
    Ok(records.into_iter().map(|(_, kept)| kept).collect())
}

/// Never commits; librdkafka assigns partitions only to a consumer with a group.
fn consumer(bootstrap: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "koobridge-tests")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "20")
        .set("reconnect.backoff.max.ms", "500")
        .create()
        .expect("the consumer's configuration is valid")
}

/// Assigns every partition that has records, from its first offset, and returns their current end offsets.
fn assign_to_the_ends(
    consumer: &BaseConsumer,
    topic: &str,
) -> Result<BTreeMap<i32, i64>, Box<dyn Error>> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
    every_partition_is_led(&metadata)?;
    let mut ends = BTreeMap::new();
    let mut starts = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
        let (start, end) = consumer.fetch_watermarks(topic, partition.id(), ANSWER)?;
        if start < end {
            starts.add_partition_offset(topic, partition.id(), Offset::Offset(start))?;
            ends.insert(partition.id(), end);
        }
    }
    consumer.assign(&starts)?;
    Ok(ends)
}
