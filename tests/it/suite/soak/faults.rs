//! The faults of a soak: each one lasts for a while and then ends.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::super::load::Plan;
use super::super::network::behind_a_proxy;
use super::super::random::Random;
use super::super::rig::{Rig, pause};
use crate::reload::replace;
use crate::support::bridge::{CHANNEL, PASSWORD, eventually};
use crate::support::cluster::BROKERS;
use crate::support::http::{exchange, post, request};
use crate::support::proxy::Proxy;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    BrokerDies,
    BrokerFreezes,
    EveryBrokerFreezes,
    TwoBrokersDie,
    BrokerIsRestarted,
    BrokersAreRestarted,
    BridgeDies,
    BridgeDiesWithoutKafka,
    BridgeIsStopped,
    ConnectionsAreCut,
    NetworkStalls,
    NetworkIsSlow,
    PasswordsChange,
    LoadBursts,
    OutageInABurst,
}

pub const OF_ALL: [Fault; 8] = [
    Fault::BrokerDies,
    Fault::BrokerFreezes,
    Fault::EveryBrokerFreezes,
    Fault::TwoBrokersDie,
    Fault::BrokerIsRestarted,
    Fault::BridgeDies,
    Fault::BridgeDiesWithoutKafka,
    Fault::BridgeIsStopped,
];

/// Faults that do not touch the bridge.
pub const OF_SURROUNDINGS: [Fault; 10] = [
    Fault::ConnectionsAreCut,
    Fault::TwoBrokersDie,
    Fault::LoadBursts,
    Fault::EveryBrokerFreezes,
    Fault::PasswordsChange,
    Fault::BrokerDies,
    Fault::NetworkStalls,
    Fault::BrokersAreRestarted,
    Fault::NetworkIsSlow,
    Fault::BrokerFreezes,
];

/// The parameters of a slow network and of a burst.
const ROUND_TRIP: Duration = Duration::from_millis(200);
const BURST: u32 = 500;
const SECOND: Duration = Duration::from_secs(1);
/// How long an outage has twice the load.
const BURST_OF_AN_OUTAGE: Duration = Duration::from_secs(5);

impl Fault {
    /// The name in the plot.
    pub fn name(self) -> &'static str {
        match self {
            Self::BrokerDies => "kill -9 of a broker",
            Self::BrokerFreezes => "a broker frozen",
            Self::EveryBrokerFreezes => "all brokers frozen",
            Self::TwoBrokersDie => "kill -9 of two brokers",
            Self::BrokerIsRestarted => "a broker restarted",
            Self::BrokersAreRestarted => "rolling restart",
            Self::BridgeDies => "kill -9 of koobridge",
            Self::BridgeDiesWithoutKafka => "kill -9 of koobridge, Kafka frozen",
            Self::BridgeIsStopped => "SIGTERM of koobridge",
            Self::ConnectionsAreCut => "connections cut",
            Self::NetworkStalls => "network stalled",
            Self::NetworkIsSlow => "round trips of 200 ms",
            Self::PasswordsChange => "passwords changed",
            Self::LoadBursts => "twice the load",
            Self::OutageInABurst => "outage, begun in a burst",
        }
    }
}

/// A fault that has ended.
pub struct EndedFault {
    pub fault: Fault,
    pub from: Instant,
    pub to: Instant,
}

impl EndedFault {
    pub fn is_of_a_stop(&self) -> bool {
        self.fault == Fault::BridgeIsStopped
    }
}

/// The order of the fields is the order in which they are dropped: a bridge that has ended does not need the proxy.
pub struct Scene {
    pub rig: Rig,
    proxy: Proxy,
    pub random: Random,
    pub ended_faults: Vec<EndedFault>,
}

impl Scene {
    pub fn new() -> Self {
        let random = Random::new();
        let (rig, proxy) = behind_a_proxy("soak", true, &[], None);
        Self {
            rig,
            proxy,
            random,
            ended_faults: Vec::new(),
        }
    }

    /// Causes one fault for about `length`, and ends it.
    pub fn cause(&mut self, fault: Fault, length: Duration) {
        println!("{fault:?} for {length:?}");
        let from = Instant::now();
        self.apply(fault, length);
        let to = Instant::now();
        self.ended_faults.push(EndedFault { fault, from, to });
        self.rig.assert_same_process();
    }

