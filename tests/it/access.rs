//! The networks from which reports may come.

use crate::support::authority::{Authority, NOW, borrowed};
use crate::support::bridge::{Bridge, CHANNEL};
use crate::support::cluster;
use crate::support::http::{Connection, body, exchange, post, request};

fn status(bridge: &Bridge, forwarded_for: Option<&str>) -> u16 {
    let line = post();
    let body = body("m1", "read");
    let request = request(&line, &[("x-forwarded-for", forwarded_for)], &body);
    exchange(bridge.ingress, &request).status
}

#[test]
fn x_forwarded_for_of_an_untrusted_peer_is_ignored() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[("ingress.allow", "127.0.0.0/8")]);
    assert_eq!(status(&bridge, None), 200);
    assert_eq!(status(&bridge, Some("192.0.2.1")), 200);
}

#[test]
fn a_peer_outside_the_allowed_networks_is_closed_before_it_sends_anything() {
    let authority = Authority::new();
    authority.issue("server", 1, NOW);
    let tls = authority.settings();
    for settings in [&[][..], &borrowed(&tls)] {
        let settings = [settings, &[("ingress.allow", "192.0.2.0/24")]].concat();
        let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &settings);
        for _ in 0..3 {
            let mut connection = Connection::open(bridge.ingress);
            assert!(connection.is_closed());
        }
        bridge.wait_for_metric("koobridge_connections_refused_total", 3);
        let answers = bridge.probe("/metrics").text();
        assert!(!answers.contains("koobridge_answers_total{"), "{answers}");
        let line = bridge.wait_for_log("ingress.allow does not include their network");
        assert!(line.contains("127.0.0.0/24"), "{line}");
    }
}

#[test]
fn x_forwarded_for_of_a_trusted_proxy_counts() {
    let kafka = cluster::shared();
    let settings = [
        ("ingress.allow", "192.0.2.0/24"),
        ("ingress.trusted_proxies", "127.0.0.1, 10.0.0.0/8"),
    ];
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &settings);
    for (forwarded_for, expected) in [
        (Some("192.0.2.1"), 200),
        (Some("192.0.2.1, 10.1.1.1"), 200),
        (Some("198.51.100.1"), 403),
        (Some("192.0.2.1, 198.51.100.1"), 403),
        (Some("192.0.2.1, nonsense"), 403),
        (None, 403),
    ] {
        assert_eq!(
            status(&bridge, forwarded_for),
            expected,
            "{forwarded_for:?}"
        );
    }
    let answer = exchange(bridge.ingress, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(answer.problem(), ("not-allowed".to_owned(), None));
    assert_eq!(answer.header("connection"), Some("close"));
}

#[test]
fn a_wrong_password_is_logged_with_its_network() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[("ingress.trusted_proxies", "127.0.0.1")]);
    let changes = [
        ("Authorization", Some("gue55ed")),
        ("x-forwarded-for", Some("198.51.100.77")),
    ];
    let request = request(&post(), &changes, &body("m1", "read"));
    assert_eq!(exchange(bridge.ingress, &request).status, 401);
    let line = bridge.wait_for_log("repeated passwords");
    for part in [CHANNEL, "198.51.100.0/24"] {
        assert!(line.contains(part), "{line}");
    }
    for secret in ["gue55ed", "198.51.100.77"] {
        assert!(!bridge.logged().contains(secret), "{line}");
    }
}
