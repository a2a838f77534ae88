//! The table of configuration keys, with the type, range, default and meaning of each.

use std::ops::RangeInclusive;

use super::parse::{self, EVENT_MODES, LOG_FORMATS, LOG_LEVELS, SUCCESSES};
use Applies::{Connection, Request, Start};
use Kind::{
    Address, Boolean, Duration, Hosts, Networks, Number, Path, Ratio, SchemaId, SecretFile, Size,
    Topic, Unsafe, Url, Words,
};

/// The largest number of producers of a topic.
pub const MOST_PRODUCERS: usize = 8;
/// The number of producers that the bridge chooses for a topic with many partitions.
pub const CHOSEN_PRODUCERS: usize = 4;

/// A key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Section and name, joined by a dot.
    pub name: &'static str,
    pub kind: Kind,
    /// The default, as a user would write it.
    pub default: &'static str,
    pub applies: Applies,
    /// One line of Markdown for `docs/configuration.md` and the schema.
    pub help: &'static str,
}

/// The type of a value, with its range and unit.
#[derive(Debug)]
pub enum Kind {
    /// An IP address and a port.
    Address,
    Boolean,
    Number(RangeInclusive<u64>),
    /// In milliseconds.
    Duration(RangeInclusive<u64>),
    /// In bytes.
    Size(RangeInclusive<u64>),
    /// A file or directory. In the configuration file, it is relative to that file.
    Path,
    /// A path to a file with a secret.
    SecretFile,
    Topic,
    /// The number or the GUID of a schema in a registry.
    SchemaId,
    /// One of a few words.
    Words(fn() -> Vec<&'static str>),
    /// A list of IP networks.
    Networks,
    /// A list of host names.
    Hosts,
    /// A number from 0 to 1.
    Ratio,
    /// An HTTP or HTTPS URL.
    Url,
    /// A list of librdkafka properties that can have an unsafe value.
    Unsafe,
}

/// When a change of the configuration file takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// When the bridge starts again.
    Start,
    /// While it serves, for the next connection.
    Connection,
    /// While it serves, for the next request.
    Request,
}

impl Key {
    pub(super) fn is_path(&self) -> bool {
        matches!(self.kind, Path | SecretFile)
    }
}

/// At most a day, so that sums of times can't overflow.
const TIME: Kind = Duration(0..=DAY);
/// At least 10 ms: a busy machine can delay a task by that much.
const POSITIVE_TIME: Kind = Duration(10..=DAY);
const DAY: u64 = 24 * 60 * 60 * 1000;
/// 4 PiB, so that sums have room in an integer.
const DISK: u64 = 1 << 52;
/// 1 TiB, because SQLite counts its cache in KiB.
const MEMORY: u64 = 1 << 40;
const COUNT: Kind = Number(1..=u32::MAX as u64);

