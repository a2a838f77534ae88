//! The servers that are compared: each does what the one before does, and more.

use std::convert::Infallible;
use std::hint::black_box;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use koobridge::app::{App, Broker};
use koobridge::config::{Config, Settings, Typed};
use koobridge::contract::{
    Arrival, Authenticated, ChannelId, Channels, EventMode, Password, SOURCE_PREFIX,
};
use koobridge::kafka;
use tokio::runtime::Builder;

use crate::CHANNEL;

/// How far a server goes that is no bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Reads the body and answers 200.
    Bare,
    /// Finds the channel and compares its password first.
    Authenticate,
    /// And makes an event of the body.
    Normalise,
}

/// A hyper server on one current-thread runtime, as each of the bridge's workers is.
pub fn start(work: Work) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    let channels = Arc::new(channels());
    thread::spawn(move || {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(serve(listener, work, channels));
    });
    address
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
    let sender = (work != Work::Bare).then(|| authenticate(&request, channels));
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
        black_box(report.normalise(EventMode::Binary).into_record());
    }
    Response::new(Full::default())
}

fn authenticate(request: &Request<Incoming>, channels: &Channels) -> Authenticated {
    let channel = request.uri().path().strip_prefix(SOURCE_PREFIX);
    let password = request.headers().get(AUTHORIZATION);
    let password = password.map(hyper::header::HeaderValue::as_bytes);
    let sender = channels.authenticate(channel.expect("the path"), password);
    sender.expect("the password")
}

fn channels() -> Channels {
    let mut channels = Channels::default();
    let channel = ChannelId::parse(CHANNEL).expect("a channel id");
    let password = Password::parse(b"password").expect("a password");
    channels.insert(channel, password, None);
    channels
}

/// The bridge with one worker; its topics are there.
pub fn start_bridge(bootstrap: &str, topics: [&str; 2], broker: Broker) -> SocketAddr {
    let flags = [
        ("ingress.listen", "127.0.0.1:0"),
        ("ingress.workers", "1"),
        ("admin.listen", "127.0.0.1:0"),
        ("kafka.topic", topics[0]),
        ("kafka.rejected_topic", topics[1]),
        ("kafka.properties.bootstrap.servers", bootstrap),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let settings = Settings::gather(&Typed {
        flags: flags.to_vec(),
        ..Typed::default()
    });
    let config = Config::check(&settings, kafka::check_property).expect("a configuration");
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let app = App::start(config, channels(), None, broker);
            let app = app.await.expect("a bridge");
            let address = app.addresses().expect("addresses").0;
            tell.send(address).expect("somebody waits");
            app.run(None).await.expect("it runs");
        });
    });
    told.recv().expect("the bridge's address")
}
