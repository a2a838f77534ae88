//! What the user of the brokers' listener with a password may do. librdkafka's safe wrapper knows no
//! rights: Kafka's own tool changes them.

use std::process::Command;

use crate::support::broker::SASL_USER;
use crate::support::cluster::{self, Exclusive};

/// Lets the user do these things to the topics; nothing else is allowed.
pub fn allow(kafka: &Exclusive, operations: &[&str], topics: &[&str]) {
    change_rights(kafka, &["--add"], operations, topics);
}

pub fn revoke(kafka: &Exclusive, operations: &[&str], topics: &[&str]) {
    change_rights(kafka, &["--remove", "--force"], operations, topics);
}

fn change_rights(kafka: &Exclusive, change: &[&str], operations: &[&str], topics: &[&str]) {
    let user = format!("User:{SASL_USER}");
    let named = |flag: &'static str, values: &[&str]| {
        let pairs = values
            .iter()
            .map(|value| [flag.to_owned(), (*value).to_owned()]);
        pairs.flatten().collect::<Vec<_>>()
    };
    let output = Command::new("java")
        .args(["-XX:TieredStopAtLevel=1", "-cp"])
        .arg(cluster::jars().join("*"))
        .arg("org.apache.kafka.tools.AclCommand")
        .args(["--bootstrap-server", kafka.bootstrap()])
        .args(change)
        .args(["--allow-principal", &user])
        .args(named("--operation", operations))
        .args(named("--topic", topics))
        .output()
        .expect("Java runs");
    assert!(output.status.success(), "{output:?}");
}

/// Gives the user another password for SCRAM.
pub fn set_password(kafka: &Exclusive, password: &str) {
    let output = Command::new("java")
        .args(["-XX:TieredStopAtLevel=1", "-cp"])
        .arg(cluster::jars().join("*"))
        .arg("kafka.admin.ConfigCommand")
        .args(["--bootstrap-server", kafka.bootstrap()])
        .args([
            "--alter",
            "--entity-type",
            "users",
            "--entity-name",
            SASL_USER,
        ])
        .args([
            "--add-config",
            &format!("SCRAM-SHA-256=[password={password}]"),
        ])
        .output()
        .expect("Java runs");
    assert!(output.status.success(), "{output:?}");
}
