//! Ports for servers that keep their port when they are down. Each port is given once.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::process;

use parking_lot::Mutex;

/// Below the range of Linux' ephemeral ports: a client could otherwise take the port of a server that is down.
const PORTS: Range<u16> = 12_000..32_000;
/// The distance between the first ports of simultaneous test runs, usually.
const RUN: u16 = 500;

/// Returns free ports that no other test of this process was given.
pub fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: Mutex<Option<u16>> = Mutex::new(None);
    let mut next = NEXT.lock();
    let mut port = next.unwrap_or_else(first);
    let ports = [(); N].map(|()| {
        let mut tries = PORTS;
        let found = tries.find_map(|_| {
            let candidate = port;
            port = if port + 1 < PORTS.end {
                port + 1
            } else {
                PORTS.start
            };
            let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, candidate)).is_ok();
            is_free.then_some(candidate)
        });
        found.expect("a free port")
    });
    *next = Some(port);
    ports
}

/// Returns free ports as addresses on the loopback interface.
pub fn free_addresses<const N: usize>() -> [String; N] {
    free_ports().map(|port| format!("127.0.0.1:{port}"))
}

/// Returns the first port of this run.
fn first() -> u16 {
    let runs = (PORTS.end - PORTS.start) / RUN;
    let run = process::id() % u32::from(runs);
    PORTS.start + RUN * u16::try_from(run).expect("fewer than the runs")
}
