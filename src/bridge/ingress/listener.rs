//! The listening socket. Accepts connections up to the limit, from the allowed networks.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{SockFilter, SockRef};
use tokio::time::{sleep, timeout, timeout_at};
use tracing::{debug, warn};

use super::access;
use super::limiter::ConnectionLimiter;
use super::state::State;
use super::workers::{Dispatcher, Workers};
use crate::bridge::Bridge;
use crate::telemetry::Throttle;

/// The number of connections that may wait to be accepted; the system may lower it. The standard library's 128 are too
/// few for a burst: clients try again only after 1, 3, 7, … seconds.
const BACKLOG: i32 = 4096;
/// The sizes of the system's buffers of a connection, in bytes; the system doubles both. Answers are short, and a head
/// and a body need a few round trips. By default, a sender that reads no answers, or sends unread bytes, could occupy
/// megabytes.
const SEND_BUFFER: usize = 16 << 10;
const RECEIVE_BUFFER: usize = 64 << 10;
/// How long the system keeps bytes that a peer does not acknowledge. By default, it keeps the last answers of closed
/// connections for minutes.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// Pause after a failure to accept, which usually means that no file descriptor is free.
const PAUSE: Duration = Duration::from_millis(100);
/// When no connection arrives for this long, a closing listener regards its queue as empty. A connection in its TCP
/// handshake needs one round trip.
const QUIET: Duration = Duration::from_millis(200);

/// A listening socket that has not accepted anything yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
}

impl Listener {
    /// Listens on `address`; port 0 lets the system choose.
    ///
    /// # Errors
    /// If the address is in use or does not belong to this machine.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        let options = SockRef::from(&socket);
        // Accepted connections inherit these options.
        options.set_send_buffer_size(SEND_BUFFER)?;
        options.set_recv_buffer_size(RECEIVE_BUFFER)?;
        options.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
        options.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// Returns the address with the port that the system chose.
    ///
    /// # Errors
    /// If the system can't report the address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Starts to accept connections for `workers`, of which `limit` may be open.
    ///
    /// # Errors
    /// If the runtime can't watch the socket.
    pub fn open(self, workers: &Workers, limit: usize) -> io::Result<Acceptor> {
        let bridge = Arc::clone(workers.bridge());
        let first_state = match bridge.live.identity {
            Some(_) => State::Handshake,
            None => State::Idle,
        };
        Ok(Acceptor {
            socket: tokio::net::TcpListener::from_std(self.socket)?,
            limiter: ConnectionLimiter::new(limit, first_state, Arc::clone(&bridge.metrics)),
            dispatcher: workers.dispatcher(),
            bridge,
            waiting: None,
            failed: Throttle::new(),
            refused: Throttle::new(),
        })
    }
}

/// Accepts connections and distributes them to the workers.
pub struct Acceptor {
    socket: tokio::net::TcpListener,
    limiter: Arc<ConnectionLimiter>,
    dispatcher: Dispatcher,
    bridge: Arc<Bridge>,
    /// A connection that waits for a permit.
    waiting: Option<(TcpStream, IpAddr)>,
    failed: Throttle,
    refused: Throttle,
}

impl Acceptor {
    /// Accepts connections until the future is dropped. No connection is lost then.
    pub async fn run(&mut self) {
        loop {
            self.wait_for_one().await;
            self.dispatch_waiting().await;
        }
    }

    /// Accepts the connections that are already in the queue, until `end` at most, and then closes the listener: when a
    /// listener closes, the system resets the connections in its queue.
    pub async fn finish(mut self, end: Instant) {
        if let Err(error) = SockRef::from(&self.socket).attach_filter(&WITHOUT_SYN) {
            debug!(%error, "can't block new connections before the listener closes");
        }
        let all = async {
            while timeout(QUIET, self.wait_for_one()).await.is_ok() {
                self.dispatch_waiting().await;
            }
        };
        if timeout_at(end.into(), all).await.is_err() {
            warn!("the listener closed while connections waited for a free permit: they are cut");
        }
    }

    async fn wait_for_one(&mut self) {
        if self.waiting.is_none() {
            self.waiting = self.accept().await;
        }
    }

    async fn dispatch_waiting(&mut self) {
        if self.waiting.is_some() {
            // Only after the accept, so that no connection is displaced in vain.
            let permit = self.limiter.acquire().await;
            if let Some((stream, peer)) = self.waiting.take() {
                self.dispatcher.dispatch((stream, peer, permit));
            }
        }
    }

    async fn accept(&self) -> Option<(TcpStream, IpAddr)> {
        match accept(&self.socket).await {
            Ok((stream, peer)) if self.admits(peer) => Some((stream, peer)),
            Ok(_refused) => None,
            Err(error) => {
                if let Some(times) = self.failed.count() {
                    warn!(%error, times, "can't accept connections");
                }
                self.limiter.displace_one();
                sleep(PAUSE).await;
                None
            }
        }
    }

    /// Returns whether any request from this peer could be admitted.
    fn admits(&self, peer: IpAddr) -> bool {
        let is_admitted = access::admits_peer(&self.bridge.live.config.load().access, peer);
        if !is_admitted {
            self.bridge.metrics.connections_refused.inc();
            if let Some(times) = self.refused.count() {
                let network = access::network(peer.to_canonical()).to_string();
                warn!(
                    network,
                    times, "connections were closed: ingress.allow does not include their network"
                );
            }
        }
        is_admitted
    }
}

/// Accepts a connection, and takes it off this runtime, because a worker's runtime will serve it.
async fn accept(socket: &tokio::net::TcpListener) -> io::Result<(TcpStream, IpAddr)> {
    let (stream, peer) = socket.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream.into_std()?, peer.ip()))
}

/// A classic BPF program over the TCP header that drops segments with SYN: a peer that connects now tries again and is
/// then refused. Handshakes that have begun are completed.
const WITHOUT_SYN: [SockFilter; 4] = {
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(JUMP_IF_SET, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
};
