//! The configuration: what was typed, turned into checked values. Nothing else parses.
//!
//! Two stages: [`Settings`] gathers what was typed (file, variables, flags; [`KEYS`] has every key
//! with its default), then [`Config::check`] makes checked values of it, or names every error at
//! once, each with where it stands and how to mend it.

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
pub use layers::{Settings, Typed};
pub use memory::Memory;
pub use print::print;
pub use relations::{DEFAULT_MESSAGE_MAX_BYTES, RECORD_OVERHEAD, SPOOL_MARGIN};
pub use stop::{LAST_SPANS, LAST_WRITES, SLACK, Stop};
pub use traces::{Sampler, SpanQueue, Traces};

/// Everything that a bridge needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub ingress: Ingress,
    pub admin: Admin,
    pub kafka: Kafka,
    /// `None` where reports wait for Kafka alone.
    pub spool: Option<Spool>,
    pub log: Log,
    /// `None` if no spans are recorded.
    pub traces: Option<Traces>,
}

/// What delivering a spool without a bridge needs to know, checked.
#[derive(Clone, Debug)]
pub struct Drain {
    pub kafka: Kafka,
    pub spool: Spool,
    pub log: Log,
}

/// The listener that senders reach.
#[derive(Clone, Debug)]
pub struct Ingress {
    pub listen: SocketAddr,
    /// The directory of password files.
    pub channels: PathBuf,
    /// `None` where something else ends TLS, or nothing does.
    pub tls: Option<Tls>,
    pub access: Access,
    /// How many worker threads serve connections.
    pub workers: NonZeroUsize,
    pub success: Success,
    pub limits: Limits,
    /// How many connections may be open.
    pub connections: NonZeroU32,
    /// How many reports may be in flight.
    pub reports_in_flight: NonZeroU32,
    /// How many bytes the reports in flight may hold.
    pub bytes_in_flight: u64,
    /// How long the listener stays open once the bridge was told to stop.
    pub drain_delay: Duration,
}

/// The files of the ingress' TLS, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, followed by those that it was issued by.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities of client certificates, where senders need one.
    pub client_ca: Option<PathBuf>,
}

/// From where reports may come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// These networks; every one where there is none.
    pub allow: Vec<IpNet>,
    /// Proxies whose `x-forwarded-for` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// The status of a success. The interface document names none; 200 fits most senders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Success {
    Ok,
    Accepted,
    NoContent,
}

/// What one request may take, in bytes and time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Every answer comes inside this, counted from the complete head.
    pub deadline: Duration,
    /// The largest head, in bytes.
    pub head: usize,
    /// How long a TLS handshake may take, a head (from its first byte), and a peer to read an answer.
    pub head_timeout: Duration,
    /// The largest body, in bytes.
    pub body: usize,
    /// How long a body may take from the complete head.
    pub body_timeout: Duration,
    /// How long a connection may be idle between requests.
    pub idle_timeout: Duration,
    /// How old a connection is that is closed after its next answer; `None` if age alone closes none.
    pub connection_age: Option<Duration>,
}

/// The listener for the status page, probes and metrics.
#[derive(Clone, Debug)]
pub struct Admin {
    pub listen: SocketAddr,
    /// The names under which it may be reached.
    pub hosts: Vec<String>,
}

/// Topics, events, and librdkafka's properties.
#[derive(Clone, Debug)]
pub struct Kafka {
    pub topic: String,
    pub rejected_topic: String,
    /// How many producers the events topic has; chosen by its partitions if it is not given.
    pub producers: Option<NonZeroUsize>,
    pub event_format: crate::contract::EventFormat,
    /// How long a stopping bridge waits for Kafka's acknowledgements.
    pub flush_timeout: Duration,
    /// Canonical names and values, the bridge's own defaults not included.
    pub properties: Vec<Property>,
    /// The properties whose unsafe value was allowed by name.
    pub unsafe_settings: Vec<String>,
}

/// One librdkafka property.
#[derive(Clone)]
pub struct Property {
    pub name: String,
    pub value: String,
    /// Read from a file of its own.
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

/// Where reports are kept that Kafka can't take now.
#[derive(Clone, Debug)]
pub struct Spool {
    pub directory: PathBuf,
    /// How long a report waits for Kafka alone.
    pub after: Duration,
    /// Bytes that it may take on disk.
    pub disk_limit: u64,
    /// Bytes that it leaves free on its file system.
    pub free_space: u64,
    /// Bytes of memory that it may take.
    pub memory: usize,
}

/// How the program logs.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
    /// Whether there is a line for each report.
    pub reports: bool,
}

/// Text for people, JSON for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text where standard error is a terminal, else JSON.
    Auto,
    Text,
    Json,
}

/// How much the program logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Asks librdkafka whether it knows a property and how it reads a value: `kafka::check_property`,
/// handed in so that the configuration knows nobody.
pub type PropertyCheck = fn(&str, &str) -> Result<String, String>;

impl Config {
    /// Checks what was typed.
    ///
    /// # Errors
    /// Every error at once.
    pub fn check(settings: &Settings, check_property: PropertyCheck) -> Result<Self, ConfigErrors> {
        checks::check(settings, check_property)
    }
}

impl Drain {
    /// Checks what was typed of Kafka, the spool and the log.
    ///
    /// # Errors
    /// Every error at once.
    pub fn check(settings: &Settings, check_property: PropertyCheck) -> Result<Self, ConfigErrors> {
        checks::check_drain(settings, check_property)
    }
}

impl Kafka {
    /// The value of a property, where it was given one.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        let mut properties = self.properties.iter();
        let property = properties.find(|property| property.name == name)?;
        Some(&property.value)
    }

    /// Checks what was typed of Kafka alone: for whoever runs no bridge.
    ///
    /// # Errors
    /// Every error at once.
    pub fn check(settings: &Settings, check_property: PropertyCheck) -> Result<Self, ConfigErrors> {
        checks::check_kafka(settings, check_property)
    }
}

#[cfg(test)]
mod tests;
