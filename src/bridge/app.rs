//! Starts, runs and stops a bridge, for `serve` and for `dev`.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::blocking::on_thread;
use crate::bridge::admin::{self, Admin};
use crate::bridge::delivery::{self, Delivery, InFlight, Spooling, Topics, Undelivered};
use crate::bridge::ingress::{Listener, Workers};
use crate::bridge::metrics::Metrics;
use crate::bridge::open_files;
use crate::bridge::traces::Traces;
use crate::bridge::{
    Bridge, CountedChannels, Identity, Live, Part, Phase, ReloadableConfig, Watch,
};
use crate::config::{self, Config, Limits, SLACK};
use crate::contract::Channels;
use crate::kafka::{self, ClientCertificate, Settings};
use crate::spool;

/// The broker that a bridge publishes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broker {
    /// A Kafka cluster. The bridge reads the durability of its topics.
    Cluster,
    /// The embedded broker, which stores nothing.
    Embedded,
}

/// A running bridge.
pub struct App {
    config: Config,
    bridge: Arc<Bridge>,
    phase: watch::Sender<Phase>,
    listener: Listener,
    workers: Workers,
    /// The limit on open connections.
    connections: u32,
    admin: admin::Running,
    signals: Signals,
}

/// The way in which a bridge ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Every answer was sent, and no report remains undelivered.
    Drained,
    /// Every answer was sent, but undelivered reports remain in the spool, or unpromised ones in memory.
    Undelivered(Undelivered),
    /// A second signal ended it at once.
    Forced,
}

impl App {
    /// Opens both listeners and starts every thread. Kafka need not be reachable yet. If there is a `watch`, changes of
    /// the watched files are applied, at once when the `Signal` arrives.
    ///
    /// # Errors
    /// If an address can't be listened on, librdkafka rejects the settings as a whole, or the system can't start a
    /// thread.
    pub async fn start(
        config: Config,
        channels: Channels,
        identity: Option<Identity>,
        broker: Broker,
        watch: Option<(Watch, Signal)>,
    ) -> anyhow::Result<Self> {
        let signals = Signals::new().context("can't listen for signals")?;
        let admin = Admin::bind(&config.admin).with_context(|| {
            format!(
                "admin.listen: can't listen on {}; name another address",
                config.admin.listen
            )
        })?;
        let listener = Listener::bind(config.ingress.listen).with_context(|| {
            format!(
                "ingress.listen: can't listen on {}; name another address",
                config.ingress.listen
            )
        })?;
        let connections = connection_limit(config.ingress.connections.get());
        let metrics = Metrics::new();
        metrics.set_versions(kafka::version());
        show_limits(&config, connections, &metrics);
        for part in Part::ALL {
            metrics.register_reloadable(part.name());
        }
        for property in &config.kafka.unsafe_settings {
            warn!(
                property,
                "kafka.allow_unsafe permits an unsafe value of this property"
            );
            metrics.unsafe_setting(property);
        }
        let in_flight = InFlight {
            reports: config.ingress.reports_in_flight.get().into(),
            bytes: config.ingress.bytes_in_flight,
        };
        let spool = config.spool.as_ref();
        let delivery = start_delivery(&config.kafka, spool, in_flight, &metrics, broker)?;
        let traces = config.traces.as_ref();
        let traces = traces.map(|traces| {
            let dropped = metrics.trace_spans_dropped.clone();
            Traces::start(traces, &config, dropped)
        });
        let traces = traces.transpose()?;
        let certificate = ClientCertificate::of(&config.kafka);
        metrics.kafka_certificate_expires(certificate.map(|certificate| certificate.expires));
        let (phase, phases) = watch::channel(Phase::Serving);
        if let Some(identity) = &identity {
            identity.log_warnings();
            metrics.certificate_expires(identity.expires());
        }
        let channels = CountedChannels::new(channels, &metrics);
        let live = Live::new(channels, identity, ReloadableConfig::from(&config));
        let bridge = Bridge {
            live,
            delivery,
            event_format: config.kafka.event_format,
            metrics,
            traces,
            phase: phases,
        };
        let bridge = Arc::new(bridge);
        let admin = admin.start(Arc::clone(&bridge)).await;
        let admin = admin.context("can't start the admin listener")?;
        if let Some((watch, hang_up)) = watch {
            start_watching(watch, hang_up, &bridge, &config)?;
        }
        let workers = Workers::start(config.ingress.workers, &bridge)
            .context("can't start the worker threads")?;
        Ok(Self {
            config,
            bridge,
            phase,
            listener,
            workers,
            connections,
            admin,
            signals,
        })
    }

