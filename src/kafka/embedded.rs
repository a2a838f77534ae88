//! The embedded broker of `koobridge dev`: librdkafka's mock cluster, in memory, on loopback.
//!
//! It keeps at most 5 MiB or 100,000 records a partition and checks no sequence numbers: good for
//! trying things out, not for judging what is lost, repeated or reordered.

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

/// A broker inside this process. It ends when this is dropped.
pub struct EmbeddedBroker(MockCluster<'static, DefaultProducerContext>);

impl EmbeddedBroker {
    /// Starts the broker, without topics.
    ///
    /// # Errors
    /// Where librdkafka can't: no free port on loopback, say.
    pub fn start() -> Result<Self, KafkaError> {
        MockCluster::new(1).map(Self)
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// Where there is one of that name.
    pub fn create_topic(&self, name: &str, partitions: u16) -> Result<(), KafkaError> {
        self.0.create_topic(name, partitions.into(), 1)
    }

    /// The address for `bootstrap.servers`, of any Kafka client on this machine.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        self.0.bootstrap_servers()
    }
}
