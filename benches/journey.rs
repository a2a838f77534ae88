//! What the journey of a report costs beside a bare hyper POST, in one run.
//!
//! `cargo bench --bench journey` alternates between a hyper server that reads the body and answers
//! 200, and the whole bridge on the embedded broker, and prints CPU time a request and requests a
//! second. The CPU time is that of every thread of this process but the mock broker's, from the
//! kernel's own accounts; the load comes from another process. Beside it stands what the metrics of a
//! report take. Ratios hold; absolute figures are this machine's.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use koobridge::app::{App, Broker};
use koobridge::config::{Config, Settings, Typed};
use koobridge::contract::{ChannelId, Channels, Password, SOURCE_PREFIX};
use koobridge::kafka::{self, EmbeddedBroker};
use koobridge::metrics::{Metrics, ReportAnswer, ReportFate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

const ROUNDS: usize = 5;
const SECONDS: u64 = 4;
const CONNECTIONS: usize = 256;
const COUNTED: u32 = 1_000_000;
const CHANNEL: &str = "202105102694809992";
const BODY: &str = r#"{"sender":"86173xxxx4526","user_number":"86187xxxx5632","message_id":"044852ee407b40ec88ea65adb73ff5c2","status":"read","conversation":"0123456789abcdef0123456789abcdef"}"#;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match &arguments[1..] {
        [load, address] if load == "--load" => {
            println!("{}", send_reports(address.parse().expect("an address")));
        }
        _ => compare(),
    }
}

fn compare() {
    let broker = EmbeddedBroker::start().expect("an embedded broker");
    let bare = start_bare();
    let journey = start_bridge(&broker);
    let mut samples = [Vec::new(), Vec::new()];
    println!("{CONNECTIONS} connections, {SECONDS} s a sample, {ROUNDS} rounds, 1 worker each");
    println!("{:>12} {:>14} {:>14}", "", "CPU µs/request", "requests/s");
    for round in 0..=ROUNDS {
        for (index, (name, address)) in [("bare POST", bare), ("journey", journey)]
            .into_iter()
            .enumerate()
        {
            let sample = measure(address);
            // The first round warms up.
            if round > 0 {
                println!("{name:>12} {:>14.2} {:>14.0}", sample.micros, sample.rate);
                samples[index].push(sample);
            }
        }
    }
    let ratios: Vec<f64> = samples[0]
        .iter()
        .zip(&samples[1])
        .map(|(bare, journey)| journey.micros / bare.micros)
        .collect();
    println!(
        "median CPU ratio, journey to bare POST: {:.2}",
        median(ratios)
    );
    let micros = median((0..ROUNDS).map(|_| count_reports()).collect());
    let journey = median(samples[1].iter().map(|sample| sample.micros).collect());
    println!(
        "metrics: {micros:.2} µs a report, {:.1} % of the journey",
        micros / journey * 100.0
    );
}

/// What it takes to tell the metrics everything of a report, in microseconds.
fn count_reports() -> f64 {
    let metrics = Metrics::new();
    let channel = ChannelId::parse(CHANNEL).expect("a channel id");
    let before = cpu_time();
    for _ in 0..COUNTED {
        // In the order of a report's journey; the times are taken for the metrics alone, too.
        let complete = Instant::now();
        metrics.reports_in_flight.inc();
        metrics.bytes_in_flight.inc_by(1);
        metrics.report_received(&channel, "read");
        let handed_over = Instant::now();
        metrics.acknowledged(handed_over.elapsed());
        metrics.report_settled(ReportFate::Delivered);
        metrics.reports_in_flight.dec();
        metrics.bytes_in_flight.dec_by(1);
        metrics.answered(200);
        metrics.report_answered(ReportAnswer::Accepted, complete.elapsed());
    }
    used_since(&before).as_secs_f64() * 1e6 / f64::from(COUNTED)
}

