//! The embedded broker of `koobridge dev`: librdkafka's mock cluster, in memory, on loopback.
//!
//! It keeps at most 5 MiB or 100,000 records a partition and checks no sequence numbers. Use it to try things out, not
//! to test for lost, repeated or reordered records.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

/// A broker inside this process. Dropping this stops it.
pub struct EmbeddedBroker(MockCluster<'static, DefaultProducerContext>);

impl EmbeddedBroker {
    /// Starts the broker, without topics.
    ///
    /// # Errors
    /// If 127.0.0.1 can't be listened on or reached, or librdkafka can't start the broker.
    pub fn start() -> Result<Self, KafkaError> {
        // librdkafka aborts the process when it can't listen.
        match reach_loopback() {
            Ok(()) => MockCluster::new(1).map(Self),
            Err(error) => Err(KafkaError::ClientCreation(format!(
                "it needs 127.0.0.1, which is unreachable: {error}; without IPv4 on loopback, run Kafka and \
                 `koobridge serve`"
            ))),
        }
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// If a topic of that name exists.
    pub fn create_topic(&self, name: &str, partitions: u16) -> Result<(), KafkaError> {
        self.0.create_topic(name, partitions.into(), 1)
    }

    /// Returns the value of `bootstrap.servers` for Kafka clients on this machine.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        self.0.bootstrap_servers()
    }
}

/// Listens on 127.0.0.1 and connects to it. When the loopback interface is down, listening works but connecting fails.
fn reach_loopback() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    TcpStream::connect(listener.local_addr()?).map(drop)
}
