//! The text of networks, and which of them a trusted proxy can be in.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks like `10.0.0.0/8`, or single addresses.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(|name| network(name.trim())).collect()
}

/// Parses the networks of trusted proxies. A peer in one of them can name any origin.
pub(super) fn proxies(text: &str) -> Result<Vec<IpNet>, String> {
    let networks = networks(text)?;
    match networks.iter().find(|network| is_too_wide(network)) {
        None => Ok(networks),
        Some(network) => Err(format!(
            "\"{network}\" is too wide: a sender in it can name any origin in x-forwarded-for, against which \
             ingress.allow is held and which the log names; write the networks of the proxies alone, at most an IPv4 \
             /8, an IPv6 /16, or private ones such as 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 and fc00::/7"
        )),
    }
}

/// Networks that are wide, but hold no public address: unique local, link-local, and the reserved ones of IPv4.
const PRIVATE: [&str; 3] = ["fc00::/7", "fe80::/10", "240.0.0.0/4"];
/// IPv6 networks that stand for all of IPv4 (RFC 3056, RFC 6052).
const ALL_OF_IPV4: [&str; 2] = ["2002::/16", "64:ff9b::/96"];

/// Returns whether a network is wider than the widest that belong to one operator.
fn is_too_wide(network: &IpNet) -> bool {
    let parse = |text: &str| -> IpNet { text.parse().expect("a network") };
    let is_private = || {
        PRIVATE
            .iter()
            .any(|private| parse(private).contains(network))
    };
    let is_all_of_ipv4 = ALL_OF_IPV4.iter().any(|all| network.contains(&parse(all)));
    let widest = if network.addr().is_ipv4() { 8 } else { 16 };
    is_all_of_ipv4 || network.prefix_len() < widest && !is_private()
}

fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    let network: IpNet = text
        .parse()
        .map_err(|_| format!("\"{text}\" is no network; write for example \"10.0.0.0/8\""))?;
    let network = canonical(network);
    if network == network.trunc() {
        Ok(network)
    } else {
        let meant = network.trunc();
        Err(format!(
            "\"{text}\" is an address in a network; the network is \"{meant}\""
        ))
    }
}

/// A network of IPv4-mapped addresses as the IPv4 network, since peers are compared by their IPv4 address.
fn canonical(network: IpNet) -> IpNet {
    let (address, prefix) = (network.addr().to_canonical(), network.prefix_len());
    match (network, prefix.checked_sub(96)) {
        (IpNet::V6(_), Some(prefix)) if address.is_ipv4() => {
            IpNet::new(address, prefix).expect("a prefix of IPv6 is at most 128")
        }
        _ => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_a_list_of_addresses_with_or_without_a_prefix() {
        let parsed = networks("10.0.0.0/8, 192.0.2.7 ,2001:db8::/32").expect("networks");
        let texts: Vec<String> = parsed.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]);
        assert_eq!(networks(""), Ok(Vec::new()));
        for (text, expected) in [
            ("10.0.0.1/8", "the network is \"10.0.0.0/8\""),
            ("10.0.0.0/33", "is no network"),
            ("bridge.example", "is no network"),
        ] {
            assert!(networks(text).unwrap_err().contains(expected), "{text}");
        }
    }

    /// The ingress compares IPv4 addresses as such, however a socket shows them.
    #[test]
    fn an_ipv4_network_that_is_written_as_ipv6_is_the_ipv4_network() {
        let parsed =
            networks("::ffff:10.0.0.0/104,::ffff:10.0.0.1,::ffff:192.0.2.7/128,::ffff:0:0/96");
        let texts: Vec<String> = parsed
            .expect("networks")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            texts,
            ["10.0.0.0/8", "10.0.0.1/32", "192.0.2.7/32", "0.0.0.0/0"]
        );
        let problem = networks("::ffff:10.0.0.1/104").unwrap_err();
        assert!(
            problem.ends_with("the network is \"10.0.0.0/8\""),
            "{problem}"
        );
        // Wider than all of IPv4, which it does not contain.
        let parsed = networks("::/64").expect("a network");
        assert_eq!(parsed[0].to_string(), "::/64");
    }

    #[test]
    fn a_trusted_proxy_is_in_a_network_that_an_operator_can_have() {
        for text in [
            "10.0.0.0/8",
            "192.0.2.7",
            "fd00::/8",
            "fc00::/7",
            "2001:db8::/32",
            "fe80::/10",
            "240.0.0.0/4",
            "",
        ] {
            assert_eq!(proxies(text), networks(text), "{text}");
        }
        for text in [
            "0.0.0.0/0",
            "::/0",
            "::ffff:0:0/96",
            "0.0.0.0/1,128.0.0.0/1",
            "10.0.0.0/7",
            "2000::/3",
            "2000::/15",
            "f000::/4",
            "2002::/16",
            "64:ff9b::/96",
            "127.0.0.1,0.0.0.0/0",
        ] {
            let problem = proxies(text).unwrap_err();
            assert!(problem.contains("is too wide"), "{text}: {problem}");
        }
    }
}
