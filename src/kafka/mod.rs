//! Kafka: `rdkafka` stops here.
//!
//! A [`Producer`] hands records over and passes each delivery report on; [`TopicWatch`] knows what
//! Kafka says of a topic; [`partition_for`] picks a record's partition as the Java client would;
//! [`Settings`] turns checked properties into librdkafka's; [`EmbeddedBroker`] is librdkafka's own
//! mock cluster and [`Subscriber`] reads a topic back. Nothing here knows what a report is.

mod embedded;
mod health;
mod partition;
mod producer;
mod questions;
mod settings;
mod subscriber;
mod topic;

pub use embedded::EmbeddedBroker;
pub use health::Watching;
pub use partition::partition_for;
pub use producer::{Failed, Producer};
pub use rdkafka::error::KafkaError;
pub use settings::{DEFAULTS, Settings, check_property};
pub use subscriber::{Read, Subscriber};
pub use topic::{Condition, Durability, TopicState, TopicWatch};
