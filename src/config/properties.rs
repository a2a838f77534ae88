//! The rules for librdkafka's properties: their aliases, and which properties are reserved, unsafe or secret.

use std::time::Duration;

use super::{keys, parse};

/// Aliases and their properties (librdkafka's CONFIGURATION.md).
const ALIASES: [(&str, &str); 12] = [
    ("compression.codec", "compression.type"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("message.send.max.retries", "retries"),
    ("metadata.broker.list", "bootstrap.servers"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("request.required.acks", "acks"),
    ("sasl.mechanisms", "sasl.mechanism"),
    ("auto.commit.enable", "enable.auto.commit"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    (
        "sasl.oauthbearer.client.credentials.client.id",
        "sasl.oauthbearer.client.id",
    ),
    (
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.client.secret",
    ),
];

/// Returns the canonical name of a property.
pub(super) fn canonical(name: &str) -> &str {
    ALIASES
        .iter()
        .find(|(alias, _)| *alias == name)
        .map_or(name, |(_, name)| name)
}

/// Returns whether a property's name indicates a secret. Unknown names count too, because a secret's name may be
/// misspelt.
pub(crate) fn is_secret(name: &str) -> bool {
    const SECRET: [&str; 9] = [
        "pass",
        "pasw",
        "pwd",
        "secret",
        "token",
        "credential",
        "jaas",
        "key",
        "oauthbearer.conf",
    ];
    const PUBLIC_ENDS: [&str; 5] = [".location", ".file", ".url", ".id", ".keytab"];
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|part| name.contains(part))
        && !PUBLIC_ENDS.iter().any(|end| name.ends_with(end))
}

/// Returns whether a property names a file or a directory.
pub(super) fn names_file(name: &str) -> bool {
    [".location", ".file"].iter().any(|end| name.ends_with(end))
}

/// The properties that name a file with a secret.
pub(super) const SECRET_FILES: [&str; 2] = [
    "kafka.properties.ssl.key.location",
    "kafka.properties.ssl.keystore.location",
];

/// Returns the reason why a property can't be configured, if the bridge relies on its own value.
pub(super) fn reserved(name: &str) -> Option<&'static str> {
    match name {
        "partitioner" | "partitioner_cb" => {
            Some("must not be set: the bridge computes partitions as Kafka's Java client does")
        }
        "transactional.id" => {
            Some("must not be set: the bridge does not publish reports in transactions")
        }
        "delivery.report.only.error" => {
            Some("must not be set: the bridge needs the delivery report of every record")
        }
        _ if name.starts_with("test.mock.") => {
            Some("must not be set: use `koobridge dev` for an embedded broker")
        }
        _ => None,
    }
}

/// The properties that can have an unsafe value, and the danger of such a value.
const UNSAFE: [(&str, &str); 7] = [
    (
        "acks",
        "a success would no longer mean that every in-sync replica has the record",
    ),
    (
        "allow.auto.create.topics",
        "a deleted topic would come back with one replica",
    ),
    (
        "enable.idempotence",
        "records could be repeated and reordered",
    ),
    (
        "enable.ssl.certificate.verification",
        "any server could impersonate a broker",
    ),
    (
        "message.timeout.ms",
        "when a delivery times out, records in flight are repeated",
    ),
    ("retries", "a temporary fault would fail a delivery"),
    (
        "ssl.endpoint.identification.algorithm",
        "the host name in a broker's certificate would not be checked",
    ),
];

/// Parses a list of properties that can have an unsafe value; returns their canonical names.
pub(super) fn unsafe_names(text: &str) -> Result<Vec<String>, String> {
    let known = || UNSAFE.iter().map(|(name, _)| *name);
    let names = parse::names(text).into_iter().map(|name| {
        let canonical = canonical(&name);
        if known().any(|known| known == canonical) {
            return Ok(canonical.to_owned());
        }
        let unknown = format!("\"{name}\" is not a property that can have an unsafe value");
        Err(match keys::nearest(&name, known()) {
            Some(nearest) => format!("{unknown}; did you mean {nearest}?"),
            None => format!(
                "{unknown}; remove it, or write one of {}",
                known().collect::<Vec<_>>().join(", ")
            ),
        })
    });
    names.collect()
}

/// Returns the danger of a property's value, if it is unsafe. `value` must be in librdkafka's normal form: librdkafka
/// also accepts `1` and `T` for true, any case, and C's notations of numbers.
pub(super) fn danger(name: &str, value: &str, deadline: Option<Duration>) -> Option<&'static str> {
    let (_, danger) = UNSAFE.iter().find(|(known, _)| *known == name)?;
    let is_unsafe = match name {
        "acks" => !["all", "-1"].contains(&value),
        "enable.idempotence" => value != "true",
        "allow.auto.create.topics" => value == "true",
        "retries" => value == "0",
        "message.timeout.ms" => {
            let timeout = value.parse().ok().filter(|number| *number > 0);
            Duration::from_millis(timeout?) <= deadline?
        }
        "enable.ssl.certificate.verification" => value == "false",
        _ => value == "none",
    };
    is_unsafe.then_some(danger)
}
