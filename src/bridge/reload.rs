//! Reloads passwords, certificates, the configuration file and the files that it names for Kafka, while the bridge
//! serves. When one of them changes, it is read again and its state is swapped as a whole. If it can't be applied, the
//! previous state stays in use, and the problem is logged and shown.
//!
//! The metadata of the files is polled. This also works without file events (network file systems, some mounts), and
//! follows the symbolic links by which Kubernetes swaps a mounted Secret.

mod files;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::{info, warn};

use files::{Contents, Files};

use crate::bridge::channels;
use crate::bridge::{Bridge, CountedChannels, Identity, Part, ReloadableConfig};
use crate::config::{Config, ConfigError, ConfigErrors, Settings, Sources, Tls};
use crate::kafka;

/// The interval at which files are checked. A change takes effect within two seconds.
const INTERVAL: Duration = Duration::from_secs(1);
/// The interval after a change. A file is read when two checks find it the same, so that a half-written file is not
/// read.
const CHANGED: Duration = Duration::from_millis(250);
/// The interval at which a change that could not be applied is tried again: a disk can recover, and a certificate
/// become valid.
const RETRY: Duration = Duration::from_secs(10);

/// The files of a bridge. Their metadata is recorded before they are read, so that no change is missed.
pub struct Watch {
    sources: Sources,
    /// The settings when the bridge started.
    started: Arc<Settings>,
    files: Vec<(Part, Files)>,
    /// The contents of Kafka's files before they were read last, and the settings with these contents.
    kafka_contents: Contents,
    kafka_read: Arc<Settings>,
}

impl Watch {
    /// Gathers the settings, and records the metadata of the files that they name.
    #[must_use]
    pub fn new(sources: Sources) -> (Self, Arc<Settings>) {
        let configuration = Files::new(sources.file.clone());
        let named = Settings::gather(&sources);
        let channels = Files::new(named.channels_directory().map(Path::to_owned));
        let certificate = Files::new(named.tls_files().map(Path::to_owned));
        let kafka_files = Files::new(kafka_files(&named));
        let kafka_contents = kafka_files.contents();
        // Read again, after their contents were recorded.
        let settings = Arc::new(named.with_kafka_files());
        let watch = Self {
            sources,
            started: Arc::clone(&settings),
            kafka_contents,
            kafka_read: Arc::clone(&settings),
            files: vec![
                (Part::Configuration, configuration),
                (Part::Channels, channels),
                (Part::Certificate, certificate),
                (Part::KafkaFiles, kafka_files),
            ],
        };
        (watch, settings)
    }

    /// Returns a watch of the files that can be read at once, and a watch of Kafka's files, which are checked with
    /// Kafka.
    #[must_use]
    pub fn split(self) -> [Self; 2] {
        let is_kafka = |(part, _): &(Part, Files)| *part == Part::KafkaFiles;
        let (kafka, local): (Vec<_>, Vec<_>) = self.files.into_iter().partition(is_kafka);
        let with = |files| Self {
            sources: self.sources.clone(),
            started: Arc::clone(&self.started),
            files,
            kafka_contents: self.kafka_contents,
            kafka_read: Arc::clone(&self.kafka_read),
        };
        [local, kafka].map(with)
    }

    /// Watches the files until the senders of `asked` are dropped. A message in `asked` reloads everything at once.
    pub fn run(mut self, bridge: &Bridge, config: &Config, asked: &Receiver<()>) {
        let (mut pause, mut retried) = (INTERVAL, Instant::now());
        loop {
            let is_asked = match asked.recv_timeout(pause) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let now = Instant::now();
            for part in self.due(now, is_asked) {
                let outcome = self.read(part, config, bridge);
                note(part, outcome, bridge);
            }
            if self.files.iter().any(|(part, _)| *part == Part::KafkaFiles) {
                update_producer_state(bridge);
            }
            if now.duration_since(retried) >= RETRY {
                self.retry(config, bridge);
                retried = Instant::now();
            }
            let are_stable = self.files.iter().all(|(_, files)| files.are_stable());
            pause = if are_stable { INTERVAL } else { CHANGED };
        }
    }

    /// Tries the changes again that could not be applied.
    fn retry(&mut self, config: &Config, bridge: &Bridge) {
        let stale = bridge.live.stale().into_keys();
        let watched = |part: &Part| self.files.iter().any(|(watched, _)| watched == part);
        for part in stale.filter(watched).collect::<Vec<_>>() {
            match self.read(part, config, bridge) {
                Ok(()) => note(part, Ok(()), bridge),
                // Not logged or counted again, even if the reason is another one.
                Err(errors) => bridge.live.record_reload(part, Some(errors.in_one_line())),
            }
        }
    }

