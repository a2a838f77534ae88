//! The socket queues of a bridge's connections, from `/proc/PID/net/tcp`. Only they show whether the bridge has read a
//! part of a request.

use std::fs;
use std::net::SocketAddr;

use crate::support::bridge::Bridge;

/// The bytes in the queues of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Queues {
    /// Sent by the bridge, and not acknowledged by the sender's side.
    pub unsent: u64,
    /// Received, and not read by the bridge.
    pub unread: u64,
}

impl Queues {
    /// Returns the queues of every open connection of the ingress.
    pub fn of(bridge: &Bridge) -> Vec<Self> {
        Self::at(bridge, bridge.ingress)
    }

    /// Returns the queues of every open connection of one of the bridge's addresses.
    pub fn at(bridge: &Bridge, address: SocketAddr) -> Vec<Self> {
        let table = fs::read_to_string(format!("/proc/{}/net/tcp", bridge.pid()));
        let table = table.expect("a running process");
        let port = format!(":{:04X}", address.port());
        table
            .lines()
            .filter_map(|line| parse(line, &port))
            .collect()
    }
}

/// Parses a line: number, local address, remote address, state, and both queues, in hexadecimal.
fn parse(line: &str, port: &str) -> Option<Queues> {
    const ESTABLISHED: &str = "01";
    let mut fields = line.split_whitespace().skip(1);
    let (local, _remote) = (fields.next()?, fields.next()?);
    if !local.ends_with(port) || fields.next()? != ESTABLISHED {
        return None;
    }
    let (unsent, unread) = fields.next()?.split_once(':')?;
    let bytes = |text| u64::from_str_radix(text, 16).expect("a hexadecimal number");
    Some(Queues {
        unsent: bytes(unsent),
        unread: bytes(unread),
    })
}