/// Every key, except librdkafka's properties.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("ingress.listen", Address, "0.0.0.0:18446", Start,
        "address for senders; `[::]:18446` listens on every IPv6 address and, if the system allows it, on every IPv4 address too. An address that is not loopback needs `tls` or `plain_http`"),
    key("ingress.channels", Path, "/etc/koobridge/channels", Start,
        "directory of webhook passwords: [channels](#channels)"),
    key("ingress.plain_http", Boolean, "false", Start,
        "allow HTTP on an address that is not loopback, if a proxy in front of the bridge terminates TLS: HTTP does not encrypt the password"),
    key("ingress.tls.certificate", Path, "", Start,
        "PEM file with the certificate, followed by its issuers' certificates; if it is set, the ingress speaks HTTPS: [TLS](#tls)"),
    key("ingress.tls.key", SecretFile, "", Start,
        "PEM file with the certificate's private key"),
    key("ingress.tls.client_ca", Path, "", Start,
        "PEM file with the certificate authorities of client certificates; if it is set, every sender needs a client certificate"),
    key("ingress.allow", Networks, "", Request,
        "networks or addresses that may connect, `[\"10.0.0.0/8\"]`; a connection from another address is closed immediately. An empty list allows every address: [access](#access)"),
    key("ingress.trusted_proxies", Networks, "", Request,
        "networks of proxies whose `x-forwarded-for` header is trusted, at most as wide as an IPv4 /8: [access](#access)"),
    key("ingress.workers", Number(0..=65535), "0", Start,
        "number of worker threads; `0` means one per CPU core"),
    key("ingress.success_status", Words(|| parse::words(SUCCESSES)), "200", Request,
        "status of the answer to an accepted report; the answer's body is always empty"),
    key("ingress.deadline", POSITIVE_TIME, "4500ms", Request,
        "every answer is sent within this time after the complete head"),
    key("ingress.head_limit", Size(8 << 10..=64 << 10), "16 KiB", Connection,
        "largest request head; a larger one is answered 431"),
    key("ingress.head_timeout", POSITIVE_TIME, "5s", Connection,
        "time limit for a TLS handshake, for a head (from its first byte), and for a peer to read an answer; after it, the connection is closed"),
    key("ingress.body_limit", Size(1 << 10..=MEMORY), "64 KiB", Request,
        "largest body; a larger one is answered 413. It must fit into a Kafka record: at least 16 KiB less than `message.max.bytes`"),
    key("ingress.body_timeout", POSITIVE_TIME, "2s", Request,
        "time limit for a body, counted from the complete head; after it, the answer is 408. It must be shorter than `ingress.deadline`"),
    key("ingress.idle_timeout", POSITIVE_TIME, "75s", Connection,
        "how long a connection may be idle between requests"),
    key("ingress.connection_age", TIME, "0s", Connection,
        "maximum age of a connection, shortened by up to 10 % at random; the first answer after it closes the connection. Senders then spread over new replicas and show their client certificate again. `0s` means no limit"),
    key("ingress.connections", COUNT, "10000", Start,
        "maximum number of open connections; at the limit, a new connection waits, or replaces one that is idle or not authenticated: [connections](#connections). Each connection needs a file descriptor: if the system allows too few open files, the limit is lower, and a warning is logged"),
    key("ingress.reports_in_flight", COUNT, "10000", Start,
        "maximum number of reports in delivery; at the limit, the answer is 503 immediately. With a spool, half of this limit and of `bytes_in_flight` is for reports that are being written to the disk"),
    key("ingress.bytes_in_flight", Size(0..=MEMORY), "64 MiB", Start,
        "maximum memory of reports in delivery and of bodies that are being read; at the limit, the answer is 503 immediately. The process needs [more than twice that](operating.md#size-it). It must be at least `body_limit` + 16 KiB"),
    key("ingress.drain_delay", TIME, "5s", Start,
        "how long the bridge still accepts reports after SIGTERM. It is not ready during this time, so that a load balancer can react. The default of `koobridge dev` is `0s`"),
    key("admin.listen", Address, "127.0.0.1:18447", Start,
        "address of [the status page](operating.md#the-status-page), [probes and metrics](metrics.md)"),
    key("admin.hosts", Hosts, "", Start,
        "host names of the admin address, `[\"koobridge.monitoring.svc\"]`; a request for another host name is answered [421](metrics.md#host-names). `localhost` and IP addresses need not be listed"),
    key("kafka.topic", Topic, "koomessage.reports", Start,
        "topic for events"),
    key("kafka.rejected_topic", Topic, "koomessage.reports.rejected", Start,
        "topic for requests that could not be accepted; it must differ from `kafka.topic`"),
    key("kafka.producers", Number(0..=MOST_PRODUCERS as u64), "0", Start,
        "number of producers for the events topic; `0` means 4 if a broker leads at least 8 of its partitions, else 1: see [partitions and producers](performance.md#partitions-and-producers)"),
    key("kafka.event_mode", Words(|| parse::words(EVENT_MODES)), "binary", Start,
        "CloudEvents content mode: see [subscribing](subscribing.md#structured-mode)"),
    key("kafka.schema_id", SchemaId, "", Start,
        "id of the events' schema in a schema registry; if it is set, each event names it in a header: see [a schema registry](subscribing.md#a-schema-registry). Only for binary mode"),
    key("kafka.flush_timeout", TIME, "10s", Start,
        "how long a stopping bridge waits for Kafka's acknowledgements"),
    key("kafka.allow_unsafe", Unsafe, "", Start,
        "Kafka properties that may have an [unsafe value](#unsafe-values)"),
    key("spool.directory", Path, "", Start,
        "directory of [the spool](spool.md), for this bridge only; it is created if it does not exist. If the key is empty, there is no spool"),
    key("spool.after", POSITIVE_TIME, "1s", Start,
        "how long a report waits for Kafka before it is written to the spool. `body_timeout` + `spool.after` + 0.5 s (for an fsync) must be shorter than `deadline`"),
    key("spool.disk_limit", Size(16 << 20..=DISK), "1 GiB", Start,
        "maximum disk space of the spool's directory; at the limit, a report that needs the spool is answered 503 immediately"),
    key("spool.free_space", Size(0..=DISK), "256 MiB", Start,
        "disk space that the spool leaves free on its file system; if there is less, a report that needs the spool is answered 503 immediately"),
    key("spool.memory", Size(1 << 20..=MEMORY), "8 MiB", Start,
        "memory for the spool's cache and for reports that are read back from it; librdkafka's copies [need more](operating.md#size-it)"),
    key("log.format", Words(|| parse::words(LOG_FORMATS)), "auto", Start,
        "`auto` is text on a terminal, else JSON; logs go to standard error"),
    key("log.level", Words(|| parse::words(LOG_LEVELS)), "info", Start,
        "the least severe level that is logged"),
    key("log.reports", Boolean, "false", Request,
        "log a line for each answered report: [logs](metrics.md#logs)"),
    key("traces.endpoint", Url, "", Start,
        "URL that receives spans by OTLP over HTTP, `http://collector:4318/v1/traces`: [traces](traces.md). If it is empty, the variables of OpenTelemetry apply"),
    key("traces.sample_ratio", Ratio, "1", Start,
        "share of the traces that are recorded, among those that begin in the bridge; for the others, the sender's decision applies"),
];