    /// Returns the parts to be read now, which are all parts if `is_asked`.
    fn due(&mut self, now: Instant, is_asked: bool) -> Vec<Part> {
        let due = self.files.iter_mut().filter_map(|(part, files)| {
            if is_asked {
                files.mark_read();
            }
            (files.are_due(now) || is_asked).then_some(*part)
        });
        due.collect()
    }

    /// Reads a part again and applies it.
    fn read(&mut self, part: Part, config: &Config, bridge: &Bridge) -> Result<(), ConfigErrors> {
        match part {
            Part::Configuration => read_configuration(&self.sources, &self.started, bridge),
            Part::Channels => read_channels(&config.ingress.channels, bridge),
            Part::Certificate => match &config.ingress.tls {
                Some(files) => read_certificate(files, bridge),
                None => Ok(()),
            },
            Part::KafkaFiles => self.read_kafka_files(bridge),
        }
    }

    /// Replaces the producers if Kafka accepts a client with the current contents of its files.
    fn read_kafka_files(&mut self, bridge: &Bridge) -> Result<(), ConfigErrors> {
        let contents = Files::new(kafka_files(&self.started)).contents();
        let read = self.started.with_kafka_files();
        if contents == self.kafka_contents && read.has_same_kafka_files(&self.kafka_read) {
            return bridge.delivery.renewal_problem().map_or(Ok(()), failed);
        }
        let config = Config::check(&read, kafka::check_property)?;
        let settings = kafka::Settings::from(&config);
        settings
            .check_replacement(bridge.delivery.topics())
            .or_else(failed)?;
        bridge.delivery.renew(settings);
        (self.kafka_contents, self.kafka_read) = (contents, Arc::new(read));
        info!(
            "the files that kafka.properties names were reloaded: the producers are replaced one after another"
        );
        Ok(())
    }
}

fn failed(problem: String) -> Result<(), ConfigErrors> {
    let error = ConfigError {
        place: String::new(),
        key: String::new(),
        problem,
    };
    Err(ConfigErrors(vec![error]))
}

/// Shows the certificate of the producers, and notes the problem if they can't use the contents of Kafka's files.
fn update_producer_state(bridge: &Bridge) {
    let expires = bridge.delivery.certificate_expires();
    bridge.metrics.kafka_certificate_expires(expires);
    let part = Part::KafkaFiles;
    if let Some(problem) = bridge.delivery.renewal_problem()
        && !bridge.live.stale().contains_key(&part)
    {
        note(part, failed(problem), bridge);
    }
}

/// Returns the files that Kafka's properties name.
fn kafka_files(settings: &Settings) -> impl Iterator<Item = PathBuf> {
    settings.kafka_files().map(Path::to_owned)
}

fn read_configuration(
    sources: &Sources,
    started: &Settings,
    bridge: &Bridge,
) -> Result<(), ConfigErrors> {
    let settings = Settings::gather(sources);
    Config::check(&settings, kafka::check_property)?;
    // It must also fit the keys that do not change until a restart.
    let taken_over = settings.with_restart_keys_of(started);
    let config = Config::check(&taken_over, kafka::check_property)?;
    let rules = ReloadableConfig::from(&config);
    bridge.live.config.store(Arc::new(rules));
    let fixed = settings.changed_for_restart(started);
    if !fixed.is_empty() {
        let keys = fixed.join(", ");
        warn!(
            keys,
            "these keys have changed, and take effect after a restart"
        );
    }
    info!("the configuration was reloaded");
    Ok(())
}

fn read_channels(directory: &Path, bridge: &Bridge) -> Result<(), ConfigErrors> {
    let mut channels = channels::load(directory).map_err(ConfigErrors)?;
    channels.share_last_reports(bridge.live.channels.load().channels());
    let count = channels.len();
    let channels = CountedChannels::new(channels, &bridge.metrics);
    bridge.live.channels.store(Arc::new(channels));
    info!(channels = count, "the channels' passwords were reloaded");
    Ok(())
}

fn read_certificate(files: &Tls, bridge: &Bridge) -> Result<(), ConfigErrors> {
    let Some(current) = &bridge.live.identity else {
        return Ok(());
    };
    let identity = Identity::load(files, Timestamp::now()).map_err(ConfigErrors)?;
    identity.log_warnings();
    let expires = identity.expires();
    current.store(Arc::new(identity));
    bridge.metrics.certificate_expires(expires);
    info!(%expires, "the certificate was reloaded");
    Ok(())
}

fn note(part: Part, outcome: Result<(), ConfigErrors>, bridge: &Bridge) {
    bridge.metrics.reloaded(part.name(), outcome.is_ok());
    let problem = outcome.err().map(|errors| errors.in_one_line());
    if let Some(problem) = &problem {
        let part = part.name();
        warn!(
            part,
            problem, "can't apply a change; the previous state stays in use"
        );
    }
    bridge.live.record_reload(part, problem);
}
