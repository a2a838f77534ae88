//! TLS on the ingress.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

use crate::support::authority::{Authority, NOW, borrowed};
use crate::support::bridge::{Bridge, eventually};
use crate::support::cluster;
use crate::support::http::{Connection, body, post, report, request};
use crate::support::records::read_all;

pub fn secure(config: ClientConfig, socket: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
    let name = "127.0.0.1".try_into().expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a client");
    StreamOwned::new(client, socket)
}

/// Returns the series of the handshakes that failed for `reason`.
pub fn failures(reason: &str) -> String {
    format!("koobridge_tls_handshake_failures_total{{reason=\"{reason}\"}}")
}

fn open(bridge: &Bridge, config: ClientConfig) -> Connection {
    Connection::over(bridge.ingress, |socket| Box::new(secure(config, socket)))
}

/// Returns the certificate that a new connection is shown.
fn presented_certificate(bridge: &Bridge, authority: &Authority) -> Vec<u8> {
    let socket = TcpStream::connect(bridge.ingress).expect("the bridge listens");
    let mut stream = secure(authority.client(&[&TLS13]), socket);
    while stream.conn.is_handshaking() {
        stream
            .conn
            .complete_io(&mut stream.sock)
            .expect("a handshake");
    }
    let chain = stream.conn.peer_certificates().expect("a certificate");
    chain[0].to_vec()
}

fn der(path: &Path) -> Vec<u8> {
    CertificateDer::from_pem_file(path)
        .expect("a file")
        .to_vec()
}

#[test]
fn reports_are_accepted_over_tls_1_2_and_1_3_only() {
    let kafka = cluster::shared();
    let authority = Authority::new();
    authority.issue("server", 1, NOW);
    let settings = authority.settings();
    let (bridge, topic, _) = Bridge::with_topics(&kafka, 1, &borrowed(&settings));
    for version in [&TLS12, &TLS13] {
        let mut connection = open(&bridge, authority.client(&[version]));
        for _ in 0..2 {
            connection.send(&report(&body("m1", "read")));
            assert_eq!(connection.answer().status, 200);
        }
    }
    assert_eq!(read_all(kafka.bootstrap(), &topic).len(), 4);
    let mut plain = Connection::open(bridge.ingress);
    plain.send(&report(&body("m1", "read")));
    bridge.wait_for_metric(&failures("not_tls"), 1);
    assert_eq!(read_all(kafka.bootstrap(), &topic).len(), 4);
}

#[test]
fn a_new_certificate_is_shown_to_new_connections_and_open_ones_go_on() {
    let kafka = cluster::shared();
    let authority = Authority::new();
    authority.issue("server", 1, NOW);
    let settings = authority.settings();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &borrowed(&settings));
    let first = der(&authority.path("server.crt"));
    assert_eq!(presented_certificate(&bridge, &authority), first);
    let mut open = open(&bridge, authority.client(&[&TLS13]));
    open.send(&report(&body("m1", "read")));
    assert_eq!(open.answer().status, 200);

    authority.issue("server", 2, NOW);
    let second = der(&authority.path("server.crt"));
    eventually(|| {
        let presented = presented_certificate(&bridge, &authority);
        (presented == second)
            .then_some(())
            .ok_or_else(|| "the first certificate is still presented".to_owned())
    });
    open.send(&report(&body("m1", "read")));
    assert_eq!(open.answer().status, 200);

    // The key of another certificate.
    authority.issue("other", 3, NOW);
    fs::rename(authority.path("other.key"), authority.path("server.key")).expect("a file");
    let problem = eventually(|| bridge.stale("certificate").ok_or("not noticed".to_owned()));
    assert!(problem.contains("is not the key of"), "{problem}");
    assert_eq!(presented_certificate(&bridge, &authority), second);
    assert_eq!(bridge.metric("koobridge_stale{part=\"certificate\"}"), 1);

    authority.issue("server", 4, [2020, 2030]);
    bridge.wait_for_metric("koobridge_stale{part=\"certificate\"}", 0);
    assert_eq!(
        bridge.metric("koobridge_certificate_expiry_timestamp_seconds"),
        1_893_456_000
    );
}

/// Opens a connection, waits for an answer, and returns the kind of its handshake.
fn handshake(bridge: &Bridge, config: &ClientConfig) -> HandshakeKind {
    let socket = TcpStream::connect(bridge.ingress).expect("the bridge listens");
    let mut stream = secure(config.clone(), socket);
    let request = b"GET / HTTP/1.1\r\nHost: bridge\r\n\r\n";
    stream.write_all(request).expect("the bridge reads");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 404");
    stream.conn.handshake_kind().expect("it is over")
}

