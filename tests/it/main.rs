//! The program, started as a user starts it, against a real three-broker Apache Kafka.
//!
//! One binary with a module a feature, so that librdkafka links once.

mod access;
mod acl;
mod answers;
mod bridge;
mod broker;
mod browser;
mod check;
mod clock;
mod cluster;
mod corpus;
mod delivery;
mod deploy;
mod dev;
mod events;
mod failed_handshakes;
mod framing;
mod guarantees;
mod hostile;
mod http;
mod jars;
mod limits;
mod lines;
mod memory;
mod observing;
mod operation;
mod overload;
mod ports;
mod proc;
mod records;
mod rejected;
mod reload;
mod replay;
mod rolling;
mod schemas;
mod senders;
mod spool;
mod status_page;
mod subscribers;
mod suite;
mod tls;
mod tls_files;
mod topics;
mod unread_bodies;
