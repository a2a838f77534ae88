//! Brokers are killed, frozen and restarted.

use super::checker::Tolerated;
use super::load::SentReport;
use super::rig::{Rig, Setup, deadline, lasting, seconds};
use super::with_and_without_a_spool;
use crate::support::cluster::{self, BROKERS, KAFKA_SESSION};

with_and_without_a_spool!(
    a_leader_dies,
    one_broker_freezes,
    all_brokers_freeze,
    two_of_three_brokers_die,
    brokers_are_restarted_in_turn,
);

fn a_leader_dies(spool: bool) {
    let rig = Rig::new("kill -9 of a leader", spool);
    kill_a_leader(rig, lasting(6, 9));
}

/// In the short form the clusters of other scenarios notice a dead broker within the bridge's deadline.
#[test]
fn a_leader_dies_with_the_default_session_timeout() {
    let kafka = cluster::exclusive_with_session(KAFKA_SESSION);
    let fault = "kill -9 of a leader, session timeout of 9 s";
    let reports = kill_a_leader(Rig::with(fault, kafka, Setup::default()), 12);
    assert!(reports.iter().any(|report| report.code == Some(503)));
}

/// The session timeout passes, and then some time with a new leader.
fn kill_a_leader(mut rig: Rig, length: u64) -> Vec<SentReport> {
    let victim = rig.kafka.leader_index(&rig.topic, 0);
    rig.kafka.kill(victim);
    seconds(length);
    rig.kafka.start(victim);
    rig.cause_ends();
    rig.check(Tolerated::NOTHING)
}

fn one_broker_freezes(spool: bool) {
    let length = lasting(6, 8);
    let mut rig = Rig::new(&format!("one broker frozen for {length} s"), spool);
    let victim = rig.kafka.leader_index(&rig.topic, 0);
    rig.kafka.freeze(victim);
    seconds(length);
    rig.kafka.thaw(victim);
    rig.cause_ends();
    rig.check(Tolerated::NOTHING);
}

/// Longer than any answer may take.
fn all_brokers_freeze(spool: bool) {
    let length = lasting(6, 12);
    let mut rig = Rig::new(&format!("all brokers frozen for {length} s"), spool);
    rig.kafka.freeze_all();
    seconds(length);
    rig.kafka.thaw_all();
    rig.cause_ends();
    let reports = rig.check(Tolerated::NOTHING);
    let refused = reports
        .iter()
        .filter(|report| !report.is_promised())
        .count();
    assert_eq!(refused > 0, !spool, "{refused} senders noticed");
}

/// The controllers have no majority, and there are too few in-sync replicas.
fn two_of_three_brokers_die(spool: bool) {
    let mut rig = Rig::new("kill -9 of two of three brokers", spool);
    rig.kafka.kill(0);
    rig.kafka.kill(1);
    seconds(6);
    rig.kafka.start_all([0, 1]);
    rig.cause_ends();
    rig.check(Tolerated::NOTHING);
}

fn brokers_are_restarted_in_turn(spool: bool) {
    let setup = Setup {
        spool,
        deadline: if spool { None } else { deadline(20) },
        ..Setup::default()
    };
    let mut rig = Rig::with("rolling restart", cluster::exclusive(), setup);
    for broker in 0..BROKERS {
        rig.kafka.stop(broker);
        rig.kafka.start(broker);
        rig.kafka.wait_until_healthy();
    }
    rig.cause_ends();
    let reports = rig.check(Tolerated::NOTHING);
    let refused = reports
        .iter()
        .filter(|report| !report.is_promised())
        .count();
    assert_eq!(refused, 0, "senders noticed");
}
