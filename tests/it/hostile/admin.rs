//! Floods of connections to the admin port, and web pages that try to read it.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::queues::Queues;
use super::runtime;
use crate::support::bridge::{BUSY, Bridge, PASSWORD};
use crate::support::http::{Connection, Response, exchange, path, request};

/// The time limit of a request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The time limit of a connection.
const LONGEST: Duration = Duration::from_secs(10);

/// Connections of each kind and round.
const EACH: usize = 150;
const ROUNDS: usize = 3;
const CHANNELS: usize = 10_000;
/// Larger than the socket buffers of a connection whose peer reads nothing.
const LARGE: usize = 1 << 20;

const SCRAPE: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// The bytes that each kind of connection in a flood sends; no answer is read.
const KINDS: [&[u8]; 3] = [b"", b"G", SCRAPE];

#[test]
fn probes_and_scrapes_are_answered_during_a_flood_that_times_out() {
    let (bridge, _channels) = with_many_channels();
    runtime();
    let mut flood = Vec::new();
    for _ in 0..ROUNDS {
        flood.extend(open_flood(bridge.admin));
        for (path, status) in [("/livez", 200), ("/readyz", 503), ("/metrics", 200)] {
            let asked = Instant::now();
            assert_eq!(bridge.probe(path).status, status, "{path}");
            let took = asked.elapsed();
            assert!(took < HEAD_TIMEOUT, "{path} took {took:?}");
        }
    }
    let last = Instant::now();
    while !Queues::at(&bridge, bridge.admin).is_empty() {
        assert!(last.elapsed() < LONGEST + BUSY, "connections stay open");
        assert_eq!(bridge.probe("/livez").status, 200);
    }
    assert_eq!(flood.len(), ROUNDS * EACH * KINDS.len());
}

#[test]
fn a_stop_does_not_wait_for_a_flood_of_the_admin_port() {
    let mut bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &[]);
    runtime();
    let _flood = open_flood(bridge.admin);
    assert_eq!(bridge.probe("/livez").status, 200);
    let told = Instant::now();
    bridge.signal(Signal::TERM);
    assert_eq!(bridge.wait_for_exit().code(), Some(0));
    assert!(told.elapsed() < HEAD_TIMEOUT, "took {:?}", told.elapsed());
}

#[test]
fn each_admin_answer_has_security_headers_and_closes() {
    let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &[]);
    for request in [
        "GET / HTTP/1.1\r\nHost: localhost",
        "GET /status HTTP/1.1\r\nHost: localhost",
        "GET /status.js HTTP/1.1\r\nHost: localhost",
        "GET /status.css HTTP/1.1\r\nHost: localhost",
        "GET /livez HTTP/1.1\r\nHost: localhost",
        "GET /startupz HTTP/1.1\r\nHost: localhost",
        "GET /readyz HTTP/1.1\r\nHost: localhost",
        "GET /metrics HTTP/1.1\r\nHost: localhost",
        "GET /other HTTP/1.1\r\nHost: localhost",
        "POST /metrics HTTP/1.1\r\nHost: localhost",
        "GET / HTTP/1.1\r\nHost: web.example",
        "GET / HTTP/1.1",
    ] {
        let mut connection = Connection::open(bridge.admin);
        connection.send(format!("{request}\r\n\r\n").as_bytes());
        let answer = connection.answer();
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("connection", "close"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{request}: {name}");
        }
        assert!(connection.is_closed(), "{request}");
    }
}

#[test]
fn a_host_that_is_not_configured_is_421_on_any_path() {
    let settings = [("admin.hosts", "koobridge.monitoring.svc")];
    let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &settings);
    let get = |path: &str, host: &str| -> Response {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        exchange(bridge.admin, request.as_bytes())
    };
    for path in ["/", "/status.js", "/livez", "/readyz", "/metrics"] {
        let answer = get(path, "web.example:18447");
        assert_eq!(answer.status, 421, "{path}");
        assert!(answer.text().contains("admin.hosts"), "{}", answer.text());
    }
    for host in [
        "localhost:18447",
        "10.1.2.3:18447",
        "KooBridge.monitoring.svc",
    ] {
        assert_eq!(get("/livez", host).status, 200, "{host}");
    }
    assert_eq!(get("/livez", "a\r\nHost: localhost").status, 400);
    let old = exchange(bridge.admin, b"GET /livez HTTP/1.0\r\n\r\n");
    assert_eq!(old.status, 200);
}

/// Opens connections of each kind at once.
fn open_flood(admin: SocketAddr) -> Vec<TcpStream> {
    let kinds = KINDS.iter().flat_map(|sent| [sent; EACH]);
    let open = |sent: &&[u8]| {
        let mut stream = TcpStream::connect(admin).expect("the bridge listens");
        // The bridge may have closed it already to make room.
        let _sent = stream.write_all(sent);
        stream
    };
    kinds.map(open).collect()
}

/// Starts a bridge whose metrics have a series for each of many channels.
fn with_many_channels() -> (Bridge, TempDir) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let channels: Vec<String> = (0..CHANNELS)
        .map(|number| format!("{number:064}"))
        .collect();
    for channel in &channels {
        fs::write(directory.path().join(channel), PASSWORD).expect("a channel");
    }
    let path = directory.path().display().to_string();
    let settings = [("ingress.channels", &*path)];
    let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &settings);
    fail_to_authenticate(bridge.ingress, &channels);
    assert!(bridge.probe("/metrics").body.len() > LARGE);
    (bridge, directory)
}

/// Sends a wrong password for each channel.
fn fail_to_authenticate(ingress: SocketAddr, channels: &[String]) {
    let mut connection = Connection::open(ingress);
    for batch in channels.chunks(50) {
        let requests = batch.iter().map(|channel| {
            let line = format!("POST {} HTTP/1.1", path(channel));
            request(&line, &[("Authorization", Some("wrong"))], b"")
        });
        connection.send(&requests.collect::<Vec<_>>().concat());
        for _ in batch {
            assert_eq!(connection.answer().status, 401);
        }
    }
}
