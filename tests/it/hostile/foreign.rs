//! Other protocols on the port, and heads that cannot be parsed: the bridge answers them if it can, counts the answers,
//! and logs what to do.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::queues::Queues;
use super::{PATIENCE, codes};
use crate::support::authority::{Authority, NOW, borrowed};
use crate::support::bridge::{Bridge, eventually};
use crate::tls::failures;

const PROXY_1: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n";
/// Version 2: a TCP connection over IPv4, with both addresses and ports.
const PROXY_2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x04\xd2\x01\xbb";
const TLS: &[u8] = b"\x16\x03\x01\0\x05\x01\0\0\x01\x03";
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const REPORT: &[u8] = b"POST / HTTP/1.1\r\nHost: bridge\r\nContent-Length: 0\r\n\r\n";

fn start(settings: &[(&str, &str)]) -> Bridge {
    Bridge::start("127.0.0.1:1", "events", "rejected", settings)
}

/// Sends bytes, and returns the codes of the answers until the bridge closes the connection.
fn answers(bridge: &Bridge, bytes: &[u8]) -> Vec<u16> {
    let mut socket = TcpStream::connect(bridge.ingress).expect("the bridge listens");
    socket.write_all(bytes).expect("the bridge reads");
    codes(&read(socket))
}

fn read(mut socket: TcpStream) -> Vec<u8> {
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut answers = Vec::new();
    let end = socket.read_to_end(&mut answers);
    end.expect("the bridge closes in good order");
    answers
}

/// Asserts that exactly these answers are counted.
fn assert_counted(bridge: &Bridge, expected: &[(u16, u64)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(code, count)| format!("koobridge_answers_total{{code=\"{code}\"}} {count}"))
        .collect();
    eventually(|| {
        let metrics = bridge.probe("/metrics").text();
        let counted = metrics
            .lines()
            .filter(|line| line.starts_with("koobridge_answers_total{"));
        let mut counted: Vec<_> = counted.collect();
        counted.sort_unstable();
        (counted == expected)
            .then_some(())
            .ok_or_else(|| format!("{counted:?}"))
    });
}

#[test]
fn a_proxy_header_is_400_and_logged_with_its_protocol() {
    for header in [PROXY_1, PROXY_2] {
        let bridge = start(&[]);
        for _ in 0..3 {
            assert_eq!(answers(&bridge, &[header, REPORT].concat()), [400]);
        }
        assert_counted(&bridge, &[(400, 3)]);
        let line = bridge.wait_for_log("a proxy sends a PROXY protocol header");
        assert!(line.contains("\"network\":\"127.0.0.0/24\""), "{line}");
        assert_eq!(bridge.logged().matches("PROXY protocol").count(), 1);
    }
}

#[test]
fn a_tls_handshake_on_a_plain_port_is_400_and_logged_with_a_hint() {
    let bridge = start(&[]);
    assert_eq!(answers(&bridge, TLS), [400]);
    assert_counted(&bridge, &[(400, 1)]);
    bridge.wait_for_log("a client speaks TLS, but this listener speaks plain HTTP");
}

#[test]
fn http_2_is_logged_with_a_hint_and_counts_no_unsent_answer() {
    let bridge = start(&[]);
    assert_eq!(answers(&bridge, HTTP_2), [0_u16; 0]);
    bridge.wait_for_log("a client speaks HTTP/2 without TLS");
    assert_counted(&bridge, &[]);
}

#[test]
fn a_large_head_is_431_and_counted() {
    let bridge = start(&[]);
    let long = "x".repeat(20 << 10);
    let head = format!("POST / HTTP/1.1\r\nHost: bridge\r\nLarge: {long}\r\n\r\n");
    assert_eq!(answers(&bridge, head.as_bytes()), [431]);
    let target = format!("POST /{long} HTTP/1.1\r\nHost: bridge\r\n\r\n");
    assert_eq!(answers(&bridge, target.as_bytes()), [431]);
    assert_counted(&bridge, &[(431, 2)]);
}

#[test]
fn a_target_too_long_for_hyper_is_414_and_counted() {
    let bridge = start(&[("ingress.head_limit", "64 KiB")]);
    let long = "x".repeat(65_535);
    let target = format!("POST /{long} HTTP/1.1\r\nHost: bridge\r\n\r\n");
    let mut socket = TcpStream::connect(bridge.ingress).expect("the bridge listens");
    // A part below the limit first, so that the rest completes the target at once.
    let (first, rest) = target.as_bytes().split_at(65_000);
    socket.write_all(first).expect("the bridge reads");
    eventually(|| match &Queues::of(&bridge)[..] {
        [Queues { unread: 0, .. }] => Ok(()),
        other => Err(format!("{other:?}")),
    });
    socket.write_all(rest).expect("the bridge reads");
    assert_eq!(codes(&read(socket)), [414]);
    assert_counted(&bridge, &[(414, 1)]);
}

#[test]
fn a_proxy_header_before_tls_is_logged_with_a_hint() {
    let authority = Authority::new();
    authority.issue("server", 1, NOW);
    let settings = authority.settings();
    let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &borrowed(&settings));
    for header in [PROXY_1, PROXY_2] {
        let mut socket = TcpStream::connect(bridge.ingress).expect("the bridge listens");
        socket.write_all(header).expect("the bridge reads");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // The connection may also end by a reset.
        let _ended = socket.read_to_end(&mut Vec::new());
    }
    bridge.wait_for_metric(&failures("not_tls"), 2);
    let line = bridge.wait_for_log("\"not_tls\"");
    assert!(line.contains("PROXY protocol"), "{line}");
}
