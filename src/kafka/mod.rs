//! Kafka: no other module uses `rdkafka`.
//!
//! A [`Producer`] sends records and passes each delivery report on; [`TopicWatch`] has the state of a topic, and
//! [`Asking`] the time since which an answer is missing; [`partition_for`] picks a record's partition as the Java
//! client does; [`Settings`] turns checked properties into librdkafka's; [`EmbeddedBroker`] is librdkafka's mock
//! cluster. [`Reader`] reads ranges of a topic, and [`Transactions`] writes records together with a reader's progress.
//! [`Cluster`] asks about a cluster, and creates its topics. Nothing here knows reports.

mod admin;
mod age_limits;
mod asking;
mod batch_size;
mod callbacks;
mod changes;
mod client_certificate;
mod client_error;
mod cluster;
mod consumed_record;
mod contact;
mod embedded;
mod ends;
mod group;
mod header_names;
mod health;
mod incremental_alter;
mod left;
mod numbers;
mod offset_range;
mod outgoing;
mod partition;
mod producer;
mod questions;
mod read_error;
mod reader;
mod refusal;
mod rights;
mod settings;
mod topic;
mod topic_consumer;
mod transactions;
mod waiting;

pub use age_limits::{ACCEPTED, AgeLimits, KEPT, Reached};
pub use asking::Asking;
pub use batch_size::batch_size;
pub use changes::Wanted;
pub use client_certificate::ClientCertificate;
pub use client_error::ClientError;
pub use cluster::{Cluster, Node, TopicFacts, Unreached};
pub use consumed_record::ConsumedRecord;
pub use embedded::EmbeddedBroker;
pub use group::{Committed, Group, Offsets};
pub use health::{Prepared, Watching};
pub use offset_range::OffsetRange;
pub use partition::partition_for;
pub use producer::{Acknowledged, Failed, Producer};
pub use questions::read_settings;
pub use read_error::ReadError;
pub use reader::{ReadStep, Reader};
pub use refusal::Refusal;
pub use settings::{DEFAULTS, NO_TIMEOUT, Settings, check_property};
pub use topic::{Condition, Durability, NoAnswer, TopicState, TopicWatch};
pub use transactions::{Batching, Broken, Transactions};
pub use waiting::Waiting;

/// Returns librdkafka's version.
#[must_use]
pub fn version() -> String {
    rdkafka::util::get_rdkafka_version().1
}
