//! The rules for librdkafka's properties: one name for each, which ones the bridge keeps for
//! itself, which values are unsafe, and which must not be shown.

use std::time::Duration;

/// Names that are other names of a property (librdkafka's CONFIGURATION.md calls them aliases).
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

/// The one name of a property.
pub(super) fn canonical(name: &str) -> &str {
    ALIASES
        .iter()
        .find(|(alias, _)| *alias == name)
        .map_or(name, |(_, name)| name)
}

/// Returns whether a property's value is a secret, by its name: also by one that librdkafka does not have, since
/// it may be a misspelt one.
pub(super) fn is_secret(name: &str) -> bool {
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

/// Why a property can't be configured, where the bridge relies on its own value.
pub(super) fn reserved(name: &str) -> Option<&'static str> {
    match name {
        "partitioner" | "partitioner_cb" => {
            Some("is not to be set: the bridge picks partitions as the Java client does")
        }
        "transactional.id" => Some("is not to be set: each report stands for itself"),
        "delivery.report.only.error" => {
            Some("is not to be set: the bridge answers on delivery reports")
        }
        _ if name.starts_with("test.mock.") => {
            Some("is not to be set: `koobridge dev` has an embedded broker")
        }
        _ => None,
    }
}

/// What a property's value endangers, where it does. `value` is as librdkafka reads it, which takes
/// `1` and `T` for true, any case, and numbers as C writes them.
pub(super) fn danger(name: &str, value: &str, deadline: Option<Duration>) -> Option<&'static str> {
    match (name, value) {
        ("acks", "all" | "-1") | ("enable.idempotence", "true") => None,
        ("acks", _) => Some("a success would no longer mean that every in-sync replica has it"),
        ("enable.idempotence", _) => Some("records could be repeated and reordered"),
        ("allow.auto.create.topics", "true") => {
            Some("a deleted topic would come back with one replica")
        }
        ("retries", "0") => Some("a passing fault would fail a delivery"),
        ("message.timeout.ms", _) => {
            let timeout = value.parse().ok().filter(|number| *number > 0);
            let timeout = timeout.map(Duration::from_millis);
            (timeout? <= deadline?).then_some("a timed-out delivery repeats what was in flight")
        }
        ("enable.ssl.certificate.verification", "false") => Some("anybody could pose as a broker"),
        ("ssl.endpoint.identification.algorithm", "none") => {
            Some("any certificate would do for a broker")
        }
        _ => None,
    }
}