    /// Returns the addresses of the ingress and of the admin listener.
    ///
    /// # Errors
    /// If the system can't report an address.
    pub fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.listener.address()?, self.admin.address()))
    }

    /// Returns the bytes of the spool on disk, if there is a spool.
    #[must_use]
    pub fn spool_bytes(&self) -> Option<u64> {
        let level = self.bridge.delivery.spool_level();
        level.map(|level| level.bytes)
    }

    /// Returns the metrics.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.bridge.metrics)
    }

    /// Serves until a signal arrives, then drains. A second signal ends the bridge at once.
    ///
    /// # Errors
    /// If the runtime can't watch the listener.
    pub async fn run(self) -> anyhow::Result<End> {
        let Self {
            config,
            bridge,
            phase,
            listener,
            workers,
            connections,
            admin,
            mut signals,
        } = self;
        let acceptor = listener.open(&workers, connections as usize);
        let mut acceptor = acceptor.context("can't accept connections")?;
        tokio::select! {
            () = acceptor.run() => {}
            () = signals.next() => {}
        }
        let delay = config.ingress.drain_delay;
        info!(
            ?delay,
            "stopping: no longer ready, but still accepting reports for ingress.drain_delay; a second signal stops at once"
        );
        phase.send_replace(Phase::Draining);
        tokio::select! {
            () = acceptor.run() => {}
            () = sleep(delay) => {}
            () = signals.next() => return Ok(End::Forced),
        }
        let last = LastConnections::new(&bridge.live.config.load().limits, Instant::now());
        tokio::select! {
            () = acceptor.finish(last.accepted) => {}
            () = signals.next() => return Ok(End::Forced),
        }
        phase.send_replace(Phase::Closing);
        let flush_timeout = config.kafka.flush_timeout;
        info!(
            ?flush_timeout,
            in_flight = bridge.delivery.in_flight().reports,
            spooled = bridge.delivery.spool_level().map(|level| level.reports),
            "stopping: no new reports; delivering the others for up to kafka.flush_timeout"
        );
        let last_answers = finish(workers, last.cut, &bridge, flush_timeout);
        let end = tokio::select! {
            end = last_answers => end,
            () = signals.next() => End::Forced,
        };
        admin.stop().await;
        // Everything is flushed: if the producers were dropped, that would only wait for their threads.
        std::mem::forget(bridge);
        Ok(end)
    }
}

/// Starts the producers and opens the spool, as configured.
///
/// # Errors
/// If librdkafka rejects the settings as a whole, or the spool can't be owned.
pub fn start_delivery(
    kafka: &config::Kafka,
    spool: Option<&config::Spool>,
    in_flight: InFlight,
    metrics: &Arc<Metrics>,
    broker: Broker,
) -> anyhow::Result<Delivery> {
    let topics = Topics {
        events: kafka.topic.clone(),
        rejected: kafka.rejected_topic.clone(),
        producers: kafka.producers,
    };
    let spooling = spool.map(|spool| Spooling {
        spool: spool::Options {
            directory: spool.directory.clone(),
            disk_limit: spool.disk_limit,
            free_space: spool.free_space,
            memory: spool.memory,
        },
        after: spool.after,
    });
    let with_durability = broker == Broker::Cluster;
    Ok(Delivery::start(
        &Settings::for_producers(kafka, spool.is_some()),
        topics,
        delivery::InFlightLimits::new(in_flight),
        spooling,
        with_durability,
        metrics,
    )?)
}

