//! Networks without IPv4, or with IPv4 and IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::support::bridge::{Bridge, run, wrapped};
use crate::support::cluster;
use crate::support::http::{Connection, body, exchange, post, report, request};
use crate::support::records::read_all;

const V6: [(&str, &str); 2] = [("ingress.listen", "[::1]:0"), ("admin.listen", "[::1]:0")];
const BOTH: [(&str, &str); 2] = [("ingress.listen", "[::]:0"), ("ingress.plain_http", "true")];

/// Starts a bridge without Kafka.
fn start(settings: &[&[(&str, &str)]]) -> Bridge {
    Bridge::start("127.0.0.1:1", "events", "rejected", &settings.concat())
}

/// Returns the ingress address for a client of `address`, if the bridge listens on all addresses.
fn ingress_at(bridge: &Bridge, address: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(address.into(), bridge.ingress.port())
}

fn wrong_password(forwarded_for: Option<&str>) -> Vec<u8> {
    let changes = [
        ("Authorization", Some("gue55ed")),
        ("x-forwarded-for", forwarded_for),
    ];
    request(&post(), &changes, &body("m1", "read"))
}

/// Sends a wrong password to `ingress`, and asserts that the log names `network` as its source.
fn assert_logged(bridge: &Bridge, ingress: SocketAddr, forwarded_for: Option<&str>, network: &str) {
    let answer = exchange(ingress, &wrong_password(forwarded_for));
    assert_eq!(answer.status, 401);
    let line = bridge.wait_for_log("repeated passwords");
    assert!(
        line.contains(&format!("\"network\":\"{network}\"")),
        "{line}"
    );
}

#[test]
fn dev_without_a_loopback_interface_ends_with_a_message() {
    let dev = [
        "dev",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ];
    let output = run(wrapped(&["unshare", "--net"]).args(dev));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let message = "koobridge: can't start the embedded broker: Client creation error: \
                   it needs 127.0.0.1, which is unreachable: ";
    assert!(said.starts_with(message), "{said}");
    assert_eq!(output.stdout, b"");
}

#[test]
fn reports_probes_and_metrics_work_over_ipv6() {
    let kafka = cluster::shared();
    let (bridge, topic, _) = Bridge::with_topics(&kafka, 1, &V6);
    assert_eq!(bridge.ingress.ip(), Ipv6Addr::LOCALHOST);
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m1", "read"))).status,
        200
    );
    assert_eq!(read_all(kafka.bootstrap(), &topic).len(), 1);
    assert_eq!(bridge.probe("/livez").status, 200);
    assert_eq!(bridge.metric("koobridge_answers_total{code=\"200\"}"), 1);
}

#[test]
fn ipv6_networks_are_allowed_trusted_and_logged() {
    let allowed = start(&[&V6, &[("ingress.allow", "::1/128")]]);
    assert_logged(&allowed, allowed.ingress, None, "::/48");
    let refused = start(&[&V6, &[("ingress.allow", "2001:db8::/32, 127.0.0.0/8")]]);
    assert!(Connection::open(refused.ingress).is_closed());
    let line = refused.wait_for_log("ingress.allow does not include their network");
    assert!(line.contains("\"network\":\"::/48\""), "{line}");
    let proxied = [
        ("ingress.allow", "2001:db8::/32"),
        ("ingress.trusted_proxies", "::1"),
    ];
    let proxied = start(&[&V6, &proxied]);
    let peer = Some("2001:db8:1:2::7");
    assert_logged(&proxied, proxied.ingress, peer, "2001:db8:1::/48");
    let answer = exchange(proxied.ingress, &wrong_password(Some("2001:db9::1")));
    assert_eq!(answer.status, 403);
}

#[test]
fn a_dual_stack_listener_sees_ipv4_peers_as_ipv4() {
    let only_v4 = start(&[&BOTH, &[("ingress.allow", "127.0.0.0/8")]]);
    let [v4, v6] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        .map(|address: IpAddr| ingress_at(&only_v4, address));
    assert_logged(&only_v4, v4, None, "127.0.0.0/24");
    assert!(Connection::open(v6).is_closed());
    let only_v6 = start(&[&BOTH, &[("ingress.allow", "::1")]]);
    let v4 = ingress_at(&only_v6, Ipv4Addr::LOCALHOST);
    assert!(Connection::open(v4).is_closed());
    let line = only_v6.wait_for_log("ingress.allow does not include their network");
    assert!(line.contains("\"network\":\"127.0.0.0/24\""), "{line}");
    let proxied = start(&[&BOTH, &[("ingress.trusted_proxies", "127.0.0.1")]]);
    let v4 = ingress_at(&proxied, Ipv4Addr::LOCALHOST);
    assert_logged(&proxied, v4, Some("198.51.100.77"), "198.51.100.0/24");
}
