//! A low limit on open files: the bridge allows fewer connections, and everything else works.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{LONG_DEADLINE, assert_kept, raise_open_files};
use crate::support::bridge::{Bridge, CHANNEL, eventually};
use crate::support::cluster;
use crate::support::http::{body, exchange, post, report, request};
use crate::support::proc::open_files;

/// Idle connections to each listener beyond its limit.
const EXCESS: u64 = 300;
/// The time limit when a bridge stops on a busy machine. Idle connections are closed at once.
const STOP_LIMIT: Duration = Duration::from_secs(10);
const NEW_PASSWORD: &str = "a new password";

fn open(address: SocketAddr, count: u64) -> Vec<TcpStream> {
    let open = |_| TcpStream::connect(address).expect("the bridge listens");
    (0..count).map(open).collect()
}

/// Opens far more idle connections than the bridge allows, and waits until it has as many as it allows.
fn crowd(bridge: &Bridge, allowed: u64, connections: u64) -> Vec<TcpStream> {
    let line = bridge.wait_for_log("the limit on open files allows fewer connections");
    assert!(
        line.contains(&format!("\"limit\":{connections},")),
        "{line}"
    );
    assert_eq!(bridge.metric("koobridge_connections_limit"), connections);
    let mut idle = open(bridge.ingress, connections + EXCESS);
    idle.extend(open(bridge.admin, EXCESS));
    bridge.wait_for_metric("koobridge_connections", connections);
    let open = open_files(bridge.pid());
    println!("{open} of {allowed} files are open");
    assert!(open < allowed, "{open} files are open");
    idle
}

fn assert_stops(bridge: &mut Bridge, code: i32) {
    let started = Instant::now();
    bridge.signal(Signal::TERM);
    assert_eq!(bridge.wait_for_exit().code(), Some(code));
    let took = started.elapsed();
    assert!(took < STOP_LIMIT, "{took:?}");
    assert!(
        !bridge.logged().contains("Too many open files"),
        "{}",
        bridge.logged()
    );
}

fn assert_serves_beside_crowd(allowed: u64, connections: u64) {
    raise_open_files();
    let kafka = cluster::shared();
    let [topic, rejected] = ["events", "rejected"].map(|name| kafka.topic(name, 6));
    let limit = format!("--nofile={allowed}:{allowed}");
    let wrapper = ["prlimit", &limit];
    let bootstrap = kafka.bootstrap();
    let mut bridge = Bridge::start_by(&wrapper, bootstrap, &topic, &rejected, &[LONG_DEADLINE]);
    bridge.wait_until_ready();
    let _idle = crowd(&bridge, allowed, connections);
    let mut sent = Vec::new();
    for number in 0..20 {
        let id = format!("m{number}");
        assert_eq!(
            exchange(bridge.ingress, &report(&body(&id, "read"))).status,
            200
        );
        sent.push((id, "read".to_owned()));
    }
    for probe in ["/readyz", "/livez"] {
        assert_eq!(bridge.probe(probe).status, 200, "{probe}");
    }
    let channel = bridge.directory().join("channels").join(CHANNEL);
    fs::write(channel, NEW_PASSWORD).expect("a channel");
    let changed = [("Authorization", Some(NEW_PASSWORD))];
    let changed = request(&post(), &changed, &body("changed", "read"));
    eventually(|| match exchange(bridge.ingress, &changed).status {
        200 => Ok(()),
        other => Err(format!("{other} for the new password")),
    });
    sent.push(("changed".to_owned(), "read".to_owned()));
    assert_stops(&mut bridge, 0);
    assert_kept(&kafka, [&topic, &rejected], sent);
}

#[test]
fn a_bridge_with_300_files_serves_beside_a_crowd() {
    assert_serves_beside_crowd(300, 75);
}

#[test]
fn a_bridge_with_1024_files_serves_beside_a_crowd() {
    assert_serves_beside_crowd(1024, 512);
}

#[test]
fn the_spool_gets_its_files_beside_a_crowd() {
    raise_open_files();
    let home = tempfile::tempdir().expect("a temporary directory");
    let spool = home.path().join("spool");
    let settings = [
        LONG_DEADLINE,
        ("spool.directory", spool.to_str().expect("a plain path")),
        ("spool.after", "50ms"),
        ("kafka.flush_timeout", "100ms"),
    ];
    let wrapper = ["prlimit", "--nofile=300:300"];
    let mut bridge = Bridge::start_by(&wrapper, "127.0.0.1:1", "events", "rejected", &settings);
    let _idle = crowd(&bridge, 300, 75);
    for number in 0..20 {
        let report = report(&body(&format!("m{number}"), "read"));
        assert_eq!(exchange(bridge.ingress, &report).status, 200);
    }
    assert_eq!(bridge.metric("koobridge_spool_reports"), 20);
    // The spool still has reports.
    assert_stops(&mut bridge, 3);
}
