//! Ten thousand connections that begin a head or a handshake, never complete it, and come back when they are closed.
//! The senders with a password are not disturbed, and the bridge stops within its limit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::rustls::version::TLS13;

use super::normal::Normal;
use super::{LONG_DEADLINE, assert_kept, read_to_close, runtime};
use crate::support::authority::{Authority, NOW, borrowed};
use crate::support::bridge::{BUSY, Bridge, eventually};
use crate::support::cluster;
use crate::support::http::{Connection, body, report};
use crate::tls::secure;

/// The default of `ingress.connections`; more senders than that connect.
const LIMIT: u64 = 10_000;
const SENDERS: u64 = LIMIT + 300;
/// Long enough to reach the limit on connections. It also ends heads and handshakes when the bridge stops.
const HEAD_TIMEOUT: (&str, &str) = ("ingress.head_timeout", "10s");
/// The longest time that a stop may take: the deadline, a head, two seconds, and the flush.
const STOP_LIMIT: Duration = Duration::from_secs(30 + 10 + 2 + 10);
/// The pause before a closed connection is opened again.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// The first byte of a head, and of a TLS record with a handshake.
const HEAD: u8 = b'P';
const HANDSHAKE: u8 = 22;

// One after the other, because both together need more files than many systems allow a process.
#[test]
fn ten_thousand_slow_connections_exclude_no_sender_and_delay_no_stop() {
    assert_serves_beside_crowd(HEAD, &[], Connection::open);

    let authority = Authority::new();
    authority.issue("server", 1, NOW);
    let client = authority.client(&[&TLS13]);
    let files = authority.settings();
    assert_serves_beside_crowd(HANDSHAKE, &borrowed(&files), move |ingress| {
        Connection::over(ingress, |socket| Box::new(secure(client.clone(), socket)))
    });
}

fn assert_serves_beside_crowd(
    byte: u8,
    settings: &[(&str, &str)],
    open: impl Fn(SocketAddr) -> Connection + Clone + Send + 'static,
) {
    let kafka = cluster::shared();
    let settings = [settings, &[LONG_DEADLINE, HEAD_TIMEOUT]].concat();
    let (mut bridge, topic, rejected) = Bridge::with_topics(&kafka, 6, &settings);
    let ingress = bridge.ingress;
    let open_idle = open.clone();
    let normal = Normal::start(move || open(ingress));
    // This sender pauses, so that its connection is mostly idle.
    let mut idle = open_idle(ingress);
    send(&mut idle, "first");
    let crowd = Crowd::start(ingress, byte);
    bridge.wait_for_metric("koobridge_connections", LIMIT);
    let displaced = bridge.metric("koobridge_connections_displaced_total");
    eventually(|| {
        let now = bridge.metric("koobridge_connections_displaced_total");
        let enough = now >= displaced + SENDERS - LIMIT;
        enough.then_some(()).ok_or(format!("{now} were displaced"))
    });
    send(&mut idle, "second");
    let mut sent = normal.stop("10,000 that begin and go no further");
    sent.extend(["first", "second"].map(|id| (id.to_owned(), "read".to_owned())));

    bridge.signal(Signal::TERM);
    let started = Instant::now();
    let status = bridge.wait_for_exit();
    let took = started.elapsed();
    drop(crowd);
    assert_eq!(status.code(), Some(0), "{}", bridge.logged());
    assert!(took < STOP_LIMIT + BUSY, "{took:?}");
    assert_kept(&kafka, [&topic, &rejected], sent);
}

fn send(sender: &mut Connection, id: &str) {
    sender.send(&report(&body(id, "read")));
    assert_eq!(sender.answer().status, 200, "{id}");
}

/// The connections, on a thread that ends when this is dropped.
struct Crowd {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    fn start(bridge: SocketAddr, byte: u8) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || {
                runtime().block_on(async {
                    let mut senders = JoinSet::new();
                    for _ in 0..SENDERS {
                        senders.spawn(connect_repeatedly(bridge, byte));
                    }
                    while !is_over.load(Ordering::Relaxed) {
                        sleep(RECONNECT_PAUSE).await;
                    }
                });
            }
        });
        Self {
            is_over,
            thread: Some(thread),
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

async fn connect_repeatedly(bridge: SocketAddr, byte: u8) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(bridge).await
            && stream.write_all(&[byte]).await.is_ok()
        {
            read_to_close(&mut stream).await;
        }
        sleep(RECONNECT_PAUSE).await;
    }
}
