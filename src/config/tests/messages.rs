//! The order of the sources, and the exact text of each error.

use super::*;

#[test]
fn each_source_overrides_the_one_before() {
    let layers = |file: bool, variable: bool, flag: bool| {
        let text = if file {
            "[log]\nlevel = \"warn\"\n"
        } else {
            ""
        };
        let mut case = Case::minimal(text);
        if variable {
            case = case.variable("KOOBRIDGE_LOG_LEVEL", "debug");
        }
        if flag {
            case = case.flag("log.level", "trace");
        }
        case.config().log.level
    };
    for (file, variable, flag, level) in [
        (false, false, false, LogLevel::Info),
        (true, false, false, LogLevel::Warn),
        (false, true, false, LogLevel::Debug),
        (true, true, false, LogLevel::Debug),
        (true, false, true, LogLevel::Trace),
        (true, true, true, LogLevel::Trace),
    ] {
        assert_eq!(layers(file, variable, flag), level);
    }
}

#[test]
fn only_the_value_in_force_is_checked() {
    let case = Case::minimal("\n[log]\nlevel = \"loud\"\n");
    let expected = "\"loud\" is not one of error, warn, info, debug, trace";
    assert_eq!(case.errors(), [format!("k.toml:7: log.level: {expected}")]);
    let case = case.variable("KOOBRIDGE_LOG_LEVEL", "quiet");
    let expected = "\"quiet\" is not one of error, warn, info, debug, trace";
    assert_eq!(
        case.errors(),
        [format!("KOOBRIDGE_LOG_LEVEL: log.level: {expected}")]
    );
    assert_eq!(
        case.flag("log.level", "warn").config().log.level,
        LogLevel::Warn
    );
}

#[test]
fn each_wrong_value_has_its_own_message() {
    let duration = "is not a duration; write for example \"5s\", \"500ms\" or \"2m\"";
    let size = "is not a size; write for example \"64 KiB\" or \"1 MiB\"";
    let address = "is not an IP address and port; write for example \"127.0.0.1:18446\"";
    let topic = "is not a topic name; write 1 to 249 letters, digits, '.', '_' or '-'";
    for (key, value, problem) in [
        (
            "ingress.listen",
            "localhost:1",
            format!("\"localhost:1\" {address}"),
        ),
        ("admin.listen", "1", format!("\"1\" {address}")),
        (
            "admin.hosts",
            "bridge, bridge:18447",
            "\"bridge:18447\" is not a host name; write it in ASCII without scheme, port and wildcard, for \
             example \"koobridge.monitoring.svc\"; IP addresses need not be listed"
                .to_owned(),
        ),
        ("ingress.channels", "", "is empty; name a path".to_owned()),
        (
            "ingress.plain_http",
            "yes",
            "\"yes\" is neither true nor false".to_owned(),
        ),
        (
            "ingress.workers",
            "-1",
            "\"-1\" is not a whole number from 0 to 65535".to_owned(),
        ),
        (
            "ingress.success_status",
            "201",
            "\"201\" is not one of 200, 202, 204".to_owned(),
        ),
        ("ingress.deadline", "5", format!("\"5\" {duration}")),
        ("ingress.deadline", "-5s", format!("\"-5s\" {duration}")),
        (
            "ingress.idle_timeout",
            "0s",
            "\"0s\" is too short; write at least \"10ms\"".to_owned(),
        ),
        (
            "ingress.head_limit",
            "8191",
            "\"8191\" is too small; write at least \"8 KiB\"".to_owned(),
        ),
        (
            "ingress.head_limit",
            "65537",
            "\"65537\" is too large; write at most \"64 KiB\"".to_owned(),
        ),
        ("ingress.body_limit", "64 K", format!("\"64 K\" {size}")),
        (
            "ingress.body_limit",
            "1023",
            "\"1023\" is too small; write at least \"1 KiB\"".to_owned(),
        ),
        (
            "ingress.body_timeout",
            "4500ms",
            "must be shorter than ingress.deadline".to_owned(),
        ),
        (
            "ingress.connections",
            "4294967296",
            "\"4294967296\" is not a whole number from 1 to 4294967295".to_owned(),
        ),
        (
            "ingress.bytes_in_flight",
            "81919",
            "is too small for a report of ingress.body_limit; set at least body_limit + 16 KiB"
                .to_owned(),
        ),
        ("kafka.topic", "a/b", format!("\"a/b\" {topic}")),
        (
            "kafka.rejected_topic",
            "koomessage.reports",
            "is the same as kafka.topic; name another topic".to_owned(),
        ),
        (
            "kafka.producers",
            "9",
            "\"9\" is not a whole number from 0 to 8".to_owned(),
        ),
        (
            "kafka.event_mode",
            "Binary",
            "\"Binary\" is not one of binary, structured".to_owned(),
        ),
        (
            "log.format",
            "",
            "\"\" is not one of auto, text, json".to_owned(),
        ),
    ] {
        let errors = Case::minimal("").flag(key, value).errors();
        assert_eq!(errors, [format!("flag: {key}: {problem}")]);
    }
}

