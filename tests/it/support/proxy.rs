//! A TCP proxy in front of every broker, to cut, stall and slow down the network.

use std::io;
use std::net::{Ipv4Addr, TcpListener as Listener};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

/// The capacity for delayed chunks in one direction of a connection.
const DELAYED_CHUNKS: usize = 4096;

/// The state of the network, for all connections.
#[derive(Clone, Copy, Default)]
struct Network {
    round_trip: Duration,
    is_stalled: bool,
    /// The number of cuts so far.
    cuts: u64,
    is_over: bool,
}

pub struct Proxy {
    network: watch::Sender<Network>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Forwards connections from the second port of each pair to the first.
    pub fn start(ports: Vec<[u16; 2]>) -> Self {
        let listen = |[to, at]: [u16; 2]| {
            let listener = Listener::bind((Ipv4Addr::LOCALHOST, at)).expect("a free port");
            listener.set_nonblocking(true).expect("a socket");
            (to, listener)
        };
        let listeners: Vec<(u16, Listener)> = ports.into_iter().map(listen).collect();
        let (network, state) = watch::channel(Network::default());
        let thread = thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(run(listeners, state));
        });
        Self {
            network,
            thread: Some(thread),
        }
    }

    /// Closes every connection; new connections are accepted.
    pub fn cut(&self) {
        self.network.send_modify(|network| network.cuts += 1);
    }

    /// Holds back every byte, or releases them.
    pub fn stall(&self, is_stalled: bool) {
        self.network
            .send_modify(|network| network.is_stalled = is_stalled);
    }

    pub fn set_round_trip(&self, time: Duration) {
        self.network
            .send_modify(|network| network.round_trip = time);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.network.send_modify(|network| network.is_over = true);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the proxy runs");
        }
    }
}

async fn run(listeners: Vec<(u16, Listener)>, mut network: watch::Receiver<Network>) {
    let mut accepting = JoinSet::new();
    for (to, listener) in listeners {
        let listener = TcpListener::from_std(listener).expect("a socket");
        accepting.spawn(accept(listener, to, network.clone()));
    }
    let over = network.wait_for(|network| network.is_over).await;
    over.expect("its sender says so first");
}

async fn accept(listener: TcpListener, to: u16, network: watch::Receiver<Network>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("a client");
        connections.spawn(forward(client, to, network.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// Forwards one connection until an end closes it or it is cut.
async fn forward(mut client: TcpStream, to: u16, mut network: watch::Receiver<Network>) {
    let Ok(mut broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else {
        return;
    };
    for stream in [&client, &broker] {
        stream.set_nodelay(true).expect("a socket");
    }
    let (from_client, to_client) = client.split();
    let (from_broker, to_broker) = broker.split();
    let cuts = network.borrow().cuts;
    let (there, back) = (network.clone(), network.clone());
    let both = async {
        tokio::try_join!(
            copy_delayed(from_client, to_broker, there),
            copy_delayed(from_broker, to_client, back)
        )
    };
    // Both sockets are closed in every case.
    tokio::select! {
        _ = both => {}
        _ = network.wait_for(|network| network.cuts != cuts) => {}
    }
}

/// Delays each chunk by half a round trip. The end of the stream is an error, so that the other direction ends too.
async fn copy_delayed(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut network: watch::Receiver<Network>,
) -> io::Result<()> {
    let (sender, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(DELAYED_CHUNKS);
    let state = network.clone();
    let read = async move {
        loop {
            let mut chunk = Vec::with_capacity(16 << 10);
            if from.read_buf(&mut chunk).await? == 0 {
                return Err::<(), _>(io::ErrorKind::UnexpectedEof.into());
            }
            let due = Instant::now() + state.borrow().round_trip / 2;
            sender.send((due, chunk)).await.map_err(io::Error::other)?;
        }
    };
    let write = async move {
        while let Some((due, chunk)) = under_way.recv().await {
            sleep_until(due.into()).await;
            let flows = network.wait_for(|network| !network.is_stalled).await;
            drop(flows.map_err(io::Error::other)?);
            to.write_all(&chunk).await?;
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(drop)
}
