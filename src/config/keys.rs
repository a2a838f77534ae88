//! Every key of the configuration, with its default and what it is for: the one place where a
//! default is written.

/// A key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Section and name, joined by a dot.
    pub name: &'static str,
    /// As it would be typed; `None` where it has to be.
    pub default: Option<&'static str>,
    /// One line of Markdown: the table in `docs/configuration.md` is made of these.
    pub help: &'static str,
    /// Whether it names a file or directory: typed in the file, it is relative to the file.
    pub is_path: bool,
    /// Whether a change is taken over while the bridge serves.
    pub is_live: bool,
}

impl Key {
    const fn path(self) -> Self {
        Self {
            is_path: true,
            ..self
        }
    }

    const fn live(self) -> Self {
        Self {
            is_live: true,
            ..self
        }
    }
}

const fn key(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key {
        name,
        default: Some(default),
        help,
        is_path: false,
        is_live: false,
    }
}

/// Everything that can be configured, beside librdkafka's own properties.
pub const KEYS: &[Key] = &[
    key(
        "ingress.listen",
        "0.0.0.0:18446",
        "IP address and port that senders reach; `[::]:18446` is every IPv6 address, and every IPv4 one if the system has it so. An address that is not loopback needs `tls` or `plain_http`",
    ),
    key(
        "ingress.channels",
        "/etc/koobridge/channels",
        "directory of webhook passwords, [below](#channels); in the file it is relative to the file",
    )
    .path(),
    key(
        "ingress.plain_http",
        "false",
        "allow HTTP on an address that is not loopback, where something in front of the bridge ends TLS: the password travels in the head",
    ),
    key(
        "ingress.tls.certificate",
        "",
        "PEM file with the certificate, followed by those it was issued by; HTTPS where it is named: [TLS](#tls). In the file, this and the next two are relative to the file",
    )
    .path(),
    key(
        "ingress.tls.key",
        "",
        "PEM file with the certificate's private key",
    )
    .path(),
    key(
        "ingress.tls.client_ca",
        "",
        "PEM file with the authorities of client certificates; where it is named, every sender needs one",
    )
    .path(),
    key(
        "ingress.allow",
        "",
        "networks or addresses that may send, `[\"10.0.0.0/8\"]`; a connection from elsewhere is closed at once; none is every one: [who may come](#who-may-come)",
    )
    .live(),
    key(
        "ingress.trusted_proxies",
        "",
        "networks of proxies whose `x-forwarded-for` is believed, at most as wide as an IPv4 /8: [who may come](#who-may-come)",
    )
    .live(),
    key(
        "ingress.workers",
        "0",
        "worker threads; 0 is one a CPU core",
    ),
    key("ingress.success_status", "200", "200, 202 or 204").live(),
    key(
        "ingress.deadline",
        "4500ms",
        "every answer comes inside this, counted from the complete head",
    )
    .live(),
    key(
        "ingress.head_limit",
        "16 KiB",
        "largest head, 8 KiB to 64 KiB; past it, 431",
    )
    .live(),
    key(
        "ingress.head_timeout",
        "5s",
        "time limit for a TLS handshake, for a head (from its first byte), and for a peer to read an answer; past it, the connection is closed",
    )
    .live(),
    key(
        "ingress.body_limit",
        "64 KiB",
        "largest body, at least 1 KiB; past it, 413. It has to fit a Kafka record: at least 16 KiB less than `message.max.bytes`",
    )
    .live(),
    key(
        "ingress.body_timeout",
        "2s",
        "how long a body may take from the complete head; past it, 408. Shorter than the deadline",
    )
    .live(),
    key(
        "ingress.idle_timeout",
        "75s",
        "how long a connection may be idle between requests",
    )
    .live(),
    key(
        "ingress.connection_age",
        "0s",
        "maximum age of a connection, shortened by up to 10 % at random; the first answer after it closes the connection. Senders then spread over new replicas and show their client certificate again. `0s`: no limit. For new connections",
    )
    .live(),
    key(
        "ingress.connections",
        "10000",
        "open connections; past it, each new one [takes the place](#connections) of one that is not authenticated or idle, or waits. Each is a file descriptor: if the system allows too few open files, the limit is lower, and a warning says so",
    ),
    key(
        "ingress.reports_in_flight",
        "10000",
        "reports whose delivery is still open; past it, 503 at once. With a spool half of them, and of the bytes, is for what is on its way to the disk",
    ),
    key(
        "ingress.bytes_in_flight",
        "64 MiB",
        "what those reports, and bodies that are being read, hold; past it, 503 at once. Memory takes [more than twice that](operating.md#size-it). At least `body_limit` + 16 KiB",
    ),
    key(
        "ingress.drain_delay",
        "5s",
        "how long reports are still taken after SIGTERM, not ready any more, so that a load balancer can notice; `0s` under `dev`",
    ),
    key(
        "admin.listen",
        "127.0.0.1:18447",
        "IP address and port of [the status page](operating.md#the-status-page), [probes and metrics](metrics.md)",
    ),
    key(
        "admin.hosts",
        "",
        "names under which that address may be reached, `[\"koobridge.monitoring.svc\"]`; a request for another name is answered [421](metrics.md#host-names). `localhost` and IP addresses need not be listed",
    ),
    key("kafka.topic", "koomessage.reports", "topic of the events"),
    key(
        "kafka.rejected_topic",
        "koomessage.reports.rejected",
        "topic of what could not be accepted; not the same one",
    ),
    key(
        "kafka.event_mode",
        "binary",
        "CloudEvents content mode, `binary` or `structured`: see [subscribing](subscribing.md#structured-mode)",
    ),
    key(
        "kafka.flush_timeout",
        "10s",
        "how long a stopping bridge waits for Kafka's acknowledgements",
    ),
    key(
        "kafka.allow_unsafe",
        "",
        "Kafka properties whose unsafe value is wanted, [below](#unsafe-values)",
    ),
    key(
        "spool.directory",
        "",
        "directory of [the spool](spool.md), of this bridge alone; in the file it is relative to the file",
    )
    .path(),
    key(
        "spool.after",
        "1s",
        "how long a report waits for Kafka alone before it is written to the spool. With `body_timeout` and 0.5 s for an fsync it is shorter than the deadline",
    ),
    key(
        "spool.disk_limit",
        "1 GiB",
        "what the spool may take on disk, at least 1 MiB; past it, 503 at once",
    ),
    key(
        "spool.free_space",
        "256 MiB",
        "what the spool leaves free on its file system; past it, 503 at once",
    ),
    key(
        "spool.memory",
        "8 MiB",
        "memory for the spool's cache and for what is read back from it; librdkafka's copies [come on top](operating.md#size-it)",
    ),
    key(
        "log.format",
        "auto",
        "`auto` (text on a terminal, else JSON), `text` or `json`; logs go to standard error",
    ),
    key(
        "log.level",
        "info",
        "`error`, `warn`, `info`, `debug` or `trace`",
    ),
    key(
        "log.reports",
        "false",
        "a line in the log for each report that is answered: [logs](metrics.md#logs)",
    )
    .live(),
];

/// The section whose keys are librdkafka's properties.
pub(super) const PROPERTIES: &str = "kafka.properties.";

/// Returns the key of that name, librdkafka's properties excluded.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether a change of this key, which may be a librdkafka property, is taken over while the bridge serves.
pub(super) fn is_live(name: &str) -> bool {
    find(name).is_some_and(|key| key.is_live)
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

/// The known name that is most like `name`, where one is like it at all.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.85)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// Variables that are read elsewhere.
pub(super) const OTHER_VARIABLES: [&str; 1] = ["KOOBRIDGE_CONFIG"];