#[test]
fn sessions_of_many_senders_are_resumed_until_the_certificate_changes() {
    let kafka = cluster::shared();
    let authority = Authority::new();
    authority.issue("server", 1, NOW);
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &borrowed(&authority.settings()));
    let senders: Vec<ClientConfig> = [[&TLS12], [&TLS13]]
        .iter()
        .flat_map(|versions| (0..200).map(|_| authority.client(versions)))
        .collect();
    let resumed = || {
        let kinds = senders.iter().map(|config| handshake(&bridge, config));
        kinds.filter(|kind| *kind == HandshakeKind::Resumed).count()
    };
    assert_eq!(resumed(), 0, "there are no sessions yet");
    assert_eq!(resumed(), senders.len());

    authority.issue("server", 2, NOW);
    let second = der(&authority.path("server.crt"));
    eventually(|| {
        let presented = presented_certificate(&bridge, &authority);
        (presented == second)
            .then_some(())
            .ok_or("not yet".to_owned())
    });
    assert_eq!(resumed(), 0, "sessions of the old certificate");
}

#[test]
fn a_sender_needs_a_certificate_if_an_authority_is_configured() {
    let kafka = cluster::shared();
    let authority = Authority::new();
    authority.issue("server", 1, NOW);
    authority.issue("client", 2, NOW);
    let stranger = Authority::new();
    stranger.issue("client", 2, NOW);
    for suffix in ["crt", "key"] {
        let client = stranger.read(&format!("client.{suffix}"));
        authority.write(&format!("stranger.{suffix}"), &client);
    }
    let mut settings = authority.settings().to_vec();
    settings.push(("ingress.tls.client_ca", authority.setting("ca.crt")));
    let (bridge, topic, _) = Bridge::with_topics(&kafka, 1, &borrowed(&settings));

    // In TLS 1.2 the handshake fails on the client's side too.
    for name in [None, Some("stranger")] {
        let config = authority.client_as(&[&TLS12], name);
        let socket = TcpStream::connect(bridge.ingress).expect("the bridge listens");
        let mut stream = secure(config, socket);
        let refused = stream.conn.complete_io(&mut stream.sock);
        assert!(refused.is_err(), "{name:?}: {refused:?}");
    }
    bridge.wait_for_metric(&failures("client_certificate"), 2);
    let mut connection = open(&bridge, authority.client_as(&[&TLS13], Some("client")));
    connection.send(&report(&body("m1", "read")));
    assert_eq!(connection.answer().status, 200);
    assert_eq!(read_all(kafka.bootstrap(), &topic).len(), 1);
}

#[test]
fn a_handshake_times_out() {
    let authority = Authority::new();
    authority.issue("server", 1, NOW);
    let mut settings = authority.settings().to_vec();
    settings.push(("ingress.head_timeout", "300ms".to_owned()));
    let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &borrowed(&settings));
    let mut silent = Connection::open(bridge.ingress);
    assert!(silent.is_closed());
    bridge.wait_for_metric(&failures("timeout"), 1);
    bridge.wait_for_metric("koobridge_connections", 0);
}

/// Sends requests without a password and reads no answers, until the bridge stops reading.
fn flood(bridge: &Bridge, authority: &Authority) -> StreamOwned<ClientConnection, TcpStream> {
    let socket = TcpStream::connect(bridge.ingress).expect("the bridge listens");
    let patience = Some(Duration::from_millis(200));
    socket.set_write_timeout(patience).expect("a timeout");
    let mut stream = secure(authority.client(&[&TLS13]), socket);
    let requests = request(&post(), &[("Authorization", None)], b"").repeat(100);
    let stuck = (0..10_000).find(|_| stream.write_all(&requests).is_err());
    assert!(stuck.is_some(), "every request is read");
    stream
}

#[test]
fn a_peer_that_reads_nothing_is_closed() {
    let authority = Authority::new();
    authority.issue("server", 1, NOW);
    let mut settings = authority.settings().to_vec();
    settings.push(("ingress.idle_timeout", "500ms".to_owned()));
    let mut bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &borrowed(&settings));
    let _held = flood(&bridge, &authority);
    bridge.wait_for_metric("koobridge_connections", 0);
    let _held = flood(&bridge, &authority);
    bridge.signal(Signal::TERM);
    bridge.wait_for_exit();
}

#[test]
fn with_a_certificate_the_bridge_may_listen_on_any_address() {
    let authority = Authority::new();
    authority.issue("server", 1, NOW);
    let mut settings = authority.settings().to_vec();
    settings.push(("ingress.listen", "0.0.0.0:0".to_owned()));
    let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &borrowed(&settings));
    assert_eq!(bridge.metric("koobridge_ready"), 0);
}
