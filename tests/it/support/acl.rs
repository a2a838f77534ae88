//! Access rights (ACLs) of the user on the brokers' SASL listener. rdkafka cannot change ACLs; Kafka's own tool does.

use std::process::Command;

use crate::support::cluster::{self, Exclusive};
use crate::support::logins::SASL_USER;

/// An operation, the kind of the resource, and the resource's name.
pub type Right<'a> = (&'a str, Resource, &'a str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Topic,
    /// Every consumer group with this prefix.
    Groups,
    /// Every transactional id with this prefix.
    TransactionalIds,
}

/// Allows the user these operations on the topics. Without a right, it may do nothing.
pub fn allow(kafka: &Exclusive, operations: &[&str], topics: &[&str]) {
    change_rights(kafka, &["--add"], operations, &named("--topic", topics));
}

pub fn revoke(kafka: &Exclusive, operations: &[&str], topics: &[&str]) {
    change_rights(
        kafka,
        &["--remove", "--force"],
        operations,
        &named("--topic", topics),
    );
}

/// Grants the user a right.
pub fn grant(kafka: &Exclusive, right: Right<'_>) {
    change_right(kafka, &["--add"], right);
}

/// Takes a right from the user.
pub fn withdraw(kafka: &Exclusive, right: Right<'_>) {
    change_right(kafka, &["--remove", "--force"], right);
}

fn change_right(kafka: &Exclusive, change: &[&str], (operation, resource, name): Right<'_>) {
    let option = match resource {
        Resource::Topic => "--topic",
        Resource::Groups => "--group",
        Resource::TransactionalIds => "--transactional-id",
    };
    let mut named = named(option, &[name]);
    if resource != Resource::Topic {
        named.extend(["--resource-pattern-type", "prefixed"].map(str::to_owned));
    }
    change_rights(kafka, change, &[operation], &named);
}

fn named(flag: &str, values: &[&str]) -> Vec<String> {
    let pairs = values.iter().map(|value| [flag, value].map(str::to_owned));
    pairs.flatten().collect()
}

fn change_rights(kafka: &Exclusive, change: &[&str], operations: &[&str], resources: &[String]) {
    let user = format!("User:{SASL_USER}");
    let output = Command::new("java")
        .args(["-XX:TieredStopAtLevel=1", "-cp"])
        .arg(cluster::jars().join("*"))
        .arg("org.apache.kafka.tools.AclCommand")
        .args(["--bootstrap-server", kafka.bootstrap()])
        .args(change)
        .args(["--allow-principal", &user])
        .args(named("--operation", operations))
        .args(resources)
        .output()
        .expect("Java runs");
    assert!(output.status.success(), "{output:?}");
}
