//! An ingress in this process, on a loopback address, with one channel and the embedded broker.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, LazyLock};
use std::thread;

use koobridge::bridge::app::{Broker, start_delivery};
use koobridge::bridge::delivery::InFlight;
use koobridge::bridge::ingress::{Listener, Workers};
use koobridge::bridge::metrics::Metrics;
use koobridge::bridge::{Bridge, CountedChannels, Live, Phase, ReloadableConfig};
use koobridge::config::{Config, Settings, Sources};
use koobridge::contract::{ChannelId, Channels, Password};
use koobridge::kafka::{self, EmbeddedBroker};
use tokio::runtime::Builder;
use tokio::sync::watch;

pub const CHANNEL: &str = "202105102694809992";
pub const PASSWORD: &str = "s3cret, with spaces";

/// The address of the ingress. It starts on first use and serves until the process ends.
pub static ADDRESS: LazyLock<SocketAddr> = LazyLock::new(|| {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || serve(&tell));
    told.recv().expect("the bridge listens")
});

fn serve(tell: &Sender<SocketAddr>) {
    let broker = EmbeddedBroker::start().expect("an embedded broker");
    let config = configure(&broker);
    let metrics = Metrics::new();
    let in_flight = InFlight {
        reports: config.ingress.reports_in_flight.get().into(),
        bytes: config.ingress.bytes_in_flight,
    };
    let delivery = start_delivery(&config.kafka, None, in_flight, &metrics, Broker::Embedded);
    let delivery = delivery.expect("producers");
    let channels = CountedChannels::new(channels(), &metrics);
    let live = Live::new(channels, None, ReloadableConfig::from(&config));
    let (_phase, phases) = watch::channel(Phase::Serving);
    let bridge = Arc::new(Bridge {
        live,
        delivery,
        event_format: config.kafka.event_format,
        metrics,
        traces: None,
        phase: phases,
    });
    let listener = Listener::bind(config.ingress.listen).expect("a free port");
    let workers = Workers::start(NonZeroUsize::MIN, &bridge).expect("a worker");
    tell.send(listener.address().expect("an address"))
        .expect("an open channel");
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let acceptor = listener.open(&workers, CONNECTIONS);
        acceptor.expect("a socket").run().await;
    });
}

const CONNECTIONS: usize = 10_000;

/// Uses the lowest limits, so that a short input exceeds them, and no linger time.
fn configure(broker: &EmbeddedBroker) -> Config {
    let flags = [
        ("ingress.listen", "127.0.0.1:0"),
        ("ingress.head_limit", "8KiB"),
        ("ingress.body_limit", "1KiB"),
        ("kafka.properties.linger.ms", "0"),
        (
            "kafka.properties.bootstrap.servers",
            &broker.bootstrap_servers(),
        ),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let sources = Sources {
        flags: flags.to_vec(),
        ..Sources::default()
    };
    let settings = Settings::gather(&sources);
    let config = Config::check(&settings, kafka::check_property).expect("a configuration");
    for topic in [&config.kafka.topic, &config.kafka.rejected_topic] {
        broker.create_topic(topic, 1).expect("a topic");
    }
    config
}

fn channels() -> Channels {
    let mut channels = Channels::default();
    let channel = ChannelId::parse(CHANNEL).expect("a channel id");
    let password = Password::parse(PASSWORD.as_bytes()).expect("a password");
    channels.insert(channel, password, None);
    channels
}
