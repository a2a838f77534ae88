//! librdkafka's properties: their aliases, and which are reserved or unsafe.

use super::*;

const PREFIX: &str = "kafka.properties.";

fn with(name: &str, value: &str) -> Case {
    Case::minimal("").flag(&format!("{PREFIX}{name}"), value)
}

#[test]
fn dotted_nested_and_quoted_names_are_one_property() {
    for text in [
        "linger.ms = 7\n",
        "\"linger.ms\" = 7\n",
        "linger = { ms = 7 }\n",
        "linger.\"ms\" = \"7\"\n",
        "[kafka.properties.linger]\nms = 0x7\n",
        "[kafka]\n\"properties.linger.ms\" = 7\n",
        "\"queue.buffering.max.ms\" = 7\n",
        "[kafka.properties.queue.buffering]\nmax = { ms = 7 }\n",
    ] {
        let case = Case::minimal(text);
        assert_eq!(case.property("linger.ms").as_deref(), Some("7"), "{text}");
        let count = case.config().kafka.properties.len();
        assert_eq!(count, 2, "{text}");
    }
    let variable = Case::minimal("").variable("KOOBRIDGE_KAFKA_PROPERTIES_LINGER_MS", "7");
    assert_eq!(variable.property("linger.ms").as_deref(), Some("7"));
}

#[test]
fn an_alias_overrides_its_property_in_an_earlier_source() {
    let case = Case::minimal("queue.buffering.max.ms = 1\n")
        .variable("KOOBRIDGE_KAFKA_PROPERTIES_LINGER_MS", "2")
        .flag("kafka.properties.queue.buffering.max.ms", "3");
    assert_eq!(case.property("linger.ms").as_deref(), Some("3"));
    assert_eq!(case.config().kafka.properties.len(), 2);
    let file = Case::minimal("\nmetadata.broker.list = \"l:1\"\n");
    let problem = "is set twice, perhaps under an alias; keep one";
    let key = "kafka.properties.bootstrap.servers";
    assert_eq!(file.errors(), [format!("k.toml:6: {key}: {problem}")]);
    let variables = Case::minimal("")
        .variable("KOOBRIDGE_KAFKA_PROPERTIES_ACKS", "all")
        .variable("KOOBRIDGE_KAFKA_PROPERTIES_REQUEST_REQUIRED_ACKS", "all");
    let place = "KOOBRIDGE_KAFKA_PROPERTIES_REQUEST_REQUIRED_ACKS";
    assert_eq!(
        variables.errors(),
        [format!("{place}: kafka.properties.acks: {problem}")]
    );
}

