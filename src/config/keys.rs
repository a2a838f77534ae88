//! Every key of the configuration, one row each: the only place for its type, range, default and meaning.

use std::ops::RangeInclusive;

use super::parse::{self, EVENT_MODES, LOG_FORMATS, LOG_LEVELS, SUCCESSES};
use Applies::{Connection, Request, Start};
use Kind::{
    Address, Boolean, Duration, Hosts, Networks, Number, Path, Ratio, SchemaId, SecretFile, Size,
    Topic, Unsafe, Url, Words,
};

/// How many producers a topic can have, and how many are chosen for many partitions.
pub const MOST_PRODUCERS: usize = 8;
pub const CHOSEN_PRODUCERS: usize = 4;

/// A key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Section and name, joined by a dot.
    pub name: &'static str,
    pub kind: Kind,
    /// As it would be typed.
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
    /// A file or directory; relative to the configuration's file if it is written there.
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

/// When a change of the configuration's file takes effect.
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

/// From nothing to a day: a clock's time and a few of these can be added up.
const ANY_TIME: Kind = Duration(0..=DAY);
/// At least 10 ms: in less a busy machine does nothing.
const SOME_TIME: Kind = Duration(10..=DAY);
const DAY: u64 = 24 * 60 * 60 * 1000;
/// 4 PiB, so that sums have room in an integer.
const DISK: u64 = 1 << 52;
/// 1 TiB, of which SQLite can still count the KiB.
const MEMORY: u64 = 1 << 40;
const COUNT: Kind = Number(1..=u32::MAX as u64);

