//! The configuration. Only this module parses settings.
//!
//! There are two stages. [`Settings`] gathers the text of each setting from the file, the variables and the flags;
//! [`KEYS`] lists every key with its default. Then [`Config::check`] parses the settings into checked values, or
//! returns all errors at once, each with its place and its remedy.

mod checks;
mod error;
mod file;
mod keys;
mod layers;
mod memory;
mod networks;
mod pairs;
pub(crate) mod parse;
mod print;
pub(crate) mod properties;
mod relations;
mod service_links;
mod stop;
mod traces;
mod url;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use error::{ConfigError, ConfigErrors};
pub(crate) use keys::default;
pub use keys::{Applies, CHOSEN_PRODUCERS, KEYS, Key, Kind, MOST_PRODUCERS};
pub use layers::{Settings, Sources};
pub use memory::Memory;
pub use print::print;
pub use relations::{DEFAULT_MESSAGE_MAX_BYTES, RECORD_OVERHEAD, SPOOL_MARGIN};
pub use stop::{LAST_SPANS, LAST_WRITES, SLACK, Stop};
pub use traces::{Sampler, SpanQueue, Traces};

/// The checked configuration of a bridge.
#[derive(Clone, Debug)]
pub struct Config {
    pub ingress: Ingress,
    pub admin: Admin,
    pub kafka: Kafka,
    /// `None` if there is no spool.
    pub spool: Option<Spool>,
    pub log: Log,
    /// `None` if no spans are recorded.
    pub traces: Option<Traces>,
}

/// The checked configuration for delivering a spool without a bridge.
#[derive(Clone, Debug)]
pub struct Drain {
    pub kafka: Kafka,
    pub spool: Spool,
    pub log: Log,
}

/// The listener for senders.
#[derive(Clone, Debug)]
pub struct Ingress {
    pub listen: SocketAddr,
    /// The directory of password files.
    pub channels: PathBuf,
    /// `None` if the listener speaks plain HTTP.
    pub tls: Option<Tls>,
    pub access: Access,
    /// The number of worker threads that serve connections.
    pub workers: NonZeroUsize,
    pub success: Success,
    pub limits: Limits,
    /// The maximum number of open connections.
    pub connections: NonZeroU32,
    /// The maximum number of reports in flight.
    pub reports_in_flight: NonZeroU32,
    /// The maximum size of the reports in flight, in bytes.
    pub bytes_in_flight: u64,
    /// How long the listener stays open after the bridge was told to stop.
    pub drain_delay: Duration,
}

/// The PEM files for TLS on the ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, followed by its issuers' certificates.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The authorities of client certificates; `None` if senders need none.
    pub client_ca: Option<PathBuf>,
}

/// The networks that reports may come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The allowed networks; if the list is empty, every address is allowed.
    pub allow: Vec<IpNet>,
    /// Proxies whose `x-forwarded-for` is trusted.
    pub trusted_proxies: Vec<IpNet>,
}

/// The status of a success. The interface document does not specify it; most senders accept 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Success {
    Ok,
    Accepted,
    NoContent,
}

/// The limits of one request, in bytes and time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The time until the answer, counted from the complete head.
    pub deadline: Duration,
    /// The largest head, in bytes.
    pub head: usize,
    /// The time limit for a TLS handshake, for a head (from its first byte), and for the peer to read an answer.
    pub head_timeout: Duration,
    /// The largest body, in bytes.
    pub body: usize,
    /// The time limit for a body, counted from the complete head.
    pub body_timeout: Duration,
    /// How long a connection may be idle between requests.
    pub idle_timeout: Duration,
    /// The age at which a connection is closed after its next answer; `None` if there is no limit.
    pub connection_age: Option<Duration>,
}

/// The listener for the status page, probes and metrics.
#[derive(Clone, Debug)]
pub struct Admin {
    pub listen: SocketAddr,
    /// The host names that requests may use.
    pub hosts: Vec<String>,
}

/// The topics, the event format, and librdkafka's properties.
#[derive(Clone, Debug)]
pub struct Kafka {
    pub topic: String,
    pub rejected_topic: String,
    /// The number of producers of the events topic; if `None`, the bridge chooses it by the topic's partitions.
    pub producers: Option<NonZeroUsize>,
    pub event_format: crate::contract::EventFormat,
    /// How long a stopping bridge waits for Kafka's acknowledgements.
    pub flush_timeout: Duration,
    /// The configured properties under their canonical names, without the bridge's own defaults.
    pub properties: Vec<Property>,
    /// The properties with an unsafe value that `kafka.allow_unsafe` allows.
    pub unsafe_settings: Vec<String>,
}

/// One librdkafka property.
#[derive(Clone)]
pub struct Property {
    pub name: String,
    pub value: String,
    /// Whether the value comes from a `from_file`, and must not be shown.
    pub is_secret: bool,
}

impl std::fmt::Debug for Property {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = if self.is_secret || properties::is_secret(&self.name) {
            "redacted"
        } else {
            &self.value
        };
        write!(f, "{}={value}", self.name)
    }
}

/// The disk spool for records that Kafka cannot accept yet.
#[derive(Clone, Debug)]
pub struct Spool {
    pub directory: PathBuf,
    /// How long a report waits for Kafka before it is spilled.
    pub after: Duration,
    /// The most bytes on disk.
    pub disk_limit: u64,
    /// The bytes that stay free on the file system.
    pub free_space: u64,
    /// The most bytes of memory.
    pub memory: usize,
}

/// The log's format and level.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
    /// Whether each report is logged.
    pub reports: bool,
}

/// The format of log lines: text for people, JSON for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text if standard error is a terminal, else JSON.
    Auto,
    Text,
    Json,
}

/// The least severe level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Checks a librdkafka property; returns its value as librdkafka reads it. It is `kafka::check_property`, passed in so
/// that this module does not depend on `kafka`.
pub type PropertyCheck = fn(&str, &str) -> Result<String, String>;

impl Config {
    /// Checks the settings.
    ///
    /// # Errors
    /// All errors at once.
    pub fn check(settings: &Settings, check_property: PropertyCheck) -> Result<Self, ConfigErrors> {
        checks::check(settings, check_property)
    }
}

impl Drain {
    /// Checks the settings of Kafka, the spool and the log.
    ///
    /// # Errors
    /// All errors at once.
    pub fn check(settings: &Settings, check_property: PropertyCheck) -> Result<Self, ConfigErrors> {
        checks::check_drain(settings, check_property)
    }
}

impl Kafka {
    /// Returns the configured value of a property.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        let mut properties = self.properties.iter();
        let property = properties.find(|property| property.name == name)?;
        Some(&property.value)
    }

    /// Checks only the settings of Kafka, for commands that run no bridge.
    ///
    /// # Errors
    /// All errors at once.
    pub fn check(settings: &Settings, check_property: PropertyCheck) -> Result<Self, ConfigErrors> {
        checks::check_kafka(settings, check_property)
    }
}

#[cfg(test)]
mod tests;