#[test]
fn bounds_are_inclusive() {
    for (key, value) in [
        ("ingress.head_limit", "8 KiB"),
        ("ingress.head_limit", "64 KiB"),
        ("ingress.body_timeout", "4499ms"),
        ("ingress.connections", "4294967295"),
        ("ingress.bytes_in_flight", "80 KiB"),
        ("ingress.drain_delay", "0s"),
        ("ingress.body_limit", "1 KiB"),
        ("ingress.body_limit", "983616"),
        ("kafka.producers", "8"),
        ("kafka.properties.linger.ms", "4499.9"),
        ("kafka.properties.queue.buffering.max.kbytes", "80"),
    ] {
        Case::minimal("").flag(key, value).config();
    }
    let beyond = Case::minimal("").flag("ingress.body_limit", "983617");
    assert_eq!(
        beyond.errors(),
        [
            "flag: ingress.body_limit: is too large: an event with such a body does not fit a Kafka record of 1000000 \
             bytes; lower it, or raise message.max.bytes (and the topic's max.message.bytes)"
        ]
    );
}

#[test]
fn http_outside_loopback_needs_plain_http() {
    for address in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:18446"] {
        Case::minimal("").flag("ingress.listen", address).config();
    }
    for address in ["0.0.0.0:18446", "[::]:18446", "10.0.0.1:1", "[fe80::1]:1"] {
        let open = Case::minimal("").flag("ingress.listen", address);
        assert_eq!(
            open.errors(),
            [format!(
                "flag: ingress.listen: {address} is not loopback, and HTTP does not encrypt the password: set \
                 ingress.tls.certificate and ingress.tls.key, listen on 127.0.0.1, or set plain_http = true if a \
                 proxy in front of the bridge terminates TLS"
            )]
        );
        open.flag("ingress.plain_http", "true").config();
    }
}

#[test]
fn an_empty_configuration_has_two_errors() {
    let case = Case::of("");
    let ConfigErrors(errors) = case.check().expect_err("errors");
    let keys: Vec<_> = errors.iter().map(|m| (&*m.place, &*m.key)).collect();
    let expected = [
        ("", "ingress.listen"),
        ("", "kafka.properties.bootstrap.servers"),
    ];
    assert_eq!(keys, expected);
    let text = case.check().expect_err("errors").to_string();
    assert!(text.starts_with("2 errors in the configuration\n  ingress.listen: 0.0.0.0:18446 is"));
    assert!(text.ends_with(
        "\n  kafka.properties.bootstrap.servers: is missing; name the brokers, for example \
         \"kafka-1:9092,kafka-2:9092\""
    ));
    let one = Case::minimal("").flag("log.level", "").check();
    let one = one.expect_err("an error").to_string();
    assert!(one.starts_with("1 error in the configuration\n"), "{one}");
}

