//! The addresses in `bootstrap.servers`: whether their names resolve, and whether a server listens there. Only
//! sockets are opened; `cluster` finds out whether it is Kafka.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread::Builder;
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

/// Why an address is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum AddressError {
    #[error("the name does not resolve: {0}")]
    Unresolved(String),
    #[error("can't be reached: {0}")]
    Unreached(String),
    #[error("can't start a thread to look: {0}")]
    NoThread(io::Error),
}

/// What to do if the system starts no more threads.
pub(super) const RAISE_THREADS: &str = "raise the limit on threads (TasksMax= of systemd, pids of a container, ulimit -u): the bridge needs them too";

/// Looks at each address; `false` where none is of use.
pub(super) fn look(servers: &str) -> (Vec<Finding>, bool) {
    let addresses: Vec<_> = servers.split(',').filter_map(Address::parse).collect();
    if addresses.is_empty() {
        let remedy = "name the brokers, for example \"kafka-1:9092,kafka-2:9092\"";
        return (
            vec![Area::Addresses.fail("bootstrap.servers names no broker", remedy)],
            false,
        );
    }
    let looked = reach_all(addresses, Builder::new);
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
        findings.push(Area::Connection.ok(format!("a server listens at {}", names.join(", "))));
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

/// Tries each address in a thread of its own, since one that does not answer takes seconds.
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

/// One of several that is of no use costs only time.
fn bad(address: &Address, trouble: &AddressError, is_spared: bool) -> Finding {
    let (area, remedy) = match trouble {
        AddressError::Unresolved(_) => (
            Area::Addresses,
            "look for a typing error, and whether this machine's DNS knows it",
        ),
        AddressError::Unreached(_) => (
            Area::Connection,
            "look at the port, at what may be in between (firewall, network policy), and whether the broker runs",
        ),
        AddressError::NoThread(_) => (Area::Limits, RAISE_THREADS),
    };
    let what = format!("bootstrap.servers: {address}: {trouble}");
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

    /// Whether a server listens there.
    fn reach(&self) -> Result<(), AddressError> {
        let resolved = self.resolve()?;
        let mut last = "no address".to_owned();
        for address in resolved {
            match TcpStream::connect_timeout(&address, CONNECTING) {
                Ok(_) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
        }
        Err(AddressError::Unreached(last))
    }

    /// The system's resolver has no deadline of its own, so that it runs in a thread that need not end.
    fn resolve(&self) -> Result<Vec<SocketAddr>, AddressError> {
        let (tell, told) = mpsc::channel();
        let asked = (self.host.clone(), self.port);
        let resolver = Builder::new().spawn(move || {
            let found: io::Result<Vec<_>> = asked.to_socket_addrs().map(Iterator::collect);
            // The receiver is gone if it took too long.
            let _told = tell.send(found);
        });
        resolver.map_err(AddressError::NoThread)?;
        match told.recv_timeout(RESOLVING) {
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

    #[test]
    fn an_address_that_no_thread_looks_at_is_a_finding_about_limits() {
        let address = Address::parse("127.0.0.1:1").expect("an address");
        // The system has no such memory.
        let thread = || Builder::new().stack_size(1 << 60);
        let reached = reach_all(vec![address.clone()], thread);
        let [(of, Err(trouble @ AddressError::NoThread(_)))] = reached.as_slice() else {
            panic!("{reached:?}");
        };
        let finding = bad(of, trouble, false);
        assert_eq!((of, finding.area), (&address, Area::Limits));
        let what = "bootstrap.servers: 127.0.0.1:1: can't start a thread to look: ";
        assert!(finding.what.starts_with(what), "{finding}");
    }
}
