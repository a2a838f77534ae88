//! A queue that is too short, and a clock that is wrong.

use super::checker::Tolerated;
use super::rig::{Rig, Setup, seconds};
use super::with_and_without_a_spool;
use crate::support::clock::Clock;
use crate::support::cluster;

with_and_without_a_spool!(the_queue_is_full, the_clock_jumps_ahead_and_back);

fn the_queue_is_full(spool: bool) {
    let setup = Setup {
        spool,
        settings: &[("kafka.properties.queue.buffering.max.messages", "50")],
        ..Setup::default()
    };
    let fault = "queue of 50, all brokers frozen for 6 s";
    let mut rig = Rig::with(fault, cluster::exclusive(), setup);
    rig.kafka.freeze_all();
    seconds(6);
    rig.kafka.thaw_all();
    rig.cause_ends();
    let reports = rig.check(Tolerated {
        failures: true,
        ..Tolerated::NOTHING
    });
    let refused = reports
        .iter()
        .filter(|report| !report.is_promised())
        .count();
    assert_eq!(refused > 0, !spool, "{refused} senders noticed");
}

/// Kafka rejects records that are more than an hour ahead.
fn the_clock_jumps_ahead_and_back(spool: bool) {
    let clock = Clock::new();
    let environment = clock.environment();
    let setup = Setup {
        spool,
        environment: &environment,
        ..Setup::default()
    };
    let mut rig = Rig::with("clock 2 h ahead for 6 s", cluster::exclusive(), setup);
    clock.set(2 * 3600);
    seconds(6);
    clock.set(0);
    rig.cause_ends();
    rig.check(Tolerated {
        repeats: true,
        reordering: true,
        failures: true,
        detours: true,
        ..Tolerated::NOTHING
    });
}
