//! Faults of brokers and of the bridge, one after the other as chance has it, for
//! `KOOBRIDGE_SOAK_MINUTES` (half a minute unless set): `script/soak`.

use std::env;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::checker::Excused;
use super::load::Told;
use super::random::Random;
use super::rig::{Rig, pause, seconds};
use crate::cluster::BROKERS;

#[derive(Clone, Copy, Debug)]
enum Fault {
    BrokerDies,
    BrokerFreezes,
    EveryBrokerFreezes,
    TwoBrokersDie,
    BrokerIsRestarted,
    BridgeDies,
    BridgeDiesWithoutKafka,
    BridgeIsStopped,
}

const FAULTS: [Fault; 8] = [
    Fault::BrokerDies,
    Fault::BrokerFreezes,
    Fault::EveryBrokerFreezes,
    Fault::TwoBrokersDie,
    Fault::BrokerIsRestarted,
    Fault::BridgeDies,
    Fault::BridgeDiesWithoutKafka,
    Fault::BridgeIsStopped,
];

/// How long it takes where nobody says.
const SHORT: Duration = Duration::from_secs(30);
/// How long a stopping bridge may still answer.
const STOP: Duration = Duration::from_secs(5);
/// From here on there is time for a fault that lasts.
const LONG: Duration = Duration::from_mins(10);

#[test]
fn random_faults_lose_nothing() {
    let length = env::var("KOOBRIDGE_SOAK_MINUTES").map_or(SHORT, |minutes| {
        Duration::from_mins(minutes.parse().expect("a whole number of minutes"))
    });
    let mut random = Random::new();
    let mut rig = Rig::new("soak", true);
    let end = Instant::now() + length;
    if length >= LONG {
        println!("every broker is frozen for 150 s");
        rig.kafka.freeze_all();
        seconds(150);
        rig.kafka.thaw_all();
    }
    let (mut count, mut stops) = (0, Vec::new());
    while Instant::now() < end {
        let fault = random.pick(&FAULTS);
        println!("{fault:?}");
        if matches!(fault, Fault::BridgeIsStopped) {
            stops.push(Instant::now());
        }
        apply(fault, &mut rig, &mut random);
        count += 1;
        pause(random.millis(500..4000));
        rig.assert_same_process();
    }
    rig.cause_ends();
    println!("{count} faults in {} s:", length.as_secs());
    let told = rig.check(Excused {
        repeats: true,
        silence: true,
        refusals: true,
        failures: true,
        ..Excused::NOTHING
    });
    // A bridge that is stopping sends away whoever comes too late, and nobody else.
    let is_stopping = |told: &Told| {
        stops
            .iter()
            .any(|at| (*at..*at + STOP).contains(&told.answered))
    };
    let refused = told
        .iter()
        .find(|told| told.code == Some(503) && !is_stopping(told));
    assert!(
        refused.is_none(),
        "refused although there is a spool: {refused:?}"
    );
}

/// Does one harm for a while, and ends it.
fn apply(fault: Fault, rig: &mut Rig, random: &mut Random) {
    let length = random.millis(500..9000);
    let victim = random.pick(&[0, 1, 2]);
    let other = (victim + 1) % BROKERS;
    match fault {
        Fault::BrokerDies => {
            rig.kafka.kill(victim);
            pause(length);
            rig.kafka.start(victim);
        }
        Fault::BrokerFreezes => {
            rig.kafka.freeze(victim);
            pause(length);
            rig.kafka.thaw(victim);
        }
        Fault::EveryBrokerFreezes => {
            rig.kafka.freeze_all();
            pause(length);
            rig.kafka.thaw_all();
        }
        Fault::TwoBrokersDie => {
            rig.kafka.kill(victim);
            rig.kafka.kill(other);
            pause(length);
            rig.kafka.start_all([victim, other]);
        }
        Fault::BrokerIsRestarted => {
            rig.kafka.stop(victim);
            rig.kafka.start(victim);
        }
        Fault::BridgeDies => end_and_restart(rig, Signal::KILL),
        Fault::BridgeDiesWithoutKafka => {
            rig.kafka.freeze_all();
            pause(length / 2);
            end_and_restart(rig, Signal::KILL);
            pause(length / 2);
            rig.kafka.thaw_all();
        }
        Fault::BridgeIsStopped => end_and_restart(rig, Signal::TERM),
    }
}

fn end_and_restart(rig: &mut Rig, signal: Signal) {
    rig.bridge.signal(signal);
    let ended = rig.bridge.wait_for_exit();
    let as_asked = ended.signal() == Some(9) || matches!(ended.code(), Some(0 | 3));
    assert!(as_asked, "{signal:?}: {ended}");
    rig.bridge.restart();
}