#[test]
fn errors_of_all_sources_are_reported_at_once() {
    let case = Case::minimal("[log]\nlevel = \"loud\"\nformt = \"json\"\nformat = 2026-11-23\n")
        .variable("KOOBRIDGE_ADMIN_LISTEN", "here")
        .variable("KOOBRIDGE_ADMIN_LISTENS", "here")
        .flag("kafka.topik", "t")
        .flag("nothing", "t");
    let all = "`koobridge serve --print-config` lists the known ones";
    let address = "is not an IP address and port; write for example \"127.0.0.1:18446\"";
    assert_eq!(
        case.errors(),
        [
            "k.toml:8: log.format: is a date; write a string, a number, true or false".to_owned(),
            "k.toml:7: log.formt: unknown key; did you mean log.format?".to_owned(),
            "KOOBRIDGE_ADMIN_LISTENS: unknown variable; did you mean KOOBRIDGE_ADMIN_LISTEN?"
                .to_owned(),
            "flag: kafka.topik: unknown key; did you mean kafka.topic?".to_owned(),
            format!("flag: nothing: unknown key; {all}"),
            format!("KOOBRIDGE_ADMIN_LISTEN: admin.listen: \"here\" {address}"),
            "k.toml:6: log.level: \"loud\" is not one of error, warn, info, debug, trace"
                .to_owned(),
        ]
    );
}

#[test]
fn a_value_of_the_wrong_type_is_an_error() {
    let wrong = "write a string, a number, true or false";
    for (text, error) in [
        (
            "[kafka.topic]\na = 1\n",
            format!("5: kafka.topic: is a table; {wrong}"),
        ),
        (
            "[log]\nlevel = [[1]]\n",
            format!("6: log.level: is an array of arrays or tables; {wrong}"),
        ),
        (
            "[log]\nlevel = 10:00:00\n",
            format!("6: log.level: is a date; {wrong}"),
        ),
    ] {
        assert_eq!(Case::minimal(text).errors(), [format!("k.toml:{error}")]);
    }
}

#[test]
fn no_variable_of_a_key_is_taken_for_one_of_kubernetes() {
    for key in KEYS {
        let variable = keys::variable(key.name);
        for value in ["10.0.0.1", "1", "tcp://10.0.0.1:1", "tcp"] {
            assert!(
                !service_links::is_service_link(&variable, value),
                "{variable}"
            );
        }
    }
}

#[test]
fn a_printed_configuration_has_the_same_settings() {
    let odd = "a \"b\" \\ # c";
    let case = Case::minimal("client.id = \"x\"\n[log]\nlevel = \"warn\"\n")
        .flag("ingress.channels", "/a")
        .flag("kafka.properties.client.id", odd)
        .flag("kafka.properties.acks", "1")
        .flag("kafka.allow_unsafe", "acks, retries");
    let printed = Case::of(&case.print());
    let (one, other) = (case.config(), printed.config());
    let mut properties: Vec<_> = crate::kafka::DEFAULTS.to_vec();
    properties.retain(|(name, _)| !["acks", "client.id"].contains(name));
    properties.extend([
        ("acks", "1"),
        ("bootstrap.servers", "k:9092"),
        ("client.id", odd),
    ]);
    properties.sort_unstable();
    let found = other.kafka.properties.iter();
    let found: Vec<_> = found.map(|p| (&*p.name, &*p.value)).collect();
    assert_eq!(found, properties);
    assert_eq!(format!("{:?}", one.ingress), format!("{:?}", other.ingress));
    assert_eq!(one.kafka.unsafe_settings, other.kafka.unsafe_settings);
    assert_eq!(one.log.level, other.log.level);
}