struct Sample {
    micros: f64,
    rate: f64,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One sample: the load's own process counts the answers, the kernel this one's CPU time.
fn measure(address: SocketAddr) -> Sample {
    let before = cpu_time();
    let started = Instant::now();
    let load = Command::new(std::env::current_exe().expect("this program"))
        .args(["--load", &address.to_string()])
        .output()
        .expect("the load runs");
    let took = started.elapsed();
    let used = used_since(&before);
    let count = String::from_utf8(load.stdout).expect("text");
    let count: f64 = count.trim().parse().expect("a count");
    Sample {
        micros: used.as_secs_f64() * 1e6 / count,
        rate: count / took.as_secs_f64(),
    }
}

fn used_since(before: &HashMap<String, Duration>) -> Duration {
    let used = cpu_time();
    let used = used.iter().map(|(thread, time)| {
        let before = before.get(thread).copied().unwrap_or_default();
        time.saturating_sub(before)
    });
    used.sum()
}

/// The CPU time of each thread that counts.
fn cpu_time() -> HashMap<String, Duration> {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    let paths = tasks.map(|task| task.expect("a task").path());
    paths
        .filter(|path| {
            fs::read_to_string(path.join("comm")).is_ok_and(|name| !name.starts_with("rdk:mock"))
        })
        .filter_map(|path| {
            let schedstat = fs::read_to_string(path.join("schedstat")).ok()?;
            let nanos = schedstat.split(' ').next()?.parse().ok()?;
            Some((path.display().to_string(), Duration::from_nanos(nanos)))
        })
        .collect()
}

fn start_bare() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                stream.set_nodelay(true).expect("no delay");
                tokio::spawn(
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(bare)),
                );
            }
        });
    });
    address
}

async fn bare(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.expect("a body");
    assert!(!body.to_bytes().is_empty());
    Ok(Response::new(Full::default()))
}

fn start_bridge(broker: &EmbeddedBroker) -> SocketAddr {
    let flags = [
        ("ingress.listen", "127.0.0.1:0".to_owned()),
        ("ingress.workers", "1".to_owned()),
        ("admin.listen", "127.0.0.1:0".to_owned()),
        (
            "kafka.properties.bootstrap.servers",
            broker.bootstrap_servers(),
        ),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value)).to_vec();
    let settings = Settings::gather(&Typed {
        flags,
        ..Typed::default()
    });
    let config = Config::check(&settings, kafka::check_property).expect("a configuration");
    for topic in [&config.kafka.topic, &config.kafka.rejected_topic] {
        broker.create_topic(topic, 6).expect("a topic");
    }
    let mut channels = Channels::default();
    let channel = ChannelId::parse(CHANNEL).expect("a channel id");
    channels.insert(
        channel,
        Password::parse(b"password").expect("a password"),
        None,
    );
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let app = App::start(config, channels, None, Broker::Embedded)
                .await
                .expect("a bridge");
            tell.send(app.addresses().expect("addresses").0)
                .expect("somebody waits");
            app.run(None).await.expect("it runs");
        });
    });
    told.recv().expect("the bridge's address")
}

/// Sends reports over many connections, each as soon as the one before is answered.
fn send_reports(address: SocketAddr) -> u64 {
    let request = format!(
        "POST {SOURCE_PREFIX}{CHANNEL} HTTP/1.1\r\nHost: bench\r\nAuthorization: password\r\n\
         Content-Type: application/json; charset=UTF-8\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let until = Instant::now() + Duration::from_secs(SECONDS);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut senders = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let request = request.clone().into_bytes();
            senders.spawn(async move { send_until(address, &request, until).await });
        }
        senders.join_all().await.into_iter().sum()
    })
}

async fn send_until(address: SocketAddr, request: &[u8], until: Instant) -> u64 {
    let mut stream = TcpStream::connect(address)
        .await
        .expect("the server listens");
    stream.set_nodelay(true).expect("no delay");
    let mut answer = [0; 1024];
    let mut count = 0;
    while Instant::now() < until {
        stream.write_all(request).await.expect("the server reads");
        let mut length = 0;
        while !answer[..length].ends_with(b"\r\n\r\n") {
            length += stream.read(&mut answer[length..]).await.expect("an answer");
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            answer[..length].escape_ascii()
        );
        count += 1;
    }
    count
}
