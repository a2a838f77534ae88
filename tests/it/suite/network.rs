//! A network between bridge and brokers that is cut, stalled and slow.

use std::time::Duration;

use super::checker::Excused;
use super::load::Told;
use super::proxy::Proxy;
use super::rig::{Rig, Setup, seconds};
use super::with_and_without_a_spool;
use crate::cluster;

with_and_without_a_spool!(
    connections_are_cut_every_second,
    the_network_stalls,
    the_network_is_slow,
    the_network_is_very_slow,
);

fn connections_are_cut_every_second(spool: bool) {
    let (mut rig, proxy) = behind_a_proxy("connections cut each second for 6 s", spool, &[]);
    for _ in 0..6 {
        proxy.cut();
        seconds(1);
    }
    rig.cause_ends();
    rig.check(Excused::NOTHING);
}

fn the_network_stalls(spool: bool) {
    let (mut rig, proxy) = behind_a_proxy("network stalled for 8 s", spool, &[]);
    proxy.stall(true);
    seconds(8);
    proxy.stall(false);
    rig.cause_ends();
    rig.check(Excused::NOTHING);
}

fn the_network_is_slow(spool: bool) {
    let told = slow(
        "round trips of 200 ms for 6 s",
        spool,
        Duration::from_millis(200),
    );
    assert!(told, "senders noticed");
}

fn the_network_is_very_slow(spool: bool) {
    slow("round trips of 2 s for 6 s", spool, Duration::from_secs(2));
}

/// Whether every report was accepted.
fn slow(fault: &'static str, spool: bool, round_trip: Duration) -> bool {
    let (mut rig, proxy) = behind_a_proxy(fault, spool, &[]);
    proxy.set_round_trip(round_trip);
    seconds(6);
    proxy.set_round_trip(Duration::ZERO);
    rig.cause_ends();
    let told = rig.check(Excused::NOTHING);
    told.iter().all(Told::is_promised)
}

/// The usual bridge, which reaches its brokers only through the proxy.
pub fn behind_a_proxy(fault: &'static str, spool: bool, settings: &[(&str, &str)]) -> (Rig, Proxy) {
    let kafka = cluster::exclusive();
    let ports = kafka.proxy_ports();
    let addresses = ports.iter().map(|[_, proxy]| format!("127.0.0.1:{proxy}"));
    let bootstrap = addresses.collect::<Vec<_>>().join(",");
    let proxy = Proxy::start(ports);
    let setup = Setup {
        spool,
        bootstrap: Some(bootstrap),
        settings,
        ..Setup::default()
    };
    (Rig::with(fault, kafka, setup), proxy)
}
