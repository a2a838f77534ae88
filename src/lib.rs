//! koobridge receives the WhatsApp status reports that KooMessage sends to a contact centre, and
//! publishes each one to a Kafka topic as a normalised event keyed by `message_id`. It answers a sender
//! only after Kafka has acknowledged the report, or its own spool has stored it on disk.
//!
//! # The parts
//!
//! | module | content |
//! |---|---|
//! | [`cli`], [`commands`] | the command line, and one file per command |
//! | [`bridge`] | the long-running part: ingress, admin, delivery, reload, metrics, traces |
//! | [`tools`] | the operator's tools: replay, redrive, check, topics, archives |
//! | [`spool`] | records that Kafka cannot accept yet, on disk: the only user of SQLite |
//! | [`kafka`] | producers, transactions, a reader, topics, the embedded broker: the only user of rdkafka |
//! | `certificates` | PEM files and the certificates in them |
//! | [`config`], [`contract`] | checked values; reports and events, without I/O |
//! | [`telemetry`] | logs, and the panic hook |
//!
//! Imports go down in the order of this table. `docs/architecture.md` has the files, and the few imports that go up.
//!
//! # The path of one report
//!
//! 1. A worker of [`bridge::ingress::Workers`] serves a connection of the [`bridge::ingress::Listener`]. hyper reads
//!    the head; its framing, path and method are checked first.
//! 2. *Authenticate*: [`contract::Channels::authenticate`] compares the password's digest and makes
//!    an [`contract::Authenticated`]. Then the body is read, which makes a [`contract::Received`].
//! 3. *Validate*: [`contract::Received::validate`] checks it against the interface document and makes a
//!    [`contract::Report`]. If there is a fault, the whole body becomes a [`contract::Rejected`] instead.
//! 4. *Normalise*: [`contract::Report::normalise`] makes the [`contract::Event`]: a CloudEvents
//!    event whose id is the same for each repeat.
//! 5. *Publish*: [`bridge::delivery::Delivery::publish`] acquires a permit and a number in the lane of the
//!    event's partition, which is the one that the Java client would choose. The lane sends the record, or
//!    writes it to the spool when Kafka is slow or down. The sender waits until one of them has it, at most
//!    until the deadline. The delivery report counts the outcome even when the sender has hung up.
//! 6. *Respond*: only a [`bridge::delivery::Promised`] makes a 2xx. All other answers are in one table in
//!    `bridge/ingress/answer.rs`.

// The print macros panic when the stream is broken.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod blocking;
pub mod bridge;
mod certificates;
pub mod cli;
pub mod commands;
pub mod config;
pub mod contract;
pub mod interrupt;
mod jitter;
pub mod kafka;
pub mod spool;
pub mod telemetry;
mod text;
pub mod tools;

/// jemalloc returns memory to the system after a peak of connections; glibc's allocator keeps it. librdkafka and SQLite
/// use it too. It is a feature because it takes long to compile.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
