//! The open connections. They are few, and each serves one request within a short time.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::View;
use super::answer::answer;
use crate::telemetry::Throttle;

/// The limit on open connections. Probes and a scraper need few; a flood must not use up the files that the ingress
/// needs.
const LIMIT: usize = 64;
/// The largest head, in bytes.
const HEAD_LIMIT: usize = 16 << 10;
/// The time limit for a head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The time limit for a connection, including its head and its answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failure to accept, which usually means that no file descriptor is free.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts and serves connections until the future is dropped, which closes the open ones.
pub(super) async fn serve(socket: TcpListener, view: &Arc<View>) {
    let failed = Throttle::new();
    let mut connections = Connections::default();
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                connections.make_room().await;
                connections.open(stream, view);
            }
            Err(error) => {
                if let Some(times) = failed.count() {
                    warn!(%error, times, "can't accept admin connections");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// The open connections.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    /// The connections that were not aborted, in the order of acceptance.
    open: VecDeque<Open>,
}

struct Open {
    task: AbortHandle,
    /// Whether the head of its request is complete.
    has_head: Arc<AtomicBool>,
}

impl Connections {
    fn open(&mut self, stream: TcpStream, view: &Arc<View>) {
        let (view, has_head) = (Arc::clone(view), Arc::new(AtomicBool::new(false)));
        let task = serve_one(stream, view, Arc::clone(&has_head));
        let task = self.tasks.spawn(task);
        self.open.push_back(Open { task, has_head });
    }

    /// Makes room for one more connection. At the limit, this closes one and waits for its end.
    async fn make_room(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|open| !open.task.is_finished());
        while self.tasks.len() >= LIMIT {
            if let Some(displaced) = self.open.remove(displaced(&self.open)) {
                displaced.task.abort();
            }
            self.tasks.join_next().await;
        }
    }
}

/// Returns the index of the oldest connection without a complete head, or else of the oldest one: a probe sends its
/// head at once.
fn displaced(open: &VecDeque<Open>) -> usize {
    let is_headless = |open: &Open| !open.has_head.load(Ordering::Relaxed);
    open.iter().position(is_headless).unwrap_or_default()
}

async fn serve_one(stream: TcpStream, view: Arc<View>, has_head: Arc<AtomicBool>) {
    let service = service_fn(|request| {
        has_head.store(true, Ordering::Relaxed);
        let view = &view;
        async move { Ok::<_, Infallible>(answer(&request, view).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "an admin connection ended early"),
        Err(_) => debug!("an admin connection took too long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns connections with or without a complete head, as tasks that never end.
    fn connections(heads: &[bool]) -> Connections {
        let mut connections = Connections::default();
        for has_head in heads {
            connections.open.push_back(Open {
                task: connections.tasks.spawn(std::future::pending()),
                has_head: Arc::new(AtomicBool::new(*has_head)),
            });
        }
        connections
    }

    fn heads(connections: &Connections) -> Vec<bool> {
        let heads = connections.open.iter();
        heads
            .map(|open| open.has_head.load(Ordering::Relaxed))
            .collect()
    }

    #[tokio::test]
    async fn below_the_limit_no_connection_is_displaced() {
        let mut connections = connections(&[false; LIMIT - 1]);
        connections.make_room().await;
        assert_eq!(connections.tasks.len(), LIMIT - 1);
    }

    #[tokio::test]
    async fn at_the_limit_the_oldest_connection_without_a_head_is_displaced() {
        let mut sent = [true; LIMIT];
        sent[3] = false;
        sent[5] = false;
        let mut connections = connections(&sent);
        connections.make_room().await;
        assert_eq!(connections.tasks.len(), LIMIT - 1);
        let left = [&[true; 4][..], &[false], &[true; LIMIT - 6]].concat();
        assert_eq!(heads(&connections), left);
    }

    #[tokio::test]
    async fn the_oldest_connection_is_displaced_if_every_head_is_complete() {
        let mut connections = connections(&[true; LIMIT]);
        let oldest = connections.open[0].task.clone();
        connections.make_room().await;
        assert!(oldest.is_finished());
        assert_eq!(connections.tasks.len(), LIMIT - 1);
    }

    #[tokio::test]
    async fn ended_connections_are_removed() {
        let mut connections = connections(&[true; LIMIT]);
        for open in &connections.open {
            open.task.abort();
        }
        while !connections.open.iter().all(|open| open.task.is_finished()) {
            tokio::task::yield_now().await;
        }
        connections.make_room().await;
        assert_eq!((connections.tasks.len(), connections.open.len()), (0, 0));
    }
}
