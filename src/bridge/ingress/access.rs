//! The origin address of a request, and whether it may send.

use std::net::IpAddr;

use hyper::header::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::config::Access;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Returns the origin address of a request: its peer, or if the peer is a trusted proxy, an address in
/// `x-forwarded-for`. Each proxy appends its own peer to that header, so the last address that is not a trusted proxy
/// counts. A sender can forge the addresses before it.
///
/// Returns `None` if a trusted proxy sends something that is not an address.
pub(super) fn origin(access: &Access, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    if !is_in(&access.trusted_proxies, peer) {
        return Some(peer);
    }
    let mut origin = peer;
    for line in headers.get_all(FORWARDED_FOR).iter().rev() {
        for named in line.to_str().ok()?.rsplit(',') {
            origin = address(named.trim())?;
            if !is_in(&access.trusted_proxies, origin) {
                return Some(origin);
            }
        }
    }
    Some(origin)
}

/// Returns whether any request from `peer` could be admitted.
pub(super) fn admits_peer(access: &Access, peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    access.allow.is_empty() || is_in(&access.allow, peer) || is_in(&access.trusted_proxies, peer)
}

/// Returns whether requests from `origin` are admitted.
pub(super) fn admits(access: &Access, origin: Option<IpAddr>) -> bool {
    access.allow.is_empty() || origin.is_some_and(|origin| is_in(&access.allow, origin))
}

/// Returns the network of an address, which is logged instead of the address.
pub(super) fn network(address: IpAddr) -> IpNet {
    let prefix = if address.is_ipv4() { 24 } else { 48 };
    IpNet::new(address, prefix)
        .expect("a prefix that the family has")
        .trunc()
}

fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// Parses an address of a proxy's header. Some proxies add the port, and put IPv6 addresses in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.parse().ok();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || Some(text.parse::<std::net::SocketAddr>().ok()?.ip());
    let address: IpAddr = bare.or_else(bracketed).or_else(with_port)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allow: &[&str], trusted_proxies: &[&str]) -> Access {
        let networks = |texts: &[&str]| {
            let networks = texts.iter().map(|text| text.parse().expect("a network"));
            networks.collect()
        };
        Access {
            allow: networks(allow),
            trusted_proxies: networks(trusted_proxies),
        }
    }

    fn origin_of(peer: &str, forwarded_for: &[&'static str]) -> Option<String> {
        let access = access(&[], &["10.0.0.0/8", "fd00::/8"]);
        let mut headers = HeaderMap::new();
        for line in forwarded_for {
            headers.append(FORWARDED_FOR, line.parse().expect("a header"));
        }
        let origin = origin(&access, peer.parse().expect("an address"), &headers);
        origin.map(|origin| origin.to_string())
    }

    #[test]
    fn the_header_counts_only_from_a_trusted_proxy() {
        for (peer, forwarded_for, expected) in [
            ("192.0.2.1", &["198.51.100.9"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.9"], "198.51.100.9"),
            ("::ffff:10.0.0.1", &["198.51.100.9"], "198.51.100.9"),
            ("fd00::1", &["2001:db8::7"], "2001:db8::7"),
        ] {
            assert_eq!(origin_of(peer, forwarded_for).as_deref(), Some(expected));
        }
    }

    #[test]
    fn the_last_address_that_is_not_a_proxy_counts() {
        for (forwarded_for, expected) in [
            (&["203.0.113.5, 198.51.100.9, 10.2.2.2"][..], "198.51.100.9"),
            (&["203.0.113.5", "198.51.100.9,10.2.2.2"], "198.51.100.9"),
            (&["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
            (&["198.51.100.9:4711"], "198.51.100.9"),
            (&["[2001:db8::7]:4711"], "2001:db8::7"),
            (&["[2001:db8::7]"], "2001:db8::7"),
            (&["::ffff:198.51.100.9"], "198.51.100.9"),
        ] {
            let found = origin_of("10.0.0.1", forwarded_for);
            assert_eq!(found.as_deref(), Some(expected), "{forwarded_for:?}");
        }
        for nonsense in ["", "unknown", "198.51.100.9, ", "198.51.100.9 10.0.0.1"] {
            assert_eq!(origin_of("10.0.0.1", &[nonsense]), None, "{nonsense}");
        }
    }

    #[test]
    fn a_peer_is_admitted_by_its_network_or_as_a_proxy() {
        let admits =
            |access: &Access, peer: &str| admits_peer(access, peer.parse().expect("an address"));
        let some = access(&["192.0.2.0/24"], &["10.0.0.0/8"]);
        for (peer, expected) in [
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("10.0.0.1", true),
            ("198.51.100.1", false),
        ] {
            assert_eq!(admits(&some, peer), expected, "{peer}");
        }
        assert!(admits(&access(&[], &[]), "198.51.100.1"));
    }

    #[test]
    fn without_allowed_networks_every_address_may_send() {
        let allowed = Some("192.0.2.1".parse().expect("an address"));
        assert!(admits(&access(&[], &[]), None));
        let some = access(&["192.0.2.0/24"], &[]);
        assert!(admits(&some, allowed));
        assert!(!admits(
            &some,
            Some("198.51.100.1".parse().expect("an address"))
        ));
        assert!(!admits(&some, None));
    }

    #[test]
    fn logs_show_the_network_instead_of_the_address() {
        let network = |text: &str| network(text.parse().expect("an address")).to_string();
        assert_eq!(network("198.51.100.9"), "198.51.100.0/24");
        assert_eq!(network("2001:db8:1:2::7"), "2001:db8:1::/48");
    }
}
