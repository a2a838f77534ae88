//! Passwords, certificates, the configuration's file and the files that it names for Kafka, looked at while the bridge serves: what has
//! changed is read anew and swapped whole. Where it can't be, the last good state stays, and it is said.
//!
//! Files are looked at by their metadata again and again, which works where no file events come
//! (network file systems, some mounts), and follows the symbolic links by which Kubernetes swaps a
//! mounted Secret.

mod files;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::{info, warn};

use files::{Contents, Files};

use crate::bridge::channels;
use crate::bridge::{Bridge, CountedChannels, Identity, Part, Rules};
use crate::config::{Config, ConfigError, ConfigErrors, Settings, Tls, Typed};
use crate::kafka;

/// How often files are looked at. What has changed is in force within two seconds.
const EACH: Duration = Duration::from_secs(1);
/// How soon again where one has changed. It is read when a look finds it the same as the one before: nobody reads
/// half a file while it is being written.
const CHANGED: Duration = Duration::from_millis(250);
/// How soon to try again what could not be taken over: a disk can come back, and a certificate become
/// valid.
const RETRY: Duration = Duration::from_secs(10);

/// The files of a bridge. What they were like is noted before they are read, so that no change
/// is missed.
pub struct Watch {
    typed: Typed,
    /// What was typed when the bridge started.
    started: Arc<Settings>,
    files: Vec<(Part, Files)>,
    /// The contents of Kafka's files before they were read last, and what was typed with what was read.
    kafka_contents: Contents,
    kafka_read: Arc<Settings>,
}

impl Watch {
    /// Gathers what was typed, and notes what the files are like that it names.
    #[must_use]
    pub fn new(typed: Typed) -> (Self, Arc<Settings>) {
        let configuration = Files::new(typed.file.clone());
        let named = Settings::gather(&typed);
        let channels = Files::new(named.channels_directory().map(Path::to_owned));
        let certificate = Files::new(named.tls_files().map(Path::to_owned));
        let kafka_files = Files::new(kafka_files(&named));
        let kafka_contents = kafka_files.contents();
        // What was read before it was noted is read again.
        let settings = Arc::new(named.with_kafka_files());
        let watch = Self {
            typed,
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

    /// Returns a watch of what can be read at once, and one of Kafka's files, about which Kafka is asked.
    #[must_use]
    pub fn split(self) -> [Self; 2] {
        let is_kafka = |(part, _): &(Part, Files)| *part == Part::KafkaFiles;
        let (kafka, local): (Vec<_>, Vec<_>) = self.files.into_iter().partition(is_kafka);
        let with = |files| Self {
            typed: self.typed.clone(),
            started: Arc::clone(&self.started),
            files,
            kafka_contents: self.kafka_contents,
            kafka_read: Arc::clone(&self.kafka_read),
        };
        [local, kafka].map(with)
    }

    /// Looks until nobody can ask any more; whoever asks has everything read at once.
    pub fn run(mut self, bridge: &Bridge, config: &Config, asked: &Receiver<()>) {
        let (mut pause, mut retried) = (EACH, Instant::now());
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
                look_at_producers(bridge);
            }
            if now.duration_since(retried) >= RETRY {
                self.retry(config, bridge);
                retried = Instant::now();
            }
            let is_at_rest = self.files.iter().all(|(_, files)| files.are_at_rest());
            pause = if is_at_rest { EACH } else { CHANGED };
        }
    }

    /// Tries again what could not be taken over.
    fn retry(&mut self, config: &Config, bridge: &Bridge) {
        let stale = bridge.live.stale().into_keys();
        let watched = |part: &Part| self.files.iter().any(|(watched, _)| watched == part);
        for part in stale.filter(watched).collect::<Vec<_>>() {
            match self.read(part, config, bridge) {
                Ok(()) => note(part, Ok(()), bridge),
                // What is still wrong is no news, even if the reason is another one.
                Err(errors) => bridge.live.note(part, Some(errors.in_one_line())),
            }
        }
    }

    /// Returns the parts to be read now: all of them if that was asked for.
    fn due(&mut self, now: Instant, is_asked: bool) -> Vec<Part> {
        let due = self.files.iter_mut().filter_map(|(part, files)| {
            if is_asked {
                files.are_read();
            }
            (files.are_due(now) || is_asked).then_some(*part)
        });
        due.collect()
    }

    /// Reads a part anew and takes it over.
    fn read(&mut self, part: Part, config: &Config, bridge: &Bridge) -> Result<(), ConfigErrors> {
        match part {
            Part::Configuration => read_configuration(&self.typed, &self.started, bridge),
            Part::Channels => read_channels(&config.ingress.channels, bridge),
            Part::Certificate => match &config.ingress.tls {
                Some(files) => read_certificate(files, bridge),
                None => Ok(()),
            },
            Part::KafkaFiles => self.read_kafka_files(bridge),
        }
    }

    /// Has the producers replaced if Kafka answers a client with what its files hold now.
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
            "the files that kafka.properties names were read anew: the producers are replaced one after the other"
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

/// Shows which certificate the producers use, and whether they can't use what Kafka's files hold.
fn look_at_producers(bridge: &Bridge) {
    let expires = bridge.delivery.certificate_expires();
    bridge.metrics.kafka_certificate_expires(expires);
    let part = Part::KafkaFiles;
    if let Some(problem) = bridge.delivery.renewal_problem()
        && !bridge.live.stale().contains_key(&part)
    {
        note(part, failed(problem), bridge);
    }
}

/// The files that Kafka's properties name.
fn kafka_files(settings: &Settings) -> impl Iterator<Item = PathBuf> {
    settings.kafka_files().map(Path::to_owned)
}

fn read_configuration(
    typed: &Typed,
    started: &Settings,
    bridge: &Bridge,
) -> Result<(), ConfigErrors> {
    let settings = Settings::gather(typed);
    Config::check(&settings, kafka::check_property)?;
    // It has to fit what stays as it is until a restart, too.
    let taken_over = settings.taken_over_from(started);
    let config = Config::check(&taken_over, kafka::check_property)?;
    let rules = Rules::from(&config);
    bridge.live.rules.store(Arc::new(rules));
    let fixed = settings.changed_for_restart(started);
    if !fixed.is_empty() {
        let keys = fixed.join(", ");
        warn!(
            keys,
            "these have changed, and need a restart to be in force"
        );
    }
    info!("the configuration was read anew");
    Ok(())
}

fn read_channels(directory: &Path, bridge: &Bridge) -> Result<(), ConfigErrors> {
    let mut channels = channels::load(directory).map_err(ConfigErrors)?;
    channels.share_last_reports(bridge.live.channels.load().channels());
    let count = channels.len();
    let channels = CountedChannels::new(channels, &bridge.metrics);
    bridge.live.channels.store(Arc::new(channels));
    info!(channels = count, "the channels' passwords were read anew");
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
    info!(%expires, "the certificate was read anew");
    Ok(())
}

fn note(part: Part, outcome: Result<(), ConfigErrors>, bridge: &Bridge) {
    bridge.metrics.reloaded(part.name(), outcome.is_ok());
    let problem = outcome.err().map(|errors| errors.in_one_line());
    if let Some(problem) = &problem {
        let part = part.name();
        warn!(
            part,
            problem, "what has changed can't be taken over; the last good state stays"
        );
    }
    bridge.live.note(part, problem);
}