#[rustfmt::skip]
const fn key(name: &'static str, kind: Kind, default: &'static str, applies: Applies, help: &'static str) -> Key {
    Key { name, kind, default, applies, help }
}

/// The section whose keys are librdkafka's properties.
pub(super) const PROPERTIES: &str = "kafka.properties.";

/// Returns the key with that name, excluding librdkafka's properties.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Returns the range of a number, a duration or a size.
pub(super) fn range(name: &str) -> &'static RangeInclusive<u64> {
    match find(name).map(|key| &key.kind) {
        Some(Number(range) | Duration(range) | Size(range)) => range,
        _ => panic!("{name} has no range"),
    }
}

/// Returns the default of a key.
pub(crate) fn default(name: &str) -> &'static str {
    find(name).expect("a key").default
}

/// Returns whether a running bridge applies a change of this key. No librdkafka property is such a key.
pub(super) fn is_live(name: &str) -> bool {
    find(name).is_some_and(|key| key.applies != Start)
}

/// Returns the environment variable of a key: `KOOBRIDGE_INGRESS_LISTEN` for `ingress.listen`.
pub(super) fn variable(name: &str) -> String {
    let name = name.replace('.', "_").to_ascii_uppercase();
    format!("{VARIABLE_PREFIX}{name}")
}

pub(super) const VARIABLE_PREFIX: &str = "KOOBRIDGE_";

/// Returns the key of an environment variable, including librdkafka's properties.
pub(super) fn key_of_variable(variable: &str) -> Option<String> {
    let known = KEYS.iter().find(|key| self::variable(key.name) == variable);
    let property = || {
        let prefix = self::variable(PROPERTIES);
        let name = variable
            .strip_prefix(&prefix)
            .filter(|name| !name.is_empty())?;
        let name = name.to_ascii_lowercase().replace('_', ".");
        Some(format!("{PROPERTIES}{name}"))
    };
    known.map(|key| key.name.to_owned()).or_else(property)
}

/// Returns whether a key with this name exists, including librdkafka's properties.
pub(super) fn is_key(name: &str) -> bool {
    find(name).is_some()
        || name
            .strip_prefix(PROPERTIES)
            .is_some_and(|property| !property.is_empty())
}

/// Returns the known name that is most similar to `name`, if any is similar.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.85)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// Variables with the prefix that set no key.
pub(super) const OTHER_VARIABLES: [&str; 1] = ["KOOBRIDGE_CONFIG"];
