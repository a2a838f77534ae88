//! Brokers that die, freeze, and are restarted.

use super::checker::Excused;
use super::rig::{Rig, seconds};
use super::with_and_without_a_spool;
use crate::cluster::BROKERS;

with_and_without_a_spool!(
    a_leader_dies,
    one_broker_freezes,
    all_brokers_freeze,
    two_of_three_brokers_die,
    brokers_are_restarted_in_turn,
);

fn a_leader_dies(spool: bool) {
    let mut rig = Rig::new("kill -9 of a leader", spool);
    let victim = rig.kafka.leader_index(&rig.topic, 0);
    rig.kafka.kill(victim);
    seconds(9);
    rig.kafka.start(victim);
    rig.cause_ends();
    rig.check(Excused::NOTHING);
}

fn one_broker_freezes(spool: bool) {
    let mut rig = Rig::new("one broker frozen for 8 s", spool);
    let victim = rig.kafka.leader_index(&rig.topic, 0);
    rig.kafka.freeze(victim);
    seconds(8);
    rig.kafka.thaw(victim);
    rig.cause_ends();
    rig.check(Excused::NOTHING);
}

/// Longer than any answer may take.
fn all_brokers_freeze(spool: bool) {
    let mut rig = Rig::new("all brokers frozen for 12 s", spool);
    rig.kafka.freeze_all();
    seconds(12);
    rig.kafka.thaw_all();
    rig.cause_ends();
    let told = rig.check(Excused::NOTHING);
    let refused = told.iter().filter(|told| !told.is_promised()).count();
    assert_eq!(refused > 0, !spool, "{refused} senders noticed");
}

/// Neither the controllers nor the in-sync replicas are enough.
fn two_of_three_brokers_die(spool: bool) {
    let mut rig = Rig::new("kill -9 of two of three brokers", spool);
    rig.kafka.kill(0);
    rig.kafka.kill(1);
    seconds(6);
    rig.kafka.start_all([0, 1]);
    rig.cause_ends();
    rig.check(Excused::NOTHING);
}

fn brokers_are_restarted_in_turn(spool: bool) {
    let mut rig = Rig::new("rolling restart", spool);
    for broker in 0..BROKERS {
        rig.kafka.stop(broker);
        rig.kafka.start(broker);
        rig.kafka.wait_until_healthy();
    }
    rig.cause_ends();
    let told = rig.check(Excused::NOTHING);
    let refused = told.iter().filter(|told| !told.is_promised()).count();
    assert_eq!(refused, 0, "senders noticed");
}
