//! koobridge takes the WhatsApp status reports that KooMessage sends to a contact centre, and
//! puts each one on a Kafka topic as a normalised event keyed by `message_id`. It answers a sender
//! only when Kafka has the report, or its own spool has it on disk.
//!
//! # The parts
//!
//! | module | what it owns |
//! |---|---|
//! | [`cli`], [`commands`] | what can be typed, one file a command |
//! | [`bridge`] | the long-running part: ingress, admin, delivery, reload, metrics, traces |
//! | [`tools`] | what an operator runs: replay, redrive, check, topics, archives |
//! | [`spool`] | records that Kafka cannot accept yet, on disk: the only user of SQLite |
//! | [`kafka`] | producers, transactions, a reader, topics, the embedded broker: the only user of rdkafka |
//! | `certificates` | PEM files, and what the certificates in them say |
//! | [`config`], [`contract`] | checked values; reports and events, without I/O |
//! | [`telemetry`] | logs, and the end of the process if a thread panics |
//!
//! Imports go down in the order of this table. `docs/architecture.md` has the files, and the few imports that go up.
//!
//! # The path of one report
//!
//! 1. A worker of [`bridge::ingress::Workers`] serves the connection that the [`bridge::ingress::Listener`] handed
//!    to it. hyper reads the head; its framing, path and method are looked at first.
//! 2. *Authenticate*: [`contract::Channels::authenticate`] compares the password's digest and makes
//!    an [`contract::Authenticated`]. Only then is the body read, which makes a [`contract::Received`].
//! 3. *Validate*: [`contract::Received::validate`] holds it against the interface document and makes a
//!    [`contract::Report`]; or names the fault, and the body goes on whole as a
//!    [`contract::Rejected`].
//! 4. *Normalise*: [`contract::Report::normalise`] makes the [`contract::Event`]: a CloudEvents
//!    event whose id is the same for each repeat.
//! 5. *Publish*: [`bridge::delivery::Delivery::publish`] gets it a permit of the limits and a number in
//!    the lane of its partition, which is the one that the Java client would pick. The lane has it sent,
//!    or written to the spool if Kafka is slow or away; the sender waits for the first answer of the
//!    two, at most until the deadline. The delivery report counts the report's fate even if its sender
//!    has gone.
//! 6. *Respond*: only a [`bridge::delivery::Promised`] makes a 2xx. Every other ending is one entry of
//!    one table, in `bridge/ingress/answer.rs`.

// They panic if the stream is broken.
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

/// Returns the memory of a peak of connections to the system: glibc's allocator keeps it for as long as the process
/// lives. librdkafka and SQLite allocate from it too. A build for a first try leaves it out: it takes long to compile.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
