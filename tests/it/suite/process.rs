//! A bridge is killed or stopped under load, and started again on its spool.

use rustix::process::Signal;

use super::checker::{Checker, Tolerated};
use super::evidence::export;
use super::random::Random;
use super::rig::{Rig, pause, seconds};
use super::with_and_without_a_spool;

with_and_without_a_spool!(
    the_bridge_dies_again_and_again,
    the_bridge_dies_again_and_again_while_kafka_is_away,
    the_bridge_is_stopped,
    the_bridge_is_stopped_while_kafka_is_away,
);

const ROUNDS: usize = 5;

/// When a bridge is killed, its senders get no answer, and reports in flight may come again, or be missing if they were
/// never promised.
const ENDED: Tolerated = Tolerated {
    repeats: true,
    silence: true,
    failures: true,
    ..Tolerated::NOTHING
};

/// A bridge that is stopping refuses late senders.
const STOPPED: Tolerated = Tolerated {
    refusals: true,
    ..ENDED
};

fn the_bridge_dies_again_and_again(spool: bool) {
    let mut rig = Rig::new("kill -9 of koobridge, five times", spool);
    let mut random = Random::new();
    for _ in 0..ROUNDS {
        rig.bridge.sigkill();
        rig.bridge.restart();
        pause(random.millis(300..2500));
    }
    rig.cause_ends();
    rig.check(ENDED);
}

fn the_bridge_dies_again_and_again_while_kafka_is_away(spool: bool) {
    let mut rig = Rig::new("kill -9 of koobridge, six times, Kafka frozen", spool);
    let mut random = Random::new();
    rig.kafka.freeze_all();
    for _ in 0..ROUNDS {
        pause(random.millis(1200..3000));
        rig.bridge.sigkill();
        rig.bridge.restart();
    }
    pause(random.millis(1200..3000));
    rig.bridge.sigkill();
    rig.kafka.thaw_all();
    nothing_promised_is_lost(&rig);
    rig.bridge.restart();
    rig.cause_ends();
    rig.check(ENDED);
}

fn the_bridge_is_stopped(spool: bool) {
    let mut rig = Rig::new("SIGTERM of koobridge", spool);
    rig.bridge.signal(Signal::TERM);
    assert_eq!(rig.bridge.wait_for_exit().code(), Some(0));
    if let Some(spool) = &rig.spool {
        assert_eq!(export(spool).len(), 0, "reports left in the spool");
    }
    nothing_promised_is_lost(&rig);
    rig.bridge.restart();
    rig.cause_ends();
    let tolerated = Tolerated {
        repeats: false,
        ..STOPPED
    };
    rig.check(tolerated);
}

fn the_bridge_is_stopped_while_kafka_is_away(spool: bool) {
    let mut rig = Rig::new("SIGTERM of koobridge, Kafka frozen", spool);
    rig.kafka.freeze_all();
    seconds(3);
    rig.bridge.signal(Signal::TERM);
    // Without a spool, unacknowledged reports were promised to no sender, so both exit codes are right.
    let code = rig.bridge.wait_for_exit().code();
    assert!(code == Some(3) || !spool && code == Some(0), "{code:?}");
    if let Some(spool) = &rig.spool {
        assert_ne!(export(spool).len(), 0, "reports wait in the spool");
    }
    rig.kafka.thaw_all();
    nothing_promised_is_lost(&rig);
    rig.bridge.restart();
    rig.cause_ends();
    rig.check(STOPPED);
}

/// While the bridge is down, each promised report is on the topic or in its spool.
fn nothing_promised_is_lost(rig: &Rig) {
    let (reports, evidence) = (rig.reports(), rig.gather());
    Checker::new(&reports, ENDED, &evidence).nothing_promised_is_lost();
}
