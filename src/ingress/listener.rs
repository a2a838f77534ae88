//! The listening socket: accepts connections as far as the ceiling allows.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::time::Duration;

use rustix::net::listen;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use tokio::time::sleep;
use tracing::warn;

use super::places::Places;
use super::workers::Workers;
use crate::telemetry::Throttle;

/// How many connections may wait to be accepted; the system caps it. With the 128 of the standard library a
/// burst overflows, and whoever does not fit in is tried again after 1, 3, 7, … seconds.
const BACKLOG: i32 = 4096;
/// What the system may hold of a connection in each direction; it doubles both. Answers are short, and a
/// head and a body come in a few round trips. By itself it would let a sender that reads no answers, or
/// sends what is not read, have megabytes.
const SEND_BUFFER: usize = 16 << 10;
const RECEIVE_BUFFER: usize = 64 << 10;
/// How long to wait after accepting failed: no file descriptors left, most of the time.
const PAUSE: Duration = Duration::from_millis(100);

/// A listening socket that has not accepted anything yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
}

impl Listener {
    /// Listens on `address`; port 0 lets the system choose.
    ///
    /// # Errors
    /// Where the address is taken or not this machine's.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        // Connections have what the listening socket has.
        set_socket_send_buffer_size(&socket, SEND_BUFFER)?;
        set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
        listen(&socket, BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// The address with the port that was chosen.
    ///
    /// # Errors
    /// What the system reports.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts connections and hands them out, until the future is dropped; no more than `ceiling`
    /// are open.
    ///
    /// # Errors
    /// Where the runtime can't watch the socket.
    pub async fn accept(self, workers: &Workers, ceiling: NonZeroU32) -> io::Result<()> {
        let hand_out = workers.hand_out();
        let failed = Throttle::new();
        let socket = tokio::net::TcpListener::from_std(self.socket)?;
        let ceiling = usize::try_from(ceiling.get()).unwrap_or(usize::MAX);
        let places = Places::new(ceiling, workers.metrics());
        loop {
            match accept_one(&socket).await {
                // Only now: nobody leaves a place for a connection that could not be accepted.
                Ok((stream, peer)) => hand_out.give((stream, peer, places.take().await)),
                Err(error) => {
                    if let Some(times) = failed.count() {
                        warn!(%error, times, "accepting connections failed");
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// The stream leaves this runtime: it is to be registered with a worker's.
async fn accept_one(socket: &tokio::net::TcpListener) -> io::Result<(TcpStream, IpAddr)> {
    let (stream, peer) = socket.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream.into_std()?, peer.ip()))
}
