//! The threads that serve connections: each a current-thread runtime, which costs less for each
//! request than one runtime over all threads. What they share is in `delivery`.

use std::io;
use std::net::{IpAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc as blocking};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use tracing::warn;

use super::connection;
use super::limiter::ConnectionPermit;
use crate::bridge::Bridge;
use crate::bridge::delivery::Replies;

/// An accepted connection, its peer, and its permit.
pub(super) type Accepted = (TcpStream, IpAddr, ConnectionPermit);

/// Pause between two looks at whether the workers have ended.
const LOOK: Duration = Duration::from_millis(10);
/// How much later than its connections a worker may end.
const STUCK: Duration = Duration::from_secs(1);

/// The worker threads. They end when every sender of connections is gone and every connection
/// has ended, or has had its time.
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    hand_out: HandOut,
    bridge: Arc<Bridge>,
    /// When connections that are still open are cut; set once no more can come.
    cut: Arc<OnceLock<Instant>>,
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
        let cut = Arc::new(OnceLock::new());
        for number in 0..count.get() {
            let (connections, accepted) = mpsc::unbounded_channel();
            let (bridge, cut) = (Arc::clone(bridge), Arc::clone(&cut));
            let (report, started) = blocking::channel();
            let thread = thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    // Here: a runtime must not be dropped on the caller's thread, which has one, if no thread starts.
                    let runtime = Builder::new_current_thread().enable_all().build();
                    match runtime {
                        Ok(runtime) => {
                            let _heard = report.send(Ok(()));
                            serve_all(runtime, accepted, &bridge, &cut);
                        }
                        Err(error) => _ = report.send(Err(error)),
                    }
                })?;
            started.recv().map_err(io::Error::other)??;
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
            cut,
        })
    }

    pub(super) fn bridge(&self) -> &Arc<Bridge> {
        &self.bridge
    }

    pub(super) fn hand_out(&self) -> HandOut {
        self.hand_out.clone()
    }

    /// Waits until every connection has ended, and cuts those that have not at `cut`. Blocks: not for a runtime's
    /// thread. The listener must be gone, and the bridge closing.
    pub fn join(self, cut: Instant) {
        let cut = *self.cut.get_or_init(|| cut);
        drop(self.hand_out);
        // Each worker ends by itself. One that does not is stuck, and the rest of the stop must not wait for it.
        let until = cut + STUCK;
        let are_ended = || self.threads.iter().all(JoinHandle::is_finished);
        while !are_ended() && Instant::now() < until {
            thread::park_timeout(LOOK);
        }
        if !are_ended() {
            warn!("a worker thread did not end in time: its connections are cut");
        }
    }
}

fn serve_all(
    runtime: Runtime,
    accepted: mpsc::UnboundedReceiver<Accepted>,
    bridge: &Arc<Bridge>,
    cut: &OnceLock<Instant>,
) {
    runtime.block_on(async {
        tokio::spawn(Replies::wake_in_batches());
        let mut connections = serve_until_closed(accepted, bridge).await;
        let all = async { while connections.join_next().await.is_some() {} };
        let cut = cut.get().copied().unwrap_or_else(Instant::now);
        let ended = timeout_at(cut.into(), all).await;
        if ended.is_err() {
            let left = connections.len();
            warn!(left, "connections did not end in time: they are cut");
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
        Err(error) => warn!(%error, "can't serve a connection"),
    }
}
