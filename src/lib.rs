//! koobridge takes the WhatsApp status reports that KooMessage sends to a contact centre, and
//! puts each one on a Kafka topic as a normalised event keyed by `message_id`. It answers a sender
//! only when Kafka has the report, or its own spool has it on disk.
//!
//! # The parts
//!
//! | module | what it owns |
//! |---|---|
//! | [`contract`] | what a report is and how it becomes an event: pure, no I/O |
//! | [`config`] | what was typed, turned into checked values |
//! | `text` | UTF-8 files, and characters that cannot be seen |
//! | `blocking` | work that blocks, on a thread of its own |
//! | [`channels`] | the directory of webhook passwords |
//! | [`ingress`] | HTTP: hyper stops here |
//! | [`delivery`] | from an event to Kafka's acknowledgement or the spool: lanes, ceilings, deadlines, outcomes |
//! | [`kafka`] | producers, transactions, a reader, topics, the embedded broker: rdkafka stops here |
//! | [`replay`] | ranges of a topic again, exactly once: replay and redrive |
//! | [`archive`] | records as JSON lines |
//! | [`check`] | what is wrong, before a report is at stake; [`topics`]: which there should be |
//! | [`spool`] | what Kafka can't take now, on disk: SQLite stops here |
//! | `reload` | what has changed of passwords, certificates and configuration, taken over |
//! | [`metrics`] | every metric's definition; [`telemetry`]: logs, and the end of the process if a thread panics |
//! | `open_files` | the limit of open files, and how many connections it allows |
//! | [`admin`] | probes, metrics and the status page for whoever runs the bridge |
//! | [`app`] | a bridge from its start to its end |
//! | [`cli`], [`commands`] | what can be typed, and what is then done |
//!
//! Imports run one way: commands → app → ingress and admin → delivery → kafka and spool; commands →
//! replay → kafka and archive; and commands → check → app. `contract` and `config` are at the bottom; both use `text`.
//!
//! # The journey of one report
//!
//! 1. A worker of [`ingress::Workers`] serves the connection that the [`ingress::Listener`] handed
//!    to it. hyper reads the head; its framing, path and method are looked at first.
//! 2. *Authenticate*: [`contract::Channels::authenticate`] compares the password's digest and makes
//!    an [`contract::Authenticated`]. Only then is the body read, which makes a [`contract::Received`].
//! 3. *Validate*: [`contract::Received::validate`] holds it against the interface document and makes a
//!    [`contract::Report`]; or names the fault, and the body goes on whole as a
//!    [`contract::Rejected`].
//! 4. *Normalise*: [`contract::Report::normalise`] makes the [`contract::Event`]: a CloudEvents
//!    event whose id is the same for each repeat.
//! 5. *Publish*: [`delivery::Delivery::publish`] finds it a place under the ceilings and a number in
//!    the lane of its partition, which is picked as the Java client would. The lane hands it to
//!    librdkafka, or has it written to the spool where Kafka does not keep up; the sender waits for
//!    the first of the two, at most until the deadline. The delivery report settles the report's fate
//!    even where its sender has gone.
//! 6. *Respond*: only a [`delivery::Promised`] makes a 2xx. Every other ending is one entry of
//!    one table, in `ingress/answer.rs`.

// They panic if the stream is broken.
#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod admin;
pub mod app;
pub mod archive;
mod blocking;
pub mod channels;
pub mod check;
pub mod cli;
pub mod commands;
pub mod config;
pub mod contract;
pub mod delivery;
pub mod ingress;
mod jitter;
pub mod kafka;
pub mod metrics;
mod open_files;
mod reload;
pub mod replay;
pub mod spool;
pub mod telemetry;
mod text;
pub mod topics;

/// Returns the memory of a peak of connections to the system: glibc's allocator keeps it for as long as the process
/// lives. librdkafka and SQLite allocate from it too. A build for a first try leaves it out: it takes long to compile.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
