//! Fixtures for the tests and the benchmarks: the program, Kafka, peers, and their files.

pub mod acl;
pub mod authority;
pub mod bridge;
pub mod broker;
pub mod browser;
pub mod clock;
pub mod cluster;
pub mod collector;
pub mod deployed;
pub mod files;
pub mod helm;
pub mod http;
pub mod jars;
pub mod lines;
pub mod logins;
pub mod mounts;
pub mod ports;
pub mod proc;
pub mod proxy;
pub mod python;
pub mod records;
pub mod registry;
