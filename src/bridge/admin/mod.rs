//! The admin listener: probes, metrics and the status page for the operator. It is read-only.
//!
//! It has its own thread, so that it answers even if the ingress and the main thread are busy. `connections` limits the
//! connections, `hosts` prevents web pages from reading the answers, `renderer` renders metrics and pages on another
//! thread, and `answer` has the paths. All answers about the state are made from a `snapshot`.

mod answer;
mod connections;
mod debounce;
mod exposition;
mod gauges;
mod history;
mod hosts;
mod late;
mod page;
mod readiness;
mod renderer;
mod snapshot;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use socket2::SockRef;
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::bridge::Bridge;
use crate::config;
use debounce::Debounce;
use exposition::Exposition;
use history::History;
use hosts::Hosts;
use late::LateLog;
use renderer::Renderer;
use snapshot::{SILENT, Snapshot};

/// The number of connections that may wait to be accepted; the system may lower it.
const BACKLOG: i32 = 1024;
/// The sizes of the system's buffers of a connection, in bytes; the system doubles both. Metrics can be megabytes, and
/// a request is small.
const SEND_BUFFER: usize = 256 << 10;
const RECEIVE_BUFFER: usize = 16 << 10;
/// How often the state is observed.
const OBSERVE: Duration = Duration::from_secs(1);
/// How long `stop` waits for the listener's thread.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// The listening socket of probes, metrics and the status page.
#[derive(Debug)]
pub struct Admin {
    socket: TcpListener,
    hosts: Hosts,
}

/// The running thread. When this is dropped, the thread ends.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Admin {
    /// Listens on the configured address; port 0 lets the system choose.
    ///
    /// # Errors
    /// If the address is in use or does not belong to this machine.
    pub fn bind(config: &config::Admin) -> io::Result<Self> {
        let socket = TcpListener::bind(config.listen)?;
        let options = SockRef::from(&socket);
        // Accepted connections inherit these options.
        options.set_send_buffer_size(SEND_BUFFER)?;
        options.set_recv_buffer_size(RECEIVE_BUFFER)?;
        // Otherwise a closed connection would stay for minutes when its peer does not read the answer.
        options.set_tcp_user_timeout(Some(connections::TIMEOUT))?;
        options.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            hosts: Hosts::new(config.hosts.clone()),
        })
    }

    /// Starts the thread that answers.
    ///
    /// # Errors
    /// If the system can't start a thread or a runtime, or watch the socket.
    pub async fn start(self, bridge: Arc<Bridge>) -> io::Result<Running> {
        let address = self.socket.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let (report, started) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let answer = move || {
            match prepare(self.socket) {
                Ok((runtime, socket, renderer)) => {
                    let view = Arc::new(View::new(bridge, self.hosts, renderer));
                    let _heard = report.send(Ok(()));
                    runtime.block_on(view.serve(socket, stopped));
                }
                Err(error) => _ = report.send(Err(error)),
            }
            let _heard = end.send(());
        };
        let thread = thread::Builder::new().name("admin".to_owned());
        thread.spawn(answer)?;
        started.await.map_err(io::Error::other)??;
        Ok(Running {
            address,
            stop,
            ended,
        })
    }
}

impl Running {
    /// Returns the address with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener and its connections, without waiting for peers.
    pub async fn stop(self) {
        drop(self.stop);
        if timeout(STOP_TIMEOUT, self.ended).await.is_err() {
            warn!("the admin thread did not stop in time; it ends with the process");
        }
    }
}

/// Starts the runtime and the renderer, and registers the socket with the runtime.
fn prepare(socket: TcpListener) -> io::Result<(Runtime, tokio::net::TcpListener, Renderer)> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let entered = runtime.enter();
    let socket = tokio::net::TcpListener::from_std(socket)?;
    drop(entered);
    Ok((runtime, socket, Renderer::start()?))
}

/// The bridge, and the state of the admin listener.
struct View {
    bridge: Arc<Bridge>,
    hosts: Hosts,
    debounce: Debounce,
    history: History,
    renderer: Renderer,
    started: Instant,
}

impl View {
    fn new(bridge: Arc<Bridge>, hosts: Hosts, renderer: Renderer) -> Self {
        Self {
            bridge,
            hosts,
            debounce: Debounce::default(),
            history: History::default(),
            renderer,
            started: Instant::now(),
        }
    }

    /// Answers until `stopped` is ready, which it also is when its sender is dropped.
    async fn serve(
        self: Arc<Self>,
        socket: tokio::net::TcpListener,
        stopped: oneshot::Receiver<()>,
    ) {
        tokio::select! {
            _ = stopped => {}
            () = self.observe() => {}
            () = connections::serve(socket, &self) => {}
        }
    }

    /// Observes the state regularly, for the debounced readiness, for the history, and to log reports that wait for too
    /// long.
    async fn observe(&self) {
        let mut late = LateLog::default();
        loop {
            let snapshot = self.snapshot();
            self.history.observe(&snapshot);
            late.log(&snapshot);
            sleep(OBSERVE).await;
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.bridge, &self.debounce, &self.history, self.started)
    }

    /// Renders the page after Kafka has answered, or has not answered for [`SILENT`].
    async fn page(self: &Arc<Self>) -> String {
        self.bridge.delivery.poll_view().poll_now(SILENT).await;
        let view = Arc::clone(self);
        let render = move |_: &mut _| page::html(&view.snapshot(), &view.history);
        self.renderer.run(render).await
    }

    /// Returns the metrics. They are encoded after `asked`, unless too many earlier texts are still being sent.
    async fn metrics(self: &Arc<Self>, format: Exposition, asked: Instant) -> Bytes {
        let view = Arc::clone(self);
        let encode = move || {
            let metrics = &view.bridge.metrics;
            gauges::set(metrics, &view.snapshot());
            match format {
                Exposition::OpenMetrics => metrics.text(),
                Exposition::Classic => metrics.classic_text(),
            }
        };
        self.renderer
            .run(move |texts| texts.since(format, asked, encode))
            .await
    }
}
