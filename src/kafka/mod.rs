//! The Kafka clients. Only this module uses `rdkafka`, and it knows nothing of reports.
//!
//! A [`Producer`] sends records and passes on each delivery report. [`TopicWatch`] shows the state of a topic, and
//! [`PollView`] how long the current request has been unanswered. [`partition_for`] chooses a record's partition as the
//! Java client does. [`Settings`] turns checked properties into librdkafka's. [`EmbeddedBroker`] is librdkafka's mock
//! cluster. [`Reader`] reads ranges of a topic, and [`Transactions`] writes records together with the progress of a
//! reader. [`Cluster`] queries a cluster, and creates and changes its topics.

mod admin;
mod age_limits;
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
mod numbers;
mod offset_range;
mod outgoing;
mod partition;
mod poll_view;
mod producer;
mod progress;
mod read_error;
mod reader;
mod rejection;
mod rights;
mod settings;
mod topic;
mod topic_consumer;
mod topic_metadata;
mod transactions;
mod waiting;

pub use age_limits::{ACCEPTED, AgeLimits, KEPT, ReachedLimit};
pub use batch_size::batch_size;
pub use changes::TopicSpec;
pub use client_certificate::ClientCertificate;
pub use client_error::ClientError;
pub use cluster::{Cluster, ConnectError, Node, TopicFacts};
pub use consumed_record::ConsumedRecord;
pub use embedded::EmbeddedBroker;
pub use group::{Committed, Group, Offsets};
pub use health::{Prepared, Watching};
pub use offset_range::OffsetRange;
pub use partition::partition_for;
pub use poll_view::PollView;
pub use producer::{Acknowledged, DeliveryError, Producer};
pub use read_error::ReadError;
pub use reader::{ReadStep, Reader};
pub use rejection::RejectedStep;
pub use settings::{DEFAULTS, NO_TIMEOUT, Settings, check_property};
pub use topic::{Condition, Durability, NoAnswer, TopicState, TopicWatch};
pub use topic_metadata::read_settings;
pub use transactions::{Batching, TransactionError, Transactions};
pub use waiting::Waiting;

/// Returns librdkafka's version.
#[must_use]
pub fn version() -> String {
    rdkafka::util::get_rdkafka_version().1
}
