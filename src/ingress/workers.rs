//! The threads that serve connections: each a current-thread runtime, which costs less for each
//! request than one runtime over all threads. What they share is in `delivery`.

use std::net::{IpAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::warn;

use super::places::Place;
use super::{Bridge, connection};
use crate::delivery::Postbox;
use crate::metrics::Metrics;

/// An accepted connection, its peer, and its place among those that may be open.
pub(super) type Accepted = (TcpStream, IpAddr, Place);

/// The worker threads. They end when every sender of connections is gone and every connection
/// has ended.
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    hand_out: HandOut,
    metrics: Arc<Metrics>,
}

/// Hands connections out, one worker after the other.
#[derive(Clone)]
pub(super) struct HandOut {
    workers: Vec<mpsc::UnboundedSender<Accepted>>,
    next: Arc<AtomicUsize>,
}

impl HandOut {
    /// Gives a connection to the next worker. The channel is bounded by the places.
    pub(super) fn give(&self, accepted: Accepted) {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        if self.workers[next].send(accepted).is_err() {
            warn!(
                worker = next,
                "a worker is gone, and its connection with it"
            );
        }
    }
}

impl Workers {
    /// Starts `count` workers.
    ///
    /// # Panics
    /// Where the system can't start a thread or a runtime.
    #[must_use]
    pub fn start(count: NonZeroUsize, bridge: &Arc<Bridge>) -> Self {
        let mut threads = Vec::with_capacity(count.get());
        let mut workers = Vec::with_capacity(count.get());
        for number in 0..count.get() {
            let (connections, accepted) = mpsc::unbounded_channel();
            let bridge = Arc::clone(bridge);
            let thread = thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    let runtime = runtime::Builder::new_current_thread().enable_all().build();
                    let runtime = runtime.expect("the system can start a runtime");
                    runtime.block_on(work(accepted, &bridge));
                })
                .expect("the system can start a thread");
            threads.push(thread);
            workers.push(connections);
        }
        Self {
            threads,
            hand_out: HandOut {
                workers,
                next: Arc::default(),
            },
            metrics: Arc::clone(&bridge.metrics),
        }
    }

    pub(super) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    pub(super) fn hand_out(&self) -> HandOut {
        self.hand_out.clone()
    }

    /// Waits until every connection has ended. Blocks: not for a runtime's thread. The listener
    /// must be gone, and the bridge closing.
    pub fn join(self) {
        drop(self.hand_out);
        for thread in self.threads {
            if thread.join().is_err() {
                warn!("a worker panicked");
            }
        }
    }
}

async fn work(mut accepted: mpsc::UnboundedReceiver<Accepted>, bridge: &Arc<Bridge>) {
    tokio::spawn(Postbox::attend());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = accepted.recv() => match accepted {
                Some(accepted) => _ = connections.spawn(serve(accepted, Arc::clone(bridge))),
                None => break,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn serve((stream, peer, place): Accepted, bridge: Arc<Bridge>) {
    match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => connection::serve(stream, peer, &place, &bridge).await,
        Err(error) => warn!(%error, "a connection could not be served"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn joining_lets_the_workers_end_and_waits_until_they_have() {
        let (connections, mut accepted) = mpsc::unbounded_channel();
        let has_ended = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&has_ended);
        let worker = thread::spawn(move || {
            assert!(accepted.blocking_recv().is_none());
            // Long enough for whoever does not wait to be past the end of the test.
            (0..10_000).for_each(|_| thread::yield_now());
            ending.store(true, Ordering::Relaxed);
        });
        let workers = Workers {
            threads: vec![worker],
            hand_out: HandOut {
                workers: vec![connections],
                next: Arc::default(),
            },
            metrics: Metrics::new(),
        };
        workers.join();
        assert!(has_ended.load(Ordering::Relaxed));
    }
}