fn show_limits(config: &Config, connections: u32, metrics: &Metrics) {
    let (ingress, limits) = (&config.ingress, &metrics.limits);
    let shown = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let reports = ingress.reports_in_flight.get().into();
    limits.reports_in_flight.set(reports);
    limits.bytes_in_flight.set(shown(ingress.bytes_in_flight));
    limits.connections.set(connections.into());
    let spool = config.spool.as_ref().map(|spool| spool.disk_limit);
    limits.spool_bytes.set(shown(spool.unwrap_or_default()));
}

fn start_watching(
    watch: Watch,
    mut hang_up: Signal,
    bridge: &Arc<Bridge>,
    config: &Config,
) -> anyhow::Result<()> {
    let mut asks = Vec::new();
    // Kafka's files have a separate thread, because a check with Kafka can take long.
    for (name, watch) in ["reload", "reload-kafka"].into_iter().zip(watch.split()) {
        let (ask, asked) = mpsc::channel();
        asks.push(ask);
        let (bridge, config) = (Arc::clone(bridge), config.clone());
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || watch.run(&bridge, &config, &asked))
            .context("can't start the thread that watches files for changes")?;
    }
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            if asks.iter().any(|ask| ask.send(()).is_err()) {
                return;
            }
        }
    });
    Ok(())
}

/// The deadlines of the last connections when a bridge stops.
struct LastConnections {
    /// Connections are accepted until then. By then, every answer in progress has reached its deadline and freed its
    /// permit.
    accepted: Instant,
    /// Connections are cut then. By then, the last accepted one has had the time for a head or, if its head is
    /// complete, for an answer.
    cut: Instant,
}

impl LastConnections {
    fn new(limits: &Limits, now: Instant) -> Self {
        let accepted = now + limits.deadline + SLACK;
        let cut = accepted + limits.deadline.max(limits.head_timeout) + SLACK;
        Self { accepted, cut }
    }
}

/// Waits for the last answers, then for Kafka's acknowledgements. Unacknowledged reports then go to the spool.
async fn finish(
    workers: Workers,
    cut: Instant,
    bridge: &Arc<Bridge>,
    flush_timeout: Duration,
) -> End {
    let bridge = Arc::clone(bridge);
    end_of(move || {
        workers.join(cut);
        let left = bridge.delivery.finish(flush_timeout);
        if let Some(traces) = &bridge.traces {
            traces.finish();
        }
        left
    })
    .await
}

/// Runs the last work of a bridge on a separate thread, and returns how the bridge ended.
pub async fn end_of(finish: impl FnOnce() -> Undelivered + Send + 'static) -> End {
    let left = match on_thread("stop", finish) {
        Ok(finished) => finished.await.expect("stopping does not panic"),
        Err((error, finish)) => {
            warn!(%error, "can't start the thread that stops the bridge: a second signal has no effect");
            finish()
        }
    };
    if left.is_empty() {
        End::Drained
    } else {
        End::Undelivered(left)
    }
}

/// Returns the limit on open connections: the configured one, or less if the system does not allow that many files.
fn connection_limit(configured: u32) -> u32 {
    let configured = u64::from(configured);
    let needed = open_files::files_needed(configured);
    let allowed = open_files::raise(needed).unwrap_or_else(|error| {
        warn!(%error, "can't raise the limit on open files");
        open_files::current_limit()
    });
    let limit = allowed.map_or(configured, |allowed| {
        open_files::connections(configured, allowed)
    });
    if limit < configured {
        warn!(
            limit,
            configured,
            open_files = allowed,
            needed,
            "the limit on open files allows fewer connections than ingress.connections: raise the limit (systemd: \
             LimitNOFILE=, shell: ulimit -n) or lower ingress.connections"
        );
    }
    u32::try_from(limit).unwrap_or(u32::MAX)
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts to receive the signals. From then on, they do not end the process.
    ///
    /// # Errors
    /// If the runtime can't receive them.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