/// The aliases of librdkafka 2.12.1 (`_RK_C_ALIAS` in `rdkafka_conf.c`).
const ALIASES: [(&str, &str); 12] = [
    ("acks", "request.required.acks"),
    ("bootstrap.servers", "metadata.broker.list"),
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("enable.auto.commit", "auto.commit.enable"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("retries", "message.send.max.retries"),
    ("sasl.mechanism", "sasl.mechanisms"),
    (
        "sasl.oauthbearer.client.credentials.client.id",
        "sasl.oauthbearer.client.id",
    ),
    (
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.client.secret",
    ),
];

#[test]
fn every_alias_of_librdkafka_is_the_same_key_as_its_property() {
    // Some can be set only if librdkafka is built with them.
    let any: PropertyCheck = |_, value| Ok(value.to_owned());
    let mut two_keys = Vec::new();
    for (alias, name) in ALIASES {
        let case = Case::minimal("")
            .flag(&format!("{PREFIX}{alias}"), "all")
            .flag(&format!("{PREFIX}{name}"), "all");
        let config = Config::check(&Settings::gather(&case.sources), any).expect("a configuration");
        let names = config.kafka.properties.iter().map(|p| p.name.as_str());
        if names.filter(|given| [alias, name].contains(given)).count() != 1 {
            two_keys.push(alias);
        }
    }
    assert_eq!(two_keys, [""; 0]);
}

#[test]
fn an_unknown_property_is_not_an_alias() {
    let mut taken = Vec::new();
    for (name, value) in [
        ("batch.num.messages.max", "10"),
        ("partition.assignment.strategies", "range"),
        ("ssl.cipher.suite", "x"),
        ("ssl.curve.list", "x"),
        ("ssl.sigalg.list", "x"),
    ] {
        assert!(check_property(name, value).is_err(), "{name}");
        if with(name, value).check().is_ok() {
            taken.push(name);
        }
    }
    assert_eq!(taken, [""; 0]);
}

#[test]
fn reserved_properties_cannot_be_set() {
    let partitioner = "must not be set: the bridge computes partitions as Kafka's Java client does";
    for (name, value, problem) in [
        ("partitioner", "murmur2_random", partitioner),
        ("partitioner_cb", "x", partitioner),
        (
            "transactional.id",
            "x",
            "must not be set: the bridge does not publish reports in transactions",
        ),
        (
            "delivery.report.only.error",
            "false",
            "must not be set: the bridge needs the delivery report of every record",
        ),
        (
            "test.mock.num.brokers",
            "1",
            "must not be set: use `koobridge dev` for an embedded broker",
        ),
    ] {
        let expected = format!("flag: {PREFIX}{name}: {problem}");
        assert_eq!(with(name, value).errors(), [expected]);
        // `kafka.allow_unsafe` can't allow it.
        let allowed = with(name, value).flag("kafka.allow_unsafe", name);
        let expected = [("kafka.allow_unsafe"), (&format!("{PREFIX}{name}"))];
        let ConfigErrors(errors) = allowed.check().expect_err("errors");
        let keys: Vec<_> = errors.iter().map(|error| &*error.key).collect();
        assert_eq!(keys, expected);
    }
}

#[test]
fn librdkafkas_refusals_are_reported_verbatim() {
    let refused = "librdkafka refuses it:";
    for (name, value, problem) in [
        (
            "lingr.ms",
            "5",
            "No such configuration property: \"lingr.ms\"",
        ),
        (
            "socket.timeout.ms",
            "1",
            "Configuration property \"socket.timeout.ms\" value 1 is outside allowed range 10..300000",
        ),
        (
            "enable.idempotence",
            "yes",
            "Expected bool value for \"enable.idempotence\": true or false",
        ),
    ] {
        let expected = format!("flag: {PREFIX}{name}: {refused} {problem}");
        assert_eq!(with(name, value).errors()[0], expected);
    }
}

#[test]
fn an_unsafe_value_is_refused_with_its_danger() {
    for (name, value, danger) in [
        (
            "acks",
            "1",
            "a success would no longer mean that every in-sync replica has the record",
        ),
        (
            "acks",
            "0",
            "a success would no longer mean that every in-sync replica has the record",
        ),
        (
            "enable.idempotence",
            "false",
            "records could be repeated and reordered",
        ),
        (
            "allow.auto.create.topics",
            "true",
            "a deleted topic would come back with one replica",
        ),
        ("retries", "0", "a temporary fault would fail a delivery"),
        (
            "message.timeout.ms",
            "4500",
            "when a delivery times out, records in flight are repeated",
        ),
        (
            "enable.ssl.certificate.verification",
            "false",
            "any server could impersonate a broker",
        ),
        (
            "ssl.endpoint.identification.algorithm",
            "none",
            "the host name in a broker's certificate would not be checked",
        ),
    ] {
        let expected = format!(
            "flag: {PREFIX}{name}: {value} is unsafe: {danger}; remove it, or add \"{name}\" to \
             kafka.allow_unsafe"
        );
        assert_eq!(with(name, value).errors(), [expected]);
        let others = ["acks", "retries"].into_iter().find(|other| *other != name);
        let another = with(name, value).flag("kafka.allow_unsafe", others.expect("another"));
        assert_eq!(another.errors().len(), 1, "{name}");
    }
}

#[test]
fn an_unknown_name_in_allow_unsafe_is_an_error() {
    let unknown = "is not a property that can have an unsafe value";
    let all = "acks, allow.auto.create.topics, enable.idempotence, enable.ssl.certificate.verification, \
               message.timeout.ms, retries, ssl.endpoint.identification.algorithm";
    for (names, problem) in [
        ("ackss", format!("\"ackss\" {unknown}; did you mean acks?")),
        (
            "acks, enable.idempotense",
            format!("\"enable.idempotense\" {unknown}; did you mean enable.idempotence?"),
        ),
        (
            "linger.ms",
            format!("\"linger.ms\" {unknown}; remove it, or write one of {all}"),
        ),
    ] {
        let case = Case::minimal("").flag("kafka.allow_unsafe", names);
        let expected = format!("flag: kafka.allow_unsafe: {problem}");
        assert_eq!(case.errors(), [expected]);
    }
    let case = Case::minimal("").flag("kafka.allow_unsafe", "request.required.acks");
    assert_eq!(case.config().kafka.unsafe_settings, [""; 0]);
}

#[test]
fn a_safe_value_needs_no_allow_unsafe() {
    for (name, value) in [
        ("acks", "all"),
        ("acks", "-1"),
        ("enable.idempotence", "true"),
        ("allow.auto.create.topics", "false"),
        ("retries", "1"),
        ("message.timeout.ms", "4501"),
        // No timeout.
        ("message.timeout.ms", "0"),
        ("enable.ssl.certificate.verification", "true"),
        ("ssl.endpoint.identification.algorithm", "https"),
    ] {
        let case = with(name, value).flag("kafka.allow_unsafe", name);
        assert_eq!(case.config().kafka.unsafe_settings, [""; 0], "{name}");
        with(name, value).config();
    }
}

/// librdkafka accepts `true`, `t` and `1` in any case, words in any case, and C's notations of numbers.
#[test]
fn an_unsafe_value_is_refused_in_every_notation() {
    let mut taken = Vec::new();
    for (name, value) in [
        ("acks", "none"),
        ("enable.idempotence", "F"),
        ("allow.auto.create.topics", "1"),
        ("allow.auto.create.topics", "t"),
        ("allow.auto.create.topics", "True"),
        ("enable.ssl.certificate.verification", "0"),
        ("enable.ssl.certificate.verification", "FALSE"),
        ("ssl.endpoint.identification.algorithm", "NONE"),
        ("retries", "0x0"),
        ("message.timeout.ms", "0x64"),
    ] {
        let Err(errors) = with(name, value).check() else {
            taken.push((name, value));
            continue;
        };
        assert!(errors.to_string().contains(name), "{errors}");
    }
    assert_eq!(taken, [("", ""); 0]);
}

/// With a longer linger, each report would be answered 503, or would go to the spool.
#[test]
fn a_linger_above_the_deadline_is_refused_in_every_notation() {
    for (name, value, read) in [
        ("linger.ms", "4500", "4500"),
        ("queue.buffering.max.ms", "5000", "5000"),
        ("linger.ms", "5e3", "5000"),
        ("linger.ms", "0x1388", "5000"),
        ("linger.ms", "4500.5", "4500.5"),
    ] {
        let expected = format!(
            "flag: {PREFIX}linger.ms: librdkafka delays each record for {read} ms, and \
             ingress.deadline is 4500ms: every report would be answered 503; lower it"
        );
        assert_eq!(with(name, value).errors(), [expected]);
    }
    let spool = with("linger.ms", "1000").flag("spool.directory", "/kept");
    let expected = format!(
        "flag: {PREFIX}linger.ms: librdkafka delays each record for 1000 ms, and spool.after is 1s: \
         every report would go to the spool; lower it"
    );
    assert_eq!(spool.errors(), [expected]);
    assert!(with("linger.ms", "nan").check().is_err());
    with("linger.ms", "999")
        .flag("spool.directory", "/kept")
        .config();
}

#[test]
fn librdkafkas_queue_must_fit_the_largest_report() {
    let key = "queue.buffering.max.kbytes";
    for value in ["79", "0x4F"] {
        assert_eq!(
            with(key, value).errors(),
            [format!(
                "flag: {PREFIX}{key}: 79 KiB is too small for a report of ingress.body_limit: librdkafka would never accept \
                 it; set at least 80"
            )]
        );
    }
    with(key, "80").config();
}

#[test]
fn message_max_bytes_is_read_as_librdkafka_reads_it() {
    let raised = with("message.max.bytes", "0x1E8480").flag("ingress.body_limit", "1 MiB");
    assert_eq!(raised.config().ingress.limits.body, 1 << 20);
    let lowered = with("message.max.bytes", "0x3E8");
    assert!(lowered.errors()[0].contains("a Kafka record of 1000 bytes"));
}

#[test]
fn the_default_record_size_is_that_of_the_producers() {
    let (_, bytes) = crate::kafka::DEFAULTS
        .into_iter()
        .find(|(name, _)| *name == "message.max.bytes")
        .expect("a default");
    assert_eq!(bytes, DEFAULT_MESSAGE_MAX_BYTES.to_string());
}
