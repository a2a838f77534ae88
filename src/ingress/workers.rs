//! The threads that serve connections: each a current-thread runtime, which costs less for each
//! request than one runtime over all threads. What they share is in `delivery`.

use std::io;
use std::net::{IpAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

use super::limiter::ConnectionPermit;
use super::stream::LINGER;
use super::{Bridge, connection};
use crate::delivery::Postbox;

/// An accepted connection, its peer, and its permit.
pub(super) type Accepted = (TcpStream, IpAddr, ConnectionPermit);

/// Pause between two looks at whether the workers have ended.
const LOOK: Duration = Duration::from_millis(10);

/// The worker threads. They end when every sender of connections is gone and every connection
/// has ended, or has had its time.
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    hand_out: HandOut,
    bridge: Arc<Bridge>,
}

/// Hands connections out, one worker after the other.
#[derive(Clone)]
pub(super) struct HandOut {
    workers: Vec<mpsc::UnboundedSender<Accepted>>,
    next: Arc<AtomicUsize>,
}

impl HandOut {
    /// Gives a connection to the next worker. The permits bound the channel.
    pub(super) fn give(&self, accepted: Accepted) {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        // A worker that is gone is one that panicked, which ends the process.
        let _gone = self.workers[next].send(accepted);
    }
}

impl Workers {
    /// Starts `count` workers.
    ///
    /// # Errors
    /// If the system can't start a thread or a runtime.
    pub fn start(count: NonZeroUsize, bridge: &Arc<Bridge>) -> io::Result<Self> {
        let mut threads = Vec::with_capacity(count.get());
        let mut workers = Vec::with_capacity(count.get());
        for number in 0..count.get() {
            let (connections, accepted) = mpsc::unbounded_channel();
            let bridge = Arc::clone(bridge);
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let thread = thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || serve_all(runtime, accepted, &bridge))?;
            threads.push(thread);
            workers.push(connections);
        }
        Ok(Self {
            threads,
            hand_out: HandOut {
                workers,
                next: Arc::default(),
            },
            bridge: Arc::clone(bridge),
        })
    }

    pub(super) fn bridge(&self) -> &Arc<Bridge> {
        &self.bridge
    }

    pub(super) fn hand_out(&self) -> HandOut {
        self.hand_out.clone()
    }

    /// Waits until every connection has ended, or has had its time. Blocks: not for a runtime's thread. The
    /// listener must be gone, and the bridge closing.
    pub fn join(self) {
        drop(self.hand_out);
        // Each worker ends by itself. One that does not is stuck, and the rest of the stop must not wait for it.
        let until = Instant::now() + time_to_close(&self.bridge) + LINGER;
        let are_ended = || self.threads.iter().all(JoinHandle::is_finished);
        while !are_ended() && Instant::now() < until {
            thread::park_timeout(LOOK);
        }
        if !are_ended() {
            warn!("a worker is stuck: its connections are cut");
        }
    }
}

/// Returns how long a connection may go on once the bridge closes: a head that is under way has its time,
/// its request has the deadline, and its answer a second.
fn time_to_close(bridge: &Bridge) -> Duration {
    let limits = bridge.live.rules.load().limits;
    limits.head_timeout + limits.deadline + LINGER
}

fn serve_all(runtime: Runtime, accepted: mpsc::UnboundedReceiver<Accepted>, bridge: &Arc<Bridge>) {
    runtime.block_on(async {
        tokio::spawn(Postbox::attend());
        let mut connections = serve_until_closed(accepted, bridge).await;
        let all = async { while connections.join_next().await.is_some() {} };
        let ended = timeout(time_to_close(bridge), all).await;
        if ended.is_err() {
            let left = connections.len();
            warn!(left, "connections that do not end are cut");
        }
    });
}

/// Serves connections until no more can come. Returns those that are left.
async fn serve_until_closed(
    mut accepted: mpsc::UnboundedReceiver<Accepted>,
    bridge: &Arc<Bridge>,
) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = accepted.recv() => match accepted {
                Some(accepted) => _ = connections.spawn(serve(accepted, Arc::clone(bridge))),
                None => return connections,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve((stream, peer, permit): Accepted, bridge: Arc<Bridge>) {
    match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => connection::serve(stream, peer, &permit, &bridge).await,
        Err(error) => warn!(%error, "a connection could not be served"),
    }
}