#[test]
fn a_printed_configuration_is_valid_with_a_spool_and_with_a_long_deadline() {
    let printed = |case: &Case, timeout: &str| {
        let mut defaults = crate::kafka::DEFAULTS;
        defaults
            .iter_mut()
            .filter(|(name, _)| *name == "message.timeout.ms")
            .for_each(|(_, value)| *value = timeout);
        print(&Settings::gather(&case.sources), &defaults, check_property)
    };
    let spool = Case::minimal("[spool]\ndirectory = \"/spool\"\n");
    let long = Case::minimal("").flag("ingress.deadline", "10m");
    for (case, timeout) in [(spool, "0"), (long, "120000")] {
        let text = printed(&case, timeout);
        let comment = format!("\n# message.timeout.ms = \"{timeout}\"  # default");
        assert!(text.contains(&comment), "{text}");
        let again = Case::of(&text).config();
        assert!(again.kafka.property("message.timeout.ms").is_none());
        assert_eq!(again.spool.is_some(), case.config().spool.is_some());
    }
}

/// Without time for the fsync, a working spool would answer 503.
#[test]
fn the_deadline_exceeds_body_timeout_spool_after_and_an_fsync() {
    let spool = |deadline: &str, body_timeout: &str, after: &str| {
        Case::minimal("[spool]\ndirectory = \"kept\"\n")
            .flag("ingress.deadline", deadline)
            .flag("ingress.body_timeout", body_timeout)
            .flag("spool.after", after)
    };
    for (deadline, body_timeout, after) in [
        ("4500ms", "2s", "1s"),
        ("3501ms", "2s", "1s"),
        ("8s", "900ms", "6s"),
        ("1s", "100ms", "100ms"),
    ] {
        spool(deadline, body_timeout, after).config();
    }
    let remedy = "raise the deadline or lower one of the others";
    for (deadline, body_timeout, after, sum) in [
        ("3s", "2s", "1s", "3.5s"),
        ("3500ms", "2s", "1s", "3.5s"),
        ("4500ms", "2s", "5s", "7.5s"),
        ("300ms", "250ms", "10ms", "760ms"),
    ] {
        assert_eq!(
            spool(deadline, body_timeout, after).errors(),
            [format!(
                "flag: spool.after: ingress.deadline ({deadline}) must be longer than {sum}, the sum of \
                 ingress.body_timeout ({body_timeout}), spool.after ({after}) and 500ms for the fsync; {remedy}"
            )]
        );
    }
    // Without a spool, there is no fsync.
    let none = Case::minimal("").flag("ingress.deadline", "2001ms");
    none.config();
    // The error's place is that of a key that was set.
    let deadline = Case::minimal("[spool]\ndirectory = \"kept\"\n").flag("ingress.deadline", "3s");
    let errors = deadline.errors();
    assert!(
        errors[0].starts_with("flag: ingress.deadline: ingress.deadline (3s) must"),
        "{errors:?}"
    );
}

#[test]
fn the_disk_limit_must_fit_the_largest_report() {
    let spool = |limit: &str| {
        Case::minimal("[spool]\ndirectory = \"kept\"\n")
            .flag("ingress.body_limit", "2100 KiB")
            .flag("kafka.properties.message.max.bytes", "4000000")
            .flag("spool.disk_limit", limit)
    };
    let expected = "flag: spool.disk_limit: is too small for a report of ingress.body_limit; set at least 17334272 bytes: \
                    8 times the sum of body_limit and 16 KiB";
    assert_eq!(spool("16 MiB").errors(), [expected]);
    spool("17334272").config();
}

#[test]
fn a_key_of_the_spool_without_a_directory_is_an_error() {
    let case = Case::minimal("[spool]\ndisk_limit = \"2 GiB\"\n");
    let expected = "k.toml:6: spool.disk_limit: has no effect without spool.directory; set a directory, or \
                    directory = \"\" for no spool";
    assert_eq!(case.errors(), [expected]);
    assert!(case.flag("spool.directory", "").config().spool.is_none());
}