/// Everything that can be configured, beside librdkafka's own properties.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("ingress.listen", Address, "0.0.0.0:18446", Start,
        "where senders reach the bridge; `[::]:18446` is every IPv6 address, and every IPv4 one if the system has it so. An address that is not loopback needs `tls` or `plain_http`"),
    key("ingress.channels", Path, "/etc/koobridge/channels", Start,
        "directory of webhook passwords: [channels](#channels)"),
    key("ingress.plain_http", Boolean, "false", Start,
        "allow HTTP on an address that is not loopback, if a proxy in front of the bridge ends TLS: the password travels in the head"),
    key("ingress.tls.certificate", Path, "", Start,
        "PEM file with the certificate, followed by those it was issued by; the ingress speaks HTTPS if it is named: [TLS](#tls)"),
    key("ingress.tls.key", SecretFile, "", Start,
        "PEM file with the certificate's private key"),
    key("ingress.tls.client_ca", Path, "", Start,
        "PEM file with the authorities of client certificates; if it is named, every sender needs one"),
    key("ingress.allow", Networks, "", Request,
        "networks or addresses that may send, `[\"10.0.0.0/8\"]`; a connection from elsewhere is closed at once. An empty list allows every address: [who may come](#who-may-come)"),
    key("ingress.trusted_proxies", Networks, "", Request,
        "networks of proxies whose `x-forwarded-for` is believed, at most as wide as an IPv4 /8: [who may come](#who-may-come)"),
    key("ingress.workers", Number(0..=65535), "0", Start,
        "worker threads; 0 is one for each CPU core"),
    key("ingress.success_status", Words(|| parse::words(SUCCESSES)), "200", Request,
        "status of the answer to an accepted report, which is empty in any case"),
    key("ingress.deadline", SOME_TIME, "4500ms", Request,
        "every answer is sent within this time, counted from the complete head"),
    key("ingress.head_limit", Size(8 << 10..=64 << 10), "16 KiB", Connection,
        "largest head; past it, 431"),
    key("ingress.head_timeout", SOME_TIME, "5s", Connection,
        "time limit for a TLS handshake, for a head (from its first byte), and for a peer to read an answer; past it, the connection is closed"),
    key("ingress.body_limit", Size(1 << 10..=MEMORY), "64 KiB", Request,
        "largest body; past it, 413. It has to fit a Kafka record: at least 16 KiB less than `message.max.bytes`"),
    key("ingress.body_timeout", SOME_TIME, "2s", Request,
        "time limit for a body, counted from the complete head; past it, 408. Shorter than the deadline"),
    key("ingress.idle_timeout", SOME_TIME, "75s", Connection,
        "how long a connection may be idle between requests"),
    key("ingress.connection_age", ANY_TIME, "0s", Connection,
        "maximum age of a connection, shortened by up to 10 % at random; the first answer after it closes the connection. Senders then spread over new replicas and show their client certificate again. `0s`: no limit"),
    key("ingress.connections", COUNT, "10000", Start,
        "open connections; past it, each new one [takes the place](#connections) of one that is not authenticated or idle, or waits. Each is a file descriptor: if the system allows too few open files, the limit is lower, and a warning says so"),
    key("ingress.reports_in_flight", COUNT, "10000", Start,
        "reports whose delivery is still open; past it, 503 at once. With a spool, half of them and of the bytes are for reports on their way to the disk"),
    key("ingress.bytes_in_flight", Size(0..=MEMORY), "64 MiB", Start,
        "memory of those reports and of bodies that are being read; past it, 503 at once. The process takes [more than twice that](operating.md#size-it). At least `body_limit` + 16 KiB"),
    key("ingress.drain_delay", ANY_TIME, "5s", Start,
        "how long reports are still accepted after SIGTERM, while the bridge says that it is not ready, so that a load balancer can notice; `0s` under `dev`"),
    key("admin.listen", Address, "127.0.0.1:18447", Start,
        "address of [the status page](operating.md#the-status-page), [probes and metrics](metrics.md)"),
    key("admin.hosts", Hosts, "", Start,
        "names under which that address may be reached, `[\"koobridge.monitoring.svc\"]`; a request for another name is answered [421](metrics.md#host-names). `localhost` and IP addresses need not be listed"),
    key("kafka.topic", Topic, "koomessage.reports", Start,
        "topic of the events"),
    key("kafka.rejected_topic", Topic, "koomessage.reports.rejected", Start,
        "topic of requests that could not be accepted; another one than `kafka.topic`"),
    key("kafka.producers", Number(0..=MOST_PRODUCERS as u64), "0", Start,
        "how many producers send to the events topic; `0` chooses 4 if a broker leads 8 of its partitions or more, else 1: see [partitions and producers](performance.md#partitions-and-producers)"),
    key("kafka.event_mode", Words(|| parse::words(EVENT_MODES)), "binary", Start,
        "CloudEvents content mode: see [subscribing](subscribing.md#structured-mode)"),
    key("kafka.schema_id", SchemaId, "", Start,
        "id of the events' schema in a schema registry; each event then names it in a header: see [a schema registry](subscribing.md#a-schema-registry). For binary mode"),
    key("kafka.flush_timeout", ANY_TIME, "10s", Start,
        "how long a stopping bridge waits for Kafka's acknowledgements"),
    key("kafka.allow_unsafe", Unsafe, "", Start,
        "Kafka properties whose [unsafe value](#unsafe-values) is wanted"),
    key("spool.directory", Path, "", Start,
        "directory of [the spool](spool.md), for this bridge alone; made if it is missing. There is no spool if it is empty"),
    key("spool.after", SOME_TIME, "1s", Start,
        "how long a report waits for Kafka alone before it is written to the spool. With `body_timeout` and 0.5 s for an fsync it is shorter than the deadline"),
    key("spool.disk_limit", Size(16 << 20..=DISK), "1 GiB", Start,
        "most that the spool's directory takes on disk; past it, 503 at once"),
    key("spool.free_space", Size(0..=DISK), "256 MiB", Start,
        "space that the spool leaves free on its file system; past it, 503 at once"),
    key("spool.memory", Size(1 << 20..=MEMORY), "8 MiB", Start,
        "memory for the spool's cache and for reports that are read back from it; librdkafka's copies [come on top](operating.md#size-it)"),
    key("log.format", Words(|| parse::words(LOG_FORMATS)), "auto", Start,
        "`auto` is text on a terminal, else JSON; logs go to standard error"),
    key("log.level", Words(|| parse::words(LOG_LEVELS)), "info", Start,
        "the least severe level that is logged"),
    key("log.reports", Boolean, "false", Request,
        "a line in the log for each report that is answered: [logs](metrics.md#logs)"),
    key("traces.endpoint", Url, "", Start,
        "URL that spans are sent to by OTLP over HTTP, `http://collector:4318/v1/traces`: [traces](traces.md). If it is empty, the variables of OpenTelemetry decide"),
    key("traces.sample_ratio", Ratio, "1", Start,
        "share of the traces that are recorded, of those that begin here: on the others the sender has decided"),
];

#[rustfmt::skip]
const fn key(name: &'static str, kind: Kind, default: &'static str, applies: Applies, help: &'static str) -> Key {
    Key { name, kind, default, applies, help }
}

/// The section whose keys are librdkafka's properties.
pub(super) const PROPERTIES: &str = "kafka.properties.";

/// Returns the key of that name, librdkafka's properties excluded.
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

/// Whether a change of this key, which may be a librdkafka property, is taken over while the bridge serves.
pub(super) fn is_live(name: &str) -> bool {
    find(name).is_some_and(|key| key.applies != Start)
}

/// The variable of a key: `KOOBRIDGE_` and the name, in capitals, dots as underscores.
pub(super) fn variable(name: &str) -> String {
    let name = name.replace('.', "_").to_ascii_uppercase();
    format!("{VARIABLE_PREFIX}{name}")
}

pub(super) const VARIABLE_PREFIX: &str = "KOOBRIDGE_";

/// The key of a variable, librdkafka's properties included.
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

/// Whether there is a key of this name, librdkafka's properties included.
pub(super) fn is_key(name: &str) -> bool {
    find(name).is_some()
        || name
            .strip_prefix(PROPERTIES)
            .is_some_and(|property| !property.is_empty())
}

/// Returns the known name that is most like `name`, if one is like it at all.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.85)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// Variables that are read elsewhere.
pub(super) const OTHER_VARIABLES: [&str; 1] = ["KOOBRIDGE_CONFIG"];
