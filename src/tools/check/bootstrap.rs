//! The addresses in `bootstrap.servers`: whether their names resolve, and whether somebody listens there. Only
//! sockets are opened; whether it is Kafka is for `cluster` to find out.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::finding::{Area, Finding};

/// Kafka's own port, where none is named.
const PORT: u16 = 9092;
const RESOLVING: Duration = Duration::from_secs(5);
const CONNECTING: Duration = Duration::from_secs(3);

/// A name or an IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

/// What is the matter with an address.
pub(super) enum Trouble {
    Unresolved(String),
    Unreached(String),
}

/// Looks at each address; `false` where none is of use.
pub(super) fn look(servers: &str) -> (Vec<Finding>, bool) {
    let addresses: Vec<_> = servers.split(',').filter_map(Address::parse).collect();
    if addresses.is_empty() {
        let remedy = "name the brokers, for example \"kafka-1:9092,kafka-2:9092\"";
        return (
            vec![Area::Addresses.fail("bootstrap.servers names nobody", remedy)],
            false,
        );
    }
    let threads = addresses.into_iter().map(|address| {
        thread::spawn(move || {
            let reached = address.reach();
            (address, reached)
        })
    });
    let threads: Vec<_> = threads.collect();
    let looked = threads
        .into_iter()
        .map(|thread| thread.join().expect("sockets do not panic"));
    let looked: Vec<_> = looked.collect();
    let good: Vec<_> = looked
        .iter()
        .filter(|(_, reached)| reached.is_ok())
        .collect();
    let is_of_use = !good.is_empty();
    let mut findings: Vec<_> = looked
        .iter()
        .filter_map(|(address, reached)| Some(bad(address, reached.as_ref().err()?, is_of_use)))
        .collect();
    if is_of_use {
        let names: Vec<_> = good
            .iter()
            .map(|(address, _)| address.to_string())
            .collect();
        findings.push(Area::Connection.ok(format!("somebody listens at {}", names.join(", "))));
    }
    (findings, is_of_use)
}

/// Whether none of the addresses is another machine's.
pub(super) fn is_on_this_machine(servers: &str) -> bool {
    let mut addresses = servers.split(',').filter_map(Address::parse);
    addresses.all(|address| {
        let ip = address.host.parse::<IpAddr>();
        address.host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    })
}

/// One of several that is of no use costs only time.
fn bad(address: &Address, trouble: &Trouble, is_spared: bool) -> Finding {
    let (area, what, remedy) = match trouble {
        Trouble::Unresolved(why) => (
            Area::Addresses,
            format!(
                "bootstrap.servers: the name {} does not resolve: {why}",
                address.host
            ),
            "look for a typing mistake, and whether this machine's DNS knows it",
        ),
        Trouble::Unreached(why) => (
            Area::Connection,
            format!("bootstrap.servers: nobody can be reached at {address}: {why}"),
            "look at the port, at what may be in between (firewall, network policy), and whether the broker runs",
        ),
    };
    if is_spared {
        area.warn(what, remedy)
    } else {
        area.fail(what, remedy)
    }
}

impl Address {
    /// As librdkafka reads it: `[PROTOCOL://]HOST[:PORT]`, an IPv6 address in brackets where it has a port.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.split_once("://").map_or(text, |(_, address)| address);
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if host.ends_with(']') || !host.contains(':') => {
                (host, port.parse().unwrap_or(PORT))
            }
            _ => (text, PORT),
        };
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        (!host.is_empty()).then_some(Self { host, port })
    }

    /// Whether somebody listens there.
    pub(super) fn reach(&self) -> Result<(), Trouble> {
        let resolved = self.resolve().map_err(Trouble::Unresolved)?;
        let mut last = "no address".to_owned();
        for address in resolved {
            match TcpStream::connect_timeout(&address, CONNECTING) {
                Ok(_) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
        }
        Err(Trouble::Unreached(last))
    }

    /// The system's resolver has no deadline of its own: a thread waits for it in the place of this one.
    fn resolve(&self) -> Result<Vec<SocketAddr>, String> {
        let (tell, told) = mpsc::channel();
        let asked = (self.host.clone(), self.port);
        thread::spawn(move || {
            let found: io::Result<Vec<_>> = asked.to_socket_addrs().map(Iterator::collect);
            // Nobody waits any more where it took too long.
            let _told = tell.send(found);
        });
        match told.recv_timeout(RESOLVING) {
            Ok(found) => found.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", RESOLVING.as_secs())),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_librdkafka_reads_them() {
        for (text, read) in [
            ("kafka-1:9093", "kafka-1:9093"),
            (" kafka-1 ", "kafka-1:9092"),
            ("SASL_SSL://kafka-1:9094", "kafka-1:9094"),
            ("[::1]:9094", "[::1]:9094"),
            ("[::1]", "[::1]:9092"),
            ("::1", "[::1]:9092"),
        ] {
            assert_eq!(Address::parse(text).expect("an address").to_string(), read);
        }
        assert_eq!(Address::parse(" "), None);
    }
}
