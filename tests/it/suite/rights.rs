//! Rights are revoked and granted again while the bridge uses them.

use super::checker::Tolerated;
use super::rig::{Rig, Setup, seconds};
use super::with_and_without_a_spool;
use crate::support::acl::{allow, revoke};
use crate::support::cluster;
use crate::support::logins::{SASL_PASSWORD, SASL_USER, login};

with_and_without_a_spool!(
    the_right_to_write_is_revoked,
    every_right_to_the_topic_is_revoked,
    every_right_is_revoked,
);

fn the_right_to_write_is_revoked(spool: bool) {
    revoked("ACL: no Write for 5 s", spool, &["Write"], 1);
}

fn every_right_to_the_topic_is_revoked(spool: bool) {
    revoked("ACL: no right to the topic for 5 s", spool, &RIGHTS, 1);
}

/// A user without WRITE on any topic gets no producer id, which is a fatal error of librdkafka.
fn every_right_is_revoked(spool: bool) {
    revoked("ACL: no right at all for 5 s", spool, &RIGHTS, 2);
}

const RIGHTS: [&str; 3] = ["Write", "Describe", "DescribeConfigs"];

/// Revokes rights to the first few of the bridge's topics for a while.
fn revoked(fault: &str, spool: bool, rights: &[&str], of: usize) {
    let kafka = cluster::exclusive();
    let names = ["acl", "acl-rejected"].map(|name| kafka.topic(name, 6));
    let topics = names.each_ref().map(String::as_str);
    allow(&kafka, &RIGHTS, &topics);
    let setup = Setup {
        spool,
        bootstrap: Some(kafka.sasl_bootstrap()),
        topic: Some(topics[0].to_owned()),
        rejected: Some(topics[1].to_owned()),
        settings: &login("PLAIN", SASL_USER, SASL_PASSWORD),
        ..Setup::default()
    };
    let mut rig = Rig::with(fault, kafka, setup);
    revoke(&rig.kafka, rights, &topics[..of]);
    seconds(5);
    allow(&rig.kafka, rights, &topics[..of]);
    rig.cause_ends();
    // Refused records are sent again, after the accepted ones.
    rig.check(Tolerated {
        repeats: true,
        reordering: true,
        failures: true,
        ..Tolerated::NOTHING
    });
}
