//! `koobridge dev`: runs the bridge with a demo channel on an embedded broker.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;

use crate::bridge::Identity;
use crate::bridge::app::{App, Broker};
use crate::bridge::metrics::ReportAnswer;
use crate::cli::Dev;
use crate::config::{Config, ConfigErrors, Sources};
use crate::contract::{ChannelId, Channels, Password, RejectedFields, SOURCE_PREFIX};
use crate::kafka::{self, EmbeddedBroker, OffsetRange, ReadStep, Reader};
use crate::{config, telemetry};

/// The channel of the interface document's sample.
const CHANNEL: &str = "202105102694809992";
const PASSWORD: &str = "koobridge-dev";
const PARTITIONS: u16 = 6;
/// How long the subscriber waits for a record before it checks whether it has to stop.
const POLL: Duration = Duration::from_millis(100);

pub(super) fn run(dev: &Dev) -> anyhow::Result<ExitCode> {
    telemetry::start_writer()?;
    let broker = EmbeddedBroker::start().context("can't start the embedded broker")?;
    let config = configure(dev, &broker)?;
    telemetry::start(config.log)?;
    for topic in [&config.kafka.topic, &config.kafka.rejected_topic] {
        broker
            .create_topic(topic, PARTITIONS)
            .context("can't create a topic")?;
    }
    let kafka = config.kafka.clone();
    let tls = config.ingress.tls.as_ref();
    let identity = tls.map(|files| Identity::load(files, Timestamp::now()));
    let identity = identity.transpose().map_err(ConfigErrors)?;
    let scheme = tls.map_or("http", |_| "https");
    let spool = config.spool.as_ref().map(|spool| spool.directory.clone());
    super::block_on(async {
        let app = App::start(config, demo_channel(), identity, Broker::Embedded, None).await?;
        let (ingress, admin) = app.addresses()?;
        print(&welcome_text(
            scheme,
            ingress,
            admin,
            &kafka,
            &broker.bootstrap_servers(),
        ));
        let subscribers = [
            Follower::start(&kafka, &kafka.topic)?,
            Follower::start(&kafka, &kafka.rejected_topic)?,
        ];
        let metrics = app.metrics();
        let end = app.run().await?;
        if subscribers.into_iter().all(Follower::stop) {
            let [accepted, rejected] = [ReportAnswer::Accepted, ReportAnswer::Rejected]
                .map(|answer| metrics.reports(answer));
            print(&format!(
                "\nReports accepted: {accepted}, rejected: {rejected}.\n"
            ));
        }
        Ok(super::exit_code(&end, spool.as_deref()))
    })
}

fn configure(dev: &Dev, broker: &EmbeddedBroker) -> Result<Config, config::ConfigErrors> {
    let own = [
        ("ingress.listen", dev.listen.to_string()),
        ("ingress.drain_delay", "0s".to_owned()),
        ("admin.listen", dev.admin_listen.to_string()),
        (
            "kafka.properties.bootstrap.servers",
            broker.bootstrap_servers(),
        ),
        ("log.level", "warn".to_owned()),
    ];
    let own = own.into_iter().map(|(key, value)| (key.to_owned(), value));
    let log = dev.log.setting().into_iter();
    let flags = own.chain(log).chain(dev.overrides.set.iter().cloned());
    let flags = flags.collect();
    let sources = Sources {
        flags,
        ..Sources::default()
    };
    Config::check(&config::Settings::gather(&sources), kafka::check_property)
}

fn demo_channel() -> Channels {
    let mut channels = Channels::default();
    let channel = ChannelId::parse(CHANNEL).expect("a channel id");
    let password = Password::parse(PASSWORD.as_bytes()).expect("a password");
    channels.insert(channel, password, None);
    channels
}

fn welcome_text(
    scheme: &str,
    ingress: SocketAddr,
    admin: SocketAddr,
    kafka: &config::Kafka,
    bootstrap: &str,
) -> String {
    let config::Kafka {
        topic,
        rejected_topic,
        ..
    } = kafka;
    let url = format!("{scheme}://{ingress}{SOURCE_PREFIX}{CHANNEL}");
    format!(
        "The bridge runs on an embedded broker. All data is in memory and is lost when it stops.\n\
         \n\
         \x20 report URL   {url}\n\
         \x20 password     {PASSWORD}\n\
         \x20 topics       {topic}, {rejected_topic}\n\
         \x20 Kafka        {bootstrap} (bootstrap address for other Kafka clients)\n\
         \x20 admin        http://{admin}/ (the status page), /readyz, /livez, /metrics\n\
         \n\
         Send it a report:\n\
         \n\
         curl -i {url} \\\n\
         \x20 -H 'Authorization: {PASSWORD}' \\\n\
         \x20 -H 'Content-Type: application/json; charset=UTF-8' \\\n\
         \x20 -d '{SAMPLE}'\n\
         \n\
         Events and rejected reports, read back from the topics (stop with Ctrl-C):\n"
    )
}

/// The interface document's sample.
const SAMPLE: &str = r#"{"sender":"86173xxxx4526","user_number":"86187xxxx5632","message_id":"044852ee407b40ec88ea65adb73ff5c27","status":"read"}"#;

/// A thread that prints each record of a topic as a subscriber reads it.
struct Follower {
    stop: Arc<AtomicBool>,
    ended: Receiver<()>,
}

impl Follower {
    fn start(config: &config::Kafka, topic: &str) -> anyhow::Result<Self> {
        let mut reader = Reader::open(&kafka::Settings::from(config), topic)?;
        let everything = |partition| OffsetRange {
            partition,
            first: 0,
            end: OffsetRange::ENDLESS,
        };
        let ranges: Vec<_> = (0..PARTITIONS.into()).map(everything).collect();
        reader.read(&ranges)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (end, ended) = mpsc::channel();
        thread::Builder::new()
            .name("subscriber".to_owned())
            .spawn({
                let stop = Arc::clone(&stop);
                move || {
                    while !stop.load(Ordering::Relaxed) {
                        // Read errors are ignored: the embedded broker does not refuse to be read.
                        if let Ok(ReadStep::Record(read)) = reader.next(POLL) {
                            let (partition, offset) = (read.partition(), read.offset());
                            let record = read.record();
                            let rejected = RejectedFields::of(&record)
                                .map(|fields| format!("rejected ({}), ", fields.reason))
                                .unwrap_or_default();
                            let value = record.value.unwrap_or_default();
                            let value = String::from_utf8_lossy(&value);
                            print(&format!(
                                "{rejected}partition {partition} offset {offset}: {value}\n"
                            ));
                        }
                    }
                    drop(end);
                }
            })?;
        Ok(Self { stop, ended })
    }

    /// Stops the thread; returns `false` if it is blocked because its output is not read.
    fn stop(self) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        self.ended.recv_timeout(10 * POLL) == Err(RecvTimeoutError::Disconnected)
    }
}

/// Prints and flushes. When standard output is closed, the bridge goes on.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _unread = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
