//! Failed TLS handshakes: each kind is counted separately and logged.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, SupportedProtocolVersion};

use crate::support::authority::{Authority, NOW, borrowed};
use crate::support::bridge::Bridge;
use crate::tls::{failures, secure};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
const REASONS: [&str; 7] = [
    "not_tls",
    "protocol",
    "client_certificate",
    "certificate_refused",
    "closed",
    "timeout",
    "other",
];

/// The `ClientHello` of a client before TLS 1.2: TLS 1.0, `TLS_RSA_WITH_AES_128_CBC_SHA`, no extensions.
const HELLO_OF_TLS_1_0: [u8; 50] = {
    let mut hello = [7; 50];
    let head = [22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1];
    let tail = [0, 0, 2, 0, 0x2f, 1, 0];
    hello
        .first_chunk_mut::<11>()
        .unwrap()
        .copy_from_slice(&head);
    hello.last_chunk_mut::<7>().unwrap().copy_from_slice(&tail);
    hello
};

fn start(authority: &Authority, settings: &[(&'static str, String)]) -> Bridge {
    authority.issue("server", 1, NOW);
    let settings = [&authority.settings()[..], settings].concat();
    Bridge::start("127.0.0.1:1", "events", "rejected", &borrowed(&settings))
}

/// Sends `bytes` in place of a handshake, and waits until the bridge closes the connection.
fn send(bridge: &Bridge, bytes: &[u8]) {
    let mut socket = TcpStream::connect(bridge.ingress).expect("the bridge listens");
    socket.write_all(bytes).expect("the bridge reads");
    // The connection may also end by a reset.
    let _ended = socket.read_to_end(&mut Vec::new());
}

/// Tries a handshake, until the bridge or the client ends it.
fn try_handshake(bridge: &Bridge, config: ClientConfig) {
    let socket = TcpStream::connect(bridge.ingress).expect("the bridge listens");
    let mut stream = secure(config, socket);
    // In TLS 1.3 a client completes its handshake before the bridge has checked the client's certificate.
    let ended = stream.read(&mut [0]);
    assert!(ended.is_err(), "{ended:?}");
}

/// Asserts the counts of these reasons, and that every other count is 0.
fn assert_counted(bridge: &Bridge, expected: &[(&str, u64)]) {
    for (reason, count) in expected {
        bridge.wait_for_metric(&failures(reason), *count);
    }
    let metrics = bridge.probe("/metrics").text();
    for reason in REASONS {
        let expected = expected.iter().find(|(expected, _)| *expected == reason);
        let line = format!(
            "{} {}",
            failures(reason),
            expected.map_or(0, |(_, count)| *count)
        );
        assert!(
            metrics.lines().any(|shown| shown == line),
            "{line}\n{metrics}"
        );
    }
}

/// Asserts that the bridge has logged the first failure of this kind. Call it before there is a second failure, which
/// another worker could log first.
fn assert_logged(bridge: &Bridge, reason: &str, error: &str) {
    let line = bridge.wait_for_log(&format!("\"reason\":\"{reason}\""));
    let line: Value = serde_json::from_str(&line).expect("a JSON line");
    let shown = ["level", "message", "network", "error", "failures"].map(|field| &line[field]);
    assert_eq!(
        shown,
        [
            &json!("WARN"),
            &json!("TLS handshakes failed"),
            &json!("127.0.0.0/24"),
            &json!(error),
            &json!(1),
        ]
    );
}

#[test]
fn every_reason_has_a_series_from_the_start() {
    let authority = Authority::new();
    assert_counted(&start(&authority, &[]), &[]);
}

#[test]
fn other_protocols_on_the_port_are_counted_separately() {
    let authority = Authority::new();
    let bridge = start(&authority, &[]);
    let junk: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: bridge\r\n\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        // The type of a handshake record, and a version that does not exist.
        &[22, 9, 9, 0, 5, 1, 0, 0, 1, 0],
        // SSL 2.
        &[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10],
    ];
    send(&bridge, junk[0]);
    let error = "received corrupt message of type InvalidContentType";
    assert_logged(&bridge, "not_tls", error);
    for junk in &junk[1..] {
        send(&bridge, junk);
    }
    assert_counted(&bridge, &[("not_tls", 5)]);
}

#[test]
fn clients_without_a_common_protocol_are_counted_separately() {
    let authority = Authority::new();
    let bridge = start(&authority, &[]);
    send(&bridge, &HELLO_OF_TLS_1_0);
    let error = "peer is incompatible: SignatureAlgorithmsExtensionRequired";
    assert_logged(&bridge, "protocol", error);
    for version in VERSIONS {
        let mut config = authority.client(&[version]);
        config.alpn_protocols = vec![b"h2".to_vec()];
        try_handshake(&bridge, config);
    }
    assert_counted(&bridge, &[("protocol", 3)]);
}

#[test]
fn clients_without_an_accepted_certificate_are_counted_separately() {
    let [authority, stranger] = [Authority::new(), Authority::new()];
    let bridge = start(
        &authority,
        &[("ingress.tls.client_ca", authority.setting("ca.crt"))],
    );
    stranger.issue("client", 2, NOW);
    for suffix in ["crt", "key"] {
        let client = stranger.read(&format!("client.{suffix}"));
        authority.write(&format!("stranger.{suffix}"), &client);
    }
    authority.issue("expired", 3, [2000, 2001]);
    try_handshake(&bridge, authority.client(&[&TLS13]));
    assert_logged(&bridge, "client_certificate", "peer sent no certificates");
    for version in VERSIONS {
        for name in [None, Some("stranger"), Some("expired")] {
            try_handshake(&bridge, authority.client_as(&[version], name));
        }
    }
    assert_counted(&bridge, &[("client_certificate", 7)]);
}

#[test]
fn clients_that_refuse_the_certificate_are_counted_separately() {
    let [authority, renewed, stranger] = ["A", "A", "B"].map(Authority::named);
    let bridge = start(&authority, &[]);
    try_handshake(&bridge, stranger.client(&[&TLS13]));
    let error = "received fatal alert: UnknownCA";
    assert_logged(&bridge, "certificate_refused", error);
    for version in VERSIONS {
        try_handshake(&bridge, stranger.client(&[version]));
        try_handshake(&bridge, renewed.client(&[version]));
    }
    assert_counted(&bridge, &[("certificate_refused", 5)]);
}

#[test]
fn connections_closed_during_the_handshake_are_counted_and_not_logged() {
    let authority = Authority::new();
    let bridge = start(&authority, &[]);
    for bytes in [&[][..], &HELLO_OF_TLS_1_0[..20]] {
        let mut socket = TcpStream::connect(bridge.ingress).expect("the bridge listens");
        socket.write_all(bytes).expect("the bridge reads");
    }
    assert_counted(&bridge, &[("closed", 2)]);
    send(&bridge, b"junk that is logged after it");
    bridge.wait_for_log("\"not_tls\"");
    assert!(
        !bridge.logged().contains("\"closed\""),
        "{}",
        bridge.logged()
    );
}

#[test]
fn handshakes_that_time_out_are_counted_separately() {
    let authority = Authority::new();
    let bridge = start(&authority, &[("ingress.head_timeout", "300ms".to_owned())]);
    send(&bridge, &HELLO_OF_TLS_1_0[..20]);
    assert_counted(&bridge, &[("timeout", 1)]);
    assert_logged(&bridge, "timeout", "timed out");
}

#[test]
fn many_failures_of_one_kind_log_few_lines() {
    let authority = Authority::new();
    let bridge = start(&authority, &[]);
    let begun = std::time::Instant::now();
    for _ in 0..50 {
        send(&bridge, b"junk");
    }
    assert_counted(&bridge, &[("not_tls", 50)]);
    bridge.wait_for_log("\"not_tls\"");
    let most = 1 + begun.elapsed().as_secs() / 10;
    let logged = bridge.logged();
    let lines = logged.matches("TLS handshakes failed").count() as u64;
    assert!((1..=most).contains(&lines), "{lines} lines\n{logged}");
}
