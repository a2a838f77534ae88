//! The threads that serve connections. Each has a current-thread runtime, which costs less per request than one runtime
//! for all threads.

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

/// Pause between two checks whether the workers have ended.
const POLL: Duration = Duration::from_millis(10);
/// The time that a worker has to end after its connections were cut.
const JOIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The worker threads. They end when every sender of connections is dropped and every connection has ended or was cut.
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    dispatcher: Dispatcher,
    bridge: Arc<Bridge>,
    /// When open connections are cut. It is set when no more connections can arrive.
    cut: Arc<OnceLock<Instant>>,
}

/// Distributes connections to the workers in turn.
#[derive(Clone)]
pub(super) struct Dispatcher {
    workers: Vec<mpsc::UnboundedSender<Accepted>>,
    next: Arc<AtomicUsize>,
}

impl Dispatcher {
    /// Sends a connection to the next worker. The permits limit the length of the channel.
    pub(super) fn dispatch(&self, accepted: Accepted) {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        // A worker is gone only if it panicked, which ends the process.
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
                    // Built here, because it must not be dropped on the caller's thread, which has a runtime, when no
                    // thread starts.
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
            dispatcher: Dispatcher {
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

    pub(super) fn dispatcher(&self) -> Dispatcher {
        self.dispatcher.clone()
    }

    /// Waits until every connection has ended, and cuts the remaining ones at `cut`. The listener must be closed, and
    /// the bridge closing. Blocks, so it must not run on a runtime's thread.
    pub fn join(self, cut: Instant) {
        let cut = *self.cut.get_or_init(|| cut);
        drop(self.dispatcher);
        // Each worker ends by itself. When one is stuck, stopping the bridge must not wait for it.
        let until = cut + JOIN_TIMEOUT;
        let are_ended = || self.threads.iter().all(JoinHandle::is_finished);
        while !are_ended() && Instant::now() < until {
            thread::park_timeout(POLL);
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

/// Serves connections until no more can arrive. Returns the connections that are still open.
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
