//! The admin listener: probes, metrics and the status page for the operator. Nothing here changes
//! anything.
//!
//! It has a thread of its own, so that it answers however busy the ingress and the main thread are.
//! `connections` limits how much and how long a peer can hold, `hosts` keeps web pages from reading the
//! answers, `renderer` renders metrics and pages on another thread, and `answer` has the paths. All that they
//! say of the bridge is one `snapshot`.

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

/// How many connections may wait to be accepted; the system caps it.
const BACKLOG: i32 = 1024;
/// How many bytes the system may hold of a connection in each direction; it doubles both. Metrics can be
/// megabytes, and a request is small.
const SEND_BUFFER: usize = 256 << 10;
const RECEIVE_BUFFER: usize = 16 << 10;
/// How often the state is observed.
const OBSERVE: Duration = Duration::from_secs(1);
/// How long a stop waits for the listener's thread.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// The listening socket of probes, metrics and the status page.
#[derive(Debug)]
pub struct Admin {
    socket: TcpListener,
    hosts: Hosts,
}

/// The thread that answers. It is told to end when this is dropped.
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
    /// If the address is taken or not this machine's.
    pub fn bind(config: &config::Admin) -> io::Result<Self> {
        let socket = TcpListener::bind(config.listen)?;
        let options = SockRef::from(&socket);
        // Connections have what the listening socket has.
        options.set_send_buffer_size(SEND_BUFFER)?;
        options.set_recv_buffer_size(RECEIVE_BUFFER)?;
        // A connection that is closed with an answer that its peer does not read would stay for minutes.
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
    /// The address with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener and its connections. It waits for no peer.
    pub async fn stop(self) {
        drop(self.stop);
        if timeout(STOP_TIMEOUT, self.ended).await.is_err() {
            warn!("the admin listener's thread has not ended; it ends with the process");
        }
    }
}

/// A runtime for one thread, the socket as that runtime watches it, and the renderer.
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

    /// Answers until `stopped` is, or its sender is dropped.
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

    /// Observes the state regularly: a change of readiness counts once it has lasted, the page shows the last
    /// minutes, and reports that wait for too long are logged.
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

    /// Renders the page once Kafka has answered, or has owed its answer for [`SILENT`].
    async fn page(self: &Arc<Self>) -> String {
        self.bridge.delivery.poll_view().poll_now(SILENT).await;
        let view = Arc::clone(self);
        let render = move |_: &mut _| page::html(&view.snapshot(), &view.history);
        self.renderer.run(render).await
    }

    /// Returns the metrics, encoded after `asked` unless too many earlier texts are still being sent.
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
