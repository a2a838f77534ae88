//! Servers to compare with the bridge. Each does more work than the one before, in a separate process.

use std::convert::Infallible;
use std::hint::black_box;
use std::net::TcpListener;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use koobridge::contract::{
    Arrival, Authenticated, ChannelId, Channels, EventMode, Password, SOURCE_PREFIX,
};
use tokio::runtime::Builder;

use crate::client::{FIRST_CHANNEL, PASSWORD};

/// The argument that makes this program one of the servers.
pub const FLAG: &str = "--serve";

/// The work of such a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Reads the body and answers 200.
    Bare,
    /// The same as `Bare`, on tokio's multi-thread runtime.
    Threads,
    /// Also finds the channel and compares its password.
    Authenticate,
    /// Also makes an event from the body.
    Normalise,
}

impl Work {
    const ALL: [(Self, &str); 4] = [
        (Self::Bare, "bare"),
        (Self::Threads, "threads"),
        (Self::Authenticate, "authenticate"),
        (Self::Normalise, "normalise"),
    ];

    pub fn name(self) -> &'static str {
        let (_, name) = Self::ALL
            .iter()
            .find(|(work, _)| *work == self)
            .expect("one of all");
        name
    }

    fn is_bare(self) -> bool {
        matches!(self, Self::Bare | Self::Threads)
    }

    fn named(name: &str) -> Self {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .expect("a server")
            .0
    }
}

/// Runs a hyper server, which prints its address. It has a current-thread runtime, as each worker of the bridge, except
/// with [`Work::Threads`].
pub fn run(name: &str) {
    let work = Work::named(name);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    println!("{}", listener.local_addr().expect("an address"));
    let channels = Arc::new(channels());
    let mut builder = match work {
        Work::Threads => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build().expect("a runtime");
    // Accepting is a task too: otherwise it would stay on this thread with the multi-thread runtime.
    let serving = runtime.spawn(serve(listener, work, channels));
    runtime.block_on(serving).expect("it serves for ever");
}

async fn serve(listener: TcpListener, work: Work, channels: Arc<Channels>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        let channels = Arc::clone(&channels);
        let service = service_fn(move |request| {
            let channels = Arc::clone(&channels);
            async move { Ok::<_, Infallible>(respond(request, work, &channels).await) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn respond(
    request: Request<Incoming>,
    work: Work,
    channels: &Channels,
) -> Response<Full<Bytes>> {
    let sender = (!work.is_bare()).then(|| authenticate(&request, channels));
    let body = request
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    assert!(!body.is_empty());
    if let Some(sender) = sender.filter(|_| work == Work::Normalise) {
        let at = Timestamp::now();
        let received = sender.sent(Arrival { at, trace: None }, body.to_vec());
        let report = received.validate().expect("a sound report");
        black_box(report.normalise(EventMode::Binary.into()).into_record());
    }
    Response::new(Full::default())
}

fn authenticate(request: &Request<Incoming>, channels: &Channels) -> Authenticated {
    let channel = request.uri().path().strip_prefix(SOURCE_PREFIX);
    let password = request.headers().get(AUTHORIZATION);
    let password = password.map(hyper::header::HeaderValue::as_bytes);
    let sender = channels.authenticate(channel.expect("the path"), password, Timestamp::UNIX_EPOCH);
    sender.expect("the password")
}

fn channels() -> Channels {
    let mut channels = Channels::default();
    let channel = ChannelId::parse(&FIRST_CHANNEL.to_string()).expect("a channel id");
    let password = Password::parse(PASSWORD.as_bytes()).expect("a password");
    channels.insert(channel, password, None);
    channels
}
