//! The embedded broker of `koobridge dev`: librdkafka's mock cluster, in memory, on loopback.
//!
//! It keeps at most 5 MiB or 100,000 records a partition and checks no sequence numbers: good for
//! trying things out, not for judging what is lost, repeated or reordered.

use std::net::{Ipv4Addr, TcpListener};

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

/// A broker inside this process. It ends when this is dropped.
pub struct EmbeddedBroker(MockCluster<'static, DefaultProducerContext>);

impl EmbeddedBroker {
    /// Starts the broker, without topics.
    ///
    /// # Errors
    /// If the broker can't listen on 127.0.0.1, or librdkafka can't start it.
    pub fn start() -> Result<Self, KafkaError> {
        // librdkafka ends the process if it can't listen.
        if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) {
            return Err(KafkaError::ClientCreation(format!(
                "it can't listen on 127.0.0.1, which it needs: {error}; without IPv4 on loopback, run a Kafka \
                 and `koobridge serve`"
            )));
        }
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