    fn apply(&mut self, fault: Fault, length: Duration) {
        let victim = self.random.pick(&[0, 1, 2]);
        let other = (victim + 1) % BROKERS;
        match fault {
            Fault::BrokerDies => self.lasts(
                length,
                |scene| scene.rig.kafka.kill(victim),
                |scene| scene.rig.kafka.start(victim),
            ),
            Fault::BrokerFreezes => self.lasts(
                length,
                |scene| scene.rig.kafka.freeze(victim),
                |scene| scene.rig.kafka.thaw(victim),
            ),
            Fault::EveryBrokerFreezes => self.lasts(
                length,
                |scene| scene.rig.kafka.freeze_all(),
                |scene| scene.rig.kafka.thaw_all(),
            ),
            Fault::TwoBrokersDie => self.lasts(
                length,
                |scene| [victim, other].map(|broker| scene.rig.kafka.kill(broker)),
                |scene| scene.rig.kafka.start_all([victim, other]),
            ),
            Fault::BrokerIsRestarted => self.restart_broker(victim),
            Fault::BrokersAreRestarted => self.restart_brokers(),
            Fault::BridgeDies => self.end_and_restart(Signal::KILL),
            Fault::BridgeDiesWithoutKafka => self.lasts(
                length / 2,
                |scene| scene.rig.kafka.freeze_all(),
                |scene| {
                    scene.end_and_restart(Signal::KILL);
                    pause(length / 2);
                    scene.rig.kafka.thaw_all();
                },
            ),
            Fault::BridgeIsStopped => self.end_and_restart(Signal::TERM),
            Fault::ConnectionsAreCut => self.each_second(length, |scene, _| scene.proxy.cut()),
            Fault::NetworkStalls => self.lasts(
                length,
                |scene| scene.proxy.stall(true),
                |scene| scene.proxy.stall(false),
            ),
            Fault::NetworkIsSlow => self.lasts(
                length,
                |scene| scene.proxy.set_round_trip(ROUND_TRIP),
                |scene| scene.proxy.set_round_trip(Duration::ZERO),
            ),
            Fault::PasswordsChange => self.each_second(length, Self::change_password),
            Fault::OutageInABurst => self.lasts(length, Self::begin_outage, |scene| {
                scene.rig.kafka.thaw_all();
            }),
            Fault::LoadBursts => self.lasts(
                length,
                |scene| scene.rig.set_rate(BURST),
                |scene| scene.rig.set_rate(Plan::default().rate),
            ),
        }
    }

    fn lasts<T>(
        &mut self,
        length: Duration,
        begin: impl FnOnce(&mut Self) -> T,
        end: impl FnOnce(&mut Self),
    ) {
        begin(self);
        pause(length);
        end(self);
    }

    fn each_second(&mut self, length: Duration, cause: impl Fn(&mut Self, u64)) {
        for second in 0..length.as_secs() {
            cause(self, second);
            pause(SECOND);
        }
    }

    /// Until the spool takes over, every sender waits on its own connection: more connections than at any other time.
    fn begin_outage(&mut self) {
        self.rig.set_rate(BURST);
        pause(SECOND);
        self.rig.kafka.freeze_all();
        pause(BURST_OF_AN_OUTAGE);
        self.rig.set_rate(Plan::default().rate);
    }

    fn restart_broker(&mut self, broker: usize) {
        self.rig.kafka.stop(broker);
        self.rig.kafka.start(broker);
    }

    fn restart_brokers(&mut self) {
        for broker in 0..BROKERS {
            self.restart_broker(broker);
            self.rig.kafka.wait_until_healthy();
        }
    }

    fn end_and_restart(&mut self, signal: Signal) {
        let bridge = &mut self.rig.bridge;
        bridge.signal(signal);
        let ended = bridge.wait_for_exit();
        let as_asked = ended.signal() == Some(9) || matches!(ended.code(), Some(0 | 3));
        assert!(as_asked, "{signal:?}: {ended}");
        bridge.restart();
    }

    /// The senders' password stays. The second one is new, and the bridge soon accepts it.
    fn change_password(&mut self, round: u64) {
        let bridge = &self.rig.bridge;
        let password = format!("password {round}");
        let file = bridge.directory().join("channels").join(CHANNEL);
        replace(&file, &format!("{PASSWORD}\n{password}\n"));
        bridge.signal(Signal::HUP);
        // A bridge reads a body, and so finds that it is no report, only after the password.
        let changes = [("Authorization", Some(&*password))];
        let no_report = request(&post(), &changes, b"{}");
        eventually(|| match exchange(bridge.ingress, &no_report).status {
            400 => Ok(()),
            status => Err(format!("a new password is answered {status}")),
        });
    }
}
