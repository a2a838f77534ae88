//! Checks whether the names in `bootstrap.servers` resolve, and whether a server listens at each address. It only opens
//! sockets; `cluster` checks whether the server is Kafka.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread::Builder;
use std::time::Duration;

use super::finding::{Area, Finding};

/// The port of an address without one.
const PORT: u16 = 9092;
const RESOLVING: Duration = Duration::from_secs(5);
const CONNECTING: Duration = Duration::from_secs(3);

/// A name or an IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

/// Why an address can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum AddressError {
    #[error("the name does not resolve: {0}")]
    Unresolved(String),
    #[error("can't be reached: {0}")]
    Connect(String),
    #[error("can't start a thread to check it: {0}")]
    NoThread(io::Error),
}

/// The remedy if the system can't start a thread.
pub(super) const RAISE_THREADS: &str = "raise the limit on threads (TasksMax= of systemd, pids of a container, ulimit -u): the bridge needs them too";

/// Checks each address; returns `true` with the findings if one of them can be used.
pub(super) fn check(servers: &str) -> (Vec<Finding>, bool) {
    let addresses: Vec<_> = servers.split(',').filter_map(Address::parse).collect();
    if addresses.is_empty() {
        let remedy = "set it to the brokers, for example \"kafka-1:9092,kafka-2:9092\"";
        return (
            vec![Area::Addresses.fail("bootstrap.servers names no broker", remedy)],
            false,
        );
    }
    let checked = reach_all(addresses, Builder::new);
    let good: Vec<_> = checked
        .iter()
        .filter(|(_, reached)| reached.is_ok())
        .collect();
    let is_usable = !good.is_empty();
    let mut findings: Vec<_> = checked
        .iter()
        .filter_map(|(address, reached)| {
            Some(unusable(address, reached.as_ref().err()?, is_usable))
        })
        .collect();
    if is_usable {
        let names: Vec<_> = good
            .iter()
            .map(|(address, _)| address.to_string())
            .collect();
        findings.push(Area::Connection.ok(format!("a server listens at {}", names.join(", "))));
    }
    (findings, is_usable)
}

/// Returns whether all addresses are loopback addresses.
pub(super) fn is_on_this_machine(servers: &str) -> bool {
    let mut addresses = servers.split(',').filter_map(Address::parse);
    addresses.all(|address| {
        let ip = address.host.parse::<IpAddr>();
        address.host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    })
}

/// Tries all addresses at the same time, each on its own thread: an address that does not answer takes seconds.
pub(super) fn reach_all(
    addresses: Vec<Address>,
    thread: fn() -> Builder,
) -> Vec<(Address, Result<(), AddressError>)> {
    let threads = addresses.into_iter().map(|address| {
        let tried = address.clone();
        (address, thread().spawn(move || tried.reach()))
    });
    let threads: Vec<_> = threads.collect();
    let reached = threads.into_iter().map(|(address, thread)| {
        let thread = thread.map_err(AddressError::NoThread);
        let reached = thread.and_then(|thread| thread.join().expect("sockets do not panic"));
        (address, reached)
    });
    reached.collect()
}

/// Returns a warning if another address can be used: a bad one then only costs time.
fn unusable(address: &Address, error: &AddressError, has_other: bool) -> Finding {
    let (area, remedy) = match error {
        AddressError::Unresolved(_) => (
            Area::Addresses,
            "check the spelling, and the DNS of this machine",
        ),
        AddressError::Connect(_) => (
            Area::Connection,
            "check the port, the firewalls and network policies in between, and that the broker runs",
        ),
        AddressError::NoThread(_) => (Area::Limits, RAISE_THREADS),
    };
    let what = format!("bootstrap.servers: {address}: {error}");
    if has_other {
        area.warn(what, remedy)
    } else {
        area.fail(what, remedy)
    }
}

impl Address {
    /// Parses `[PROTOCOL://]HOST[:PORT]` as librdkafka does. An IPv6 address with a port is in brackets.
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

    /// Connects to the address.
    fn reach(&self) -> Result<(), AddressError> {
        let resolved = self.resolve()?;
        let mut last = "no address".to_owned();
        for address in resolved {
            match TcpStream::connect_timeout(&address, CONNECTING) {
                Ok(_) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
        }
        Err(AddressError::Connect(last))
    }

    /// Resolves the name. The system's resolver has no deadline, so it runs on a thread that may outlive the check.
    fn resolve(&self) -> Result<Vec<SocketAddr>, AddressError> {
        let (sender, receiver) = mpsc::channel();
        let name = (self.host.clone(), self.port);
        let resolver = Builder::new().spawn(move || {
            let found: io::Result<Vec<_>> = name.to_socket_addrs().map(Iterator::collect);
            // The receiver is gone when it took too long.
            let _sent = sender.send(found);
        });
        resolver.map_err(AddressError::NoThread)?;
        match receiver.recv_timeout(RESOLVING) {
            Ok(found) => found.map_err(|error| AddressError::Unresolved(error.to_string())),
            Err(_) => Err(AddressError::Unresolved(format!(
                "no answer within {} s",
                RESOLVING.as_secs()
            ))),
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
    fn addresses_are_parsed_as_librdkafka_does() {
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

    #[test]
    fn a_thread_that_cannot_be_started_is_a_finding_about_limits() {
        let address = Address::parse("127.0.0.1:1").expect("an address");
        // The system has no such memory.
        let thread = || Builder::new().stack_size(1 << 60);
        let reached = reach_all(vec![address.clone()], thread);
        let [(of, Err(error @ AddressError::NoThread(_)))] = reached.as_slice() else {
            panic!("{reached:?}");
        };
        let finding = unusable(of, error, false);
        assert_eq!((of, finding.area), (&address, Area::Limits));
        let what = "bootstrap.servers: 127.0.0.1:1: can't start a thread to check it: ";
        assert!(finding.what.starts_with(what), "{finding}");
    }
}
