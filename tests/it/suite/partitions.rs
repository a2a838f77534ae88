//! One partition of six that takes nothing: the other five are not held up.

use std::time::{Duration, Instant};

use koobridge::kafka::partition_for;

use super::admin::create_topic_on;
use super::checker::Excused;
use super::load::Told;
use super::rig::{Rig, Setup, seconds};
use super::row::percentile;
use super::with_and_without_a_spool;
use crate::cluster;

with_and_without_a_spool!(
    one_partition_has_no_leader,
    one_partition_is_below_its_minimum_in_sync,
);

/// The broker that only the first partition needs.
const NEEDED_BY_ONE: usize = 2;
const PARTITIONS: u32 = 6;

fn one_partition_has_no_leader(spool: bool) {
    let replicas = [&[2][..], &[0], &[1], &[0], &[1], &[0]];
    one_is_held_up("one partition of six without a leader", spool, &replicas);
}

fn one_partition_is_below_its_minimum_in_sync(spool: bool) {
    let replicas = [&[0, 2][..], &[0, 1], &[1, 0], &[0, 1], &[1, 0], &[0, 1]];
    one_is_held_up("one partition of six below min ISR", spool, &replicas);
}

/// A partition's minimum of in-sync replicas is all of them.
fn one_is_held_up(fault: &'static str, spool: bool, replicas: &[&[i32]]) {
    let kafka = cluster::exclusive();
    let topic = create_topic_on(&kafka, replicas);
    let setup = Setup {
        spool,
        topic: Some(topic),
        ..Setup::default()
    };
    let mut rig = Rig::with(fault, kafka, setup);
    let started = Instant::now();
    rig.kafka.kill(NEEDED_BY_ONE);
    seconds(10);
    let ended = Instant::now();
    rig.kafka.start(NEEDED_BY_ONE);
    rig.cause_ends();
    let told = rig.check(Excused::NOTHING);
    let is_held_up = |told: &&Told| partition_for(told.message_id.as_bytes(), PARTITIONS) == 0;
    let others: Vec<_> = told.iter().filter(|told| !is_held_up(told)).collect();
    let before = p99(others.iter().filter(|told| told.answered < started));
    let during = p99(others
        .iter()
        .filter(|told| (started..ended).contains(&told.sent)));
    println!("{fault}: p99 of the others {before:?} before, {during:?} during");
    let refused: Vec<_> = others
        .iter()
        .filter(|told| told.code != Some(200))
        .collect();
    assert!(
        refused.is_empty(),
        "held up for another partition: {refused:?}"
    );
    let mut held_up = told.iter().filter(is_held_up);
    assert!(spool || held_up.any(|told| told.code == Some(503)));
}

fn p99<'a>(told: impl Iterator<Item = &'a &'a Told>) -> Duration {
    let mut took: Vec<_> = told.map(|told| told.took()).collect();
    took.sort_unstable();
    percentile(&took, 99)
}
