//! The state of a bridge that ingress, admin and reload share. Each part that can change while the bridge serves is
//! swapped as a whole, so that a request sees either the old state or the new one.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::counted_channels::CountedChannels;
use super::delivery::Delivery;
use super::identity::Identity;
use super::metrics::Metrics;
use super::traces::Traces;
use crate::config::{Access, Config, Limits, Success};
use crate::contract::EventFormat;

/// The state that requests and the admin listener need.
#[derive(Debug)]
pub struct Bridge {
    pub live: Live,
    pub delivery: Delivery,
    pub event_format: EventFormat,
    pub metrics: Arc<Metrics>,
    /// `None` if no spans are recorded.
    pub traces: Option<Traces>,
    /// Has seen only [`Phase::Serving`], so that `has_changed` tells whether the bridge still serves.
    pub phase: watch::Receiver<Phase>,
}

/// Lifecycle phase of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Serving,
    /// The bridge is stopping: it still accepts requests, and each answer closes its connection.
    Draining,
    /// The listener is closed. Requests on open connections are still answered; idle connections are closed.
    Closing,
}

/// The current state of the reloadable parts.
#[derive(Debug)]
pub struct Live {
    pub channels: ArcSwap<CountedChannels>,
    /// `None` if the ingress speaks plain HTTP.
    pub identity: Option<ArcSwap<Identity>>,
    pub config: ArcSwap<ReloadableConfig>,
    /// The parts whose last change could not be applied, with the problem. Their previous state stays in use.
    stale: Mutex<BTreeMap<Part, String>>,
}

/// The keys of the configuration that can change without a restart.
#[derive(Clone, Debug)]
pub struct ReloadableConfig {
    pub limits: Limits,
    pub success: Success,
    pub access: Access,
    /// Whether each report is logged.
    pub log_reports: bool,
}

/// A part that is reloaded independently of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    Channels,
    Certificate,
    Configuration,
    /// The files that Kafka's properties name.
    KafkaFiles,
}

impl Bridge {
    /// Returns the current phase.
    pub fn phase(&self) -> Phase {
        // Until its first change, this avoids the lock that all requests share.
        match self.phase.has_changed() {
            Ok(false) => Phase::Serving,
            _ => *self.phase.borrow(),
        }
    }
}

impl Part {
    pub const ALL: [Self; 4] = [
        Self::Channels,
        Self::Certificate,
        Self::Configuration,
        Self::KafkaFiles,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Channels => "channels",
            Self::Certificate => "certificate",
            Self::Configuration => "configuration",
            Self::KafkaFiles => "kafka_files",
        }
    }
}

impl From<&Config> for ReloadableConfig {
    fn from(config: &Config) -> Self {
        let ingress = &config.ingress;
        Self {
            limits: ingress.limits,
            success: ingress.success,
            access: ingress.access.clone(),
            log_reports: config.log.reports,
        }
    }
}

impl Live {
    #[must_use]
    pub fn new(
        channels: CountedChannels,
        identity: Option<Identity>,
        config: ReloadableConfig,
    ) -> Self {
        Self {
            channels: ArcSwap::from_pointee(channels),
            identity: identity.map(ArcSwap::from_pointee),
            config: ArcSwap::from_pointee(config),
            stale: Mutex::default(),
        }
    }

    /// Records the problem with a part's last change, or that there is none.
    pub fn record_reload(&self, part: Part, problem: Option<String>) {
        let mut stale = self.stale.lock();
        match problem {
            Some(problem) => stale.insert(part, problem),
            None => stale.remove(&part),
        };
    }

    /// Returns the parts whose last change could not be applied, with the problem.
    #[must_use]
    pub fn stale(&self) -> BTreeMap<Part, String> {
        let stale = self.stale.lock();
        stale.clone()
    }
}
