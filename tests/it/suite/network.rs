//! The network between bridge and brokers is cut, stalled or slow.

use std::time::Duration;

use super::checker::Tolerated;
use super::load::SentReport;
use super::rig::{Rig, Setup, deadline, lasting, seconds};
use super::with_and_without_a_spool;
use crate::support::cluster;
use crate::support::proxy::Proxy;

with_and_without_a_spool!(
    connections_are_cut_every_second,
    the_network_stalls,
    the_network_is_slow,
    the_network_is_very_slow,
);

fn connections_are_cut_every_second(spool: bool) {
    let length = lasting(4, 6);
    let fault = format!("connections cut each second for {length} s");
    let (mut rig, proxy) = behind_a_proxy(&fault, spool, &[], None);
    for _ in 0..length {
        proxy.cut();
        seconds(1);
    }
    rig.cause_ends();
    rig.check(Tolerated::NOTHING);
}

fn the_network_stalls(spool: bool) {
    let length = lasting(6, 8);
    let fault = format!("network stalled for {length} s");
    let (mut rig, proxy) = behind_a_proxy(&fault, spool, &[], None);
    proxy.stall(true);
    seconds(length);
    proxy.stall(false);
    rig.cause_ends();
    rig.check(Tolerated::NOTHING);
}

fn the_network_is_slow(spool: bool) {
    let is_noticed = slow(
        "200 ms",
        spool,
        Duration::from_millis(200),
        if spool { None } else { deadline(8) },
    );
    assert!(is_noticed, "senders noticed");
}

fn the_network_is_very_slow(spool: bool) {
    slow("2 s", spool, Duration::from_secs(2), None);
}

/// Returns whether every report was accepted.
fn slow(words: &str, spool: bool, round_trip: Duration, deadline: Option<Duration>) -> bool {
    // Longer than the deadline.
    let length = lasting(10, 6);
    let fault = format!("round trips of {words} for {length} s");
    let (mut rig, proxy) = behind_a_proxy(&fault, spool, &[], deadline);
    proxy.set_round_trip(round_trip);
    seconds(length);
    proxy.set_round_trip(Duration::ZERO);
    rig.cause_ends();
    let reports = rig.check(Tolerated::NOTHING);
    reports.iter().all(SentReport::is_promised)
}

/// Starts a bridge that reaches its brokers only through the proxy.
pub fn behind_a_proxy(
    fault: &str,
    spool: bool,
    settings: &[(&str, &str)],
    deadline: Option<Duration>,
) -> (Rig, Proxy) {
    let kafka = cluster::exclusive();
    let ports = kafka.proxy_ports();
    let addresses = ports.iter().map(|[_, proxy]| format!("127.0.0.1:{proxy}"));
    let bootstrap = addresses.collect::<Vec<_>>().join(",");
    let proxy = Proxy::start(ports);
    let setup = Setup {
        spool,
        bootstrap: Some(bootstrap),
        settings,
        deadline,
        ..Setup::default()
    };
    (Rig::with(fault, kafka, setup), proxy)
}