#[test]
fn logging_reports_needs_level_info() {
    for level in ["error", "warn"] {
        let case = Case::minimal("")
            .flag("log.reports", "true")
            .flag("log.level", level);
        let expected = format!(
            "flag: log.reports: needs log.level info, because reports are logged at that level; it is {level}"
        );
        assert_eq!(case.errors(), [expected]);
    }
    for level in ["info", "debug"] {
        let case = Case::minimal("")
            .flag("log.reports", "true")
            .flag("log.level", level);
        assert!(case.config().log.reports);
    }
}

/// A template without a value leaves an empty entry, and an empty list would allow every address.
#[test]
fn an_empty_entry_of_a_list_is_an_error() {
    let case = Case::of(
        "[ingress]\nlisten = \"127.0.0.1:0\"\nallow = [\"\"]\n[kafka.properties]\nbootstrap.servers = \"k:9092\"\n",
    );
    let expected = "k.toml:3: ingress.allow: contains an empty string; remove it";
    assert_eq!(case.errors(), [expected]);
    for text in [",", " ", "10.0.0.0/8,"] {
        let case = Case::minimal("").flag("ingress.allow", text);
        let expected =
            "flag: ingress.allow: \"\" is not a network; write for example \"10.0.0.0/8\"";
        assert_eq!(case.errors(), [expected], "{text:?}");
    }
}

#[test]
fn empty_bootstrap_servers_are_missing() {
    let case = Case::minimal("").flag("kafka.properties.bootstrap.servers", " ");
    let expected = "kafka.properties.bootstrap.servers: is missing; name the brokers, for example \
                    \"kafka-1:9092,kafka-2:9092\"";
    assert_eq!(case.errors(), [format!("flag: {expected}")]);
}

#[test]
fn relations_of_valid_values_are_checked_beside_wrong_values() {
    let case = Case::minimal("[spool]\ndirectory = \"kept\"\n")
        .flag("ingress.head_limit", "1")
        .flag("spool.memory", "1")
        .flag("ingress.body_timeout", "4s")
        .flag("ingress.bytes_in_flight", "1 KiB")
        .flag("kafka.properties.linger.ms", "1000")
        .flag("kafka.properties.queue.buffering.max.kbytes", "1")
        .flag("spool.disk_limit", "1 MiB")
        .flag("ingress.body_limit", "1 MiB");
    let ConfigErrors(errors) = case.check().expect_err("errors");
    let mut keys: Vec<_> = errors.iter().map(|error| &*error.key).collect();
    keys.sort_unstable();
    let expected = [
        "ingress.body_limit",
        "ingress.body_timeout",
        "ingress.bytes_in_flight",
        "ingress.head_limit",
        "kafka.properties.linger.ms",
        "kafka.properties.queue.buffering.max.kbytes",
        "spool.disk_limit",
        "spool.memory",
    ];
    assert_eq!(keys, expected, "{errors:#?}");
    let timeout = Case::minimal("")
        .flag("ingress.head_limit", "1")
        .flag("kafka.properties.message.timeout.ms", "4500");
    assert_eq!(timeout.errors().len(), 2, "{:#?}", timeout.errors());
}

#[test]
fn relations_of_wrong_values_are_not_checked() {
    let case = Case::minimal("[spool]\ndirectory = \"kept\"\nafter = \"soon\"\n")
        .flag("ingress.deadline", "1s")
        .flag("ingress.body_limit", "large")
        .flag("ingress.bytes_in_flight", "0");
    let ConfigErrors(errors) = case.check().expect_err("errors");
    let mut keys: Vec<_> = errors.iter().map(|error| &*error.key).collect();
    keys.sort_unstable();
    let expected = ["ingress.body_limit", "ingress.body_timeout", "spool.after"];
    assert_eq!(keys, expected, "{errors:#?}");
}

#[test]
fn a_certificate_without_a_key_is_one_error() {
    let case = Case::minimal("")
        .flag("ingress.listen", "0.0.0.0:18446")
        .flag("ingress.tls.certificate", "tls.crt");
    let problem = "is missing; name the file with the certificate's private key";
    assert_eq!(case.errors(), [format!("ingress.tls.key: {problem}")]);
}
