//! The program, started as a user starts it, against a real three-broker Apache Kafka.
//!
//! One binary with a module a feature, so that librdkafka links once.

mod access;
mod answers;
mod balancers;
mod check;
mod corpus;
mod damage;
mod delivery;
mod deploy;
mod dev;
mod environment;
mod events;
mod failed_handshakes;
mod framing;
mod guarantees;
mod hostile;
mod kafka_tls;
mod limits;
mod memory;
mod observing;
mod operation;
mod overload;
mod pooling;
mod rejected;
mod reload;
mod replay;
mod rights;
mod rolling;
mod schemas;
mod senders;
mod spool;
mod status_page;
mod stop;
mod subscribers;
mod suite;
mod support;
mod tls;
mod tls_files;
mod topics;
mod unread_bodies;
