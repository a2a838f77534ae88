//! Parses networks, and limits the width of trusted proxies' networks.

use std::net::IpAddr;

use ipnet::IpNet;

/// Parses a list of networks like `10.0.0.0/8`, or single addresses.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(|name| network(name.trim())).collect()
}

/// Parses the networks of trusted proxies. They must be narrow, because a peer in one of them can claim any origin.
pub(super) fn proxies(text: &str) -> Result<Vec<IpNet>, String> {
    let networks = networks(text)?;
    match networks.iter().find(|network| is_too_wide(network)) {
        None => Ok(networks),
        Some(network) => Err(format!(
            "\"{network}\" is too wide: every sender in it can claim any origin in x-forwarded-for, and ingress.allow and \
             the log use that origin; list only the networks of the proxies, at most an IPv4 /8, an IPv6 /16, or \
             private networks such as 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 and fc00::/7"
        )),
    }
}

/// Wide networks without public addresses: unique local, link-local, and reserved for IPv4.
const PRIVATE: [&str; 3] = ["fc00::/7", "fe80::/10", "240.0.0.0/4"];
/// IPv6 networks that contain all of IPv4 (RFC 3056, RFC 6052).
const ALL_OF_IPV4: [&str; 2] = ["2002::/16", "64:ff9b::/96"];

/// Returns whether a network is wider than any that one operator can own.
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
        .map_err(|_| format!("\"{text}\" is not a network; write for example \"10.0.0.0/8\""))?;
    let network = canonical(network);
    if network == network.trunc() {
        Ok(network)
    } else {
        let meant = network.trunc();
        Err(format!(
            "\"{text}\" is an address inside a network; the network is \"{meant}\""
        ))
    }
}

/// Converts a network of IPv4-mapped addresses to the IPv4 network, because peers are compared by their IPv4 address.
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
            ("10.0.0.0/33", "is not a network"),
            ("bridge.example", "is not a network"),
        ] {
            assert!(networks(text).unwrap_err().contains(expected), "{text}");
        }
    }

    #[test]
    fn an_ipv4_mapped_network_is_the_ipv4_network() {
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
        // Wider than an IPv4 network, but outside the IPv4-mapped addresses.
        let parsed = networks("::/64").expect("a network");
        assert_eq!(parsed[0].to_string(), "::/64");
    }

    #[test]
    fn a_network_of_trusted_proxies_must_not_be_too_wide() {
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
