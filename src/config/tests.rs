mod bounds;
mod documents;
mod messages;
mod properties;
mod secrets;
mod traces;

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::contract::{EventFormat, EventMode};
use crate::kafka::check_property;

/// Sources of settings, with a configuration file.
struct Case {
    directory: TempDir,
    sources: Sources,
}

impl Case {
    /// Returns a case with the keys that a bridge needs, followed by `text`.
    fn minimal(text: &str) -> Self {
        Self::of(&format!(
            "[ingress]\nlisten = \"127.0.0.1:0\"\n[kafka.properties]\nbootstrap.servers = \"k:9092\"\n{text}"
        ))
    }

    fn of(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("k.toml");
        fs::write(&file, text).expect("a file");
        let sources = Sources {
            file: Some(file),
            ..Sources::default()
        };
        Self { directory, sources }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.variables.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.sources.flags.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Checks the case with another flag.
    fn check_with(&self, key: &str, value: &str) -> Result<Config, ConfigErrors> {
        let mut sources = self.sources.clone();
        sources.flags.push((key.to_owned(), value.to_owned()));
        Config::check(&Settings::gather(&sources), check_property)
    }

    fn check(&self) -> Result<Config, ConfigErrors> {
        Config::check(&Settings::gather(&self.sources), check_property)
    }

    fn config(&self) -> Config {
        self.check().unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// Returns the text of each error without the directory's name.
    fn errors(&self) -> Vec<String> {
        let directory = format!("{}/", self.directory.path().display());
        let errors = self.check().expect_err("errors");
        errors
            .0
            .iter()
            .map(|error| error.to_string().replace(&directory, ""))
            .collect()
    }

    fn property(&self, name: &str) -> Option<String> {
        let properties = self.config().kafka.properties;
        properties
            .into_iter()
            .find(|property| property.name == name)
            .map(|property| property.value)
    }

    fn print(&self) -> String {
        let settings = Settings::gather(&self.sources);
        print(&settings, &crate::kafka::DEFAULTS, check_property)
    }
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let Config {
        ingress,
        admin,
        kafka,
        spool,
        log,
        traces,
    } = Case::minimal("").config();
    assert!(spool.is_none() && traces.is_none());
    assert_eq!(ingress.channels, PathBuf::from("/etc/koobridge/channels"));
    assert_eq!(ingress.success, Success::Ok);
    assert_eq!(ingress.limits.deadline, Duration::from_millis(4500));
    assert_eq!(
        (ingress.limits.head, ingress.limits.body),
        (16 << 10, 64 << 10)
    );
    assert_eq!(ingress.limits.head_timeout, Duration::from_secs(5));
    assert_eq!(ingress.limits.body_timeout, Duration::from_secs(2));
    assert_eq!(ingress.limits.idle_timeout, Duration::from_secs(75));
    assert_eq!(
        (ingress.connections.get(), ingress.reports_in_flight.get()),
        (10_000, 10_000)
    );
    assert_eq!(
        (ingress.bytes_in_flight, ingress.drain_delay),
        (64 << 20, Duration::from_secs(5))
    );
    assert_eq!(admin.listen.to_string(), "127.0.0.1:18447");
    assert!(admin.hosts.is_empty());
    assert_eq!(
        (kafka.topic, kafka.rejected_topic),
        (
            "koomessage.reports".to_owned(),
            "koomessage.reports.rejected".to_owned()
        )
    );
    assert_eq!(
        (kafka.event_format, kafka.flush_timeout),
        (EventMode::Binary.into(), Duration::from_secs(10))
    );
    assert_eq!((log.format, log.level), (LogFormat::Auto, LogLevel::Info));
}

#[test]
fn a_schema_id_is_a_number_or_a_guid_and_needs_binary_mode() {
    for (sources, text) in [
        ("7", "7"),
        ("\"7\"", "7"),
        (
            "\"89791762-2336-4186-9674-299b90a802e2\"",
            "89791762-2336-4186-9674-299b90a802e2",
        ),
    ] {
        let case = Case::minimal(&format!("[kafka]\nschema_id = {sources}\n"));
        let expected = EventFormat {
            mode: EventMode::Binary,
            schema_id: Some(text.parse().expect("an id")),
        };
        assert_eq!(case.config().kafka.event_format, expected);
    }
    let errors = Case::minimal("")
        .flag("kafka.schema_id", "reports-value")
        .errors();
    assert_eq!(
        errors,
        [
            "flag: kafka.schema_id: \"reports-value\" is not the id of a schema; write the number, 1 to 2147483647, or the GUID that \
             `koobridge topics --schema-registry` prints"
        ]
    );
    let case = Case::minimal("").flag("kafka.schema_id", "7");
    let errors = case.flag("kafka.event_mode", "structured").errors();
    assert_eq!(
        errors,
        [
            "flag: kafka.schema_id: is only for binary mode, and kafka.event_mode is structured; remove one of the two"
        ]
    );
}

#[test]
fn a_flag_overrides_a_variable_and_a_variable_overrides_the_file() {
    let file = Case::minimal("[kafka]\ntopic = \"file\"\n");
    assert_eq!(file.config().kafka.topic, "file");
    let variable = file.variable("KOOBRIDGE_KAFKA_TOPIC", "variable");
    assert_eq!(variable.config().kafka.topic, "variable");
    let flag = variable
        .flag("kafka.topic", "flag")
        .flag("kafka.topic", "later");
    assert_eq!(flag.config().kafka.topic, "later");
}

#[test]
fn a_live_change_must_fit_the_keys_that_need_a_restart() {
    let spool = "[spool]\ndirectory = \"/spool\"\nafter = \"1s\"\n";
    let started = Settings::gather(&Case::minimal(spool).sources);
    let change = |after: &str, deadline: &str| {
        let spool = Case::minimal(&spool.replace("1s", after)).flag("ingress.deadline", deadline);
        let changed = Settings::gather(&spool.flag("ingress.body_timeout", "100ms").sources);
        let alone = Config::check(&changed, check_property);
        alone.unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(
            changed.changed_for_restart(&started),
            if after == "1s" {
                &[][..]
            } else {
                &["spool.after"]
            }
        );
        Config::check(&changed.with_restart_keys_of(&started), check_property)
    };
    let taken_over = change("1s", "2s").expect("a sound change");
    assert_eq!(taken_over.ingress.limits.deadline, Duration::from_secs(2));
    let ConfigErrors(errors) = change("200ms", "1s").expect_err("the spool still waits 1 s");
    assert!(errors[0].to_string().contains("spool.after"), "{errors:?}");
    let taken_over = change("200ms", "3s").expect("a sound change");
    let spool = taken_over.spool.expect("a spool");
    assert_eq!(spool.after, Duration::from_secs(1));
}

#[test]
fn a_path_in_the_file_is_relative_to_it() {
    let case = Case::of(
        "[ingress]\nlisten = \"127.0.0.1:0\"\nchannels = \"ch\"\n\
         [kafka.properties]\nbootstrap.servers = \"k:9092\"\n",
    );
    assert_eq!(
        case.config().ingress.channels,
        case.directory.path().join("ch")
    );
    let flag = case.flag("ingress.channels", "other");
    assert_eq!(flag.config().ingress.channels, PathBuf::from("other"));
}

#[test]
fn every_key_has_a_variable_and_is_printed() {
    for key in KEYS {
        let variable = format!("KOOBRIDGE_{}", key.name.replace('.', "_").to_uppercase());
        let printed = Case::of("").variable(&variable, "typed").print();
        let (_, name) = key.name.split_once('.').expect("a section");
        let line = format!("{name} = \"typed\"  # {variable}");
        assert!(
            printed.lines().any(|printed| printed == line),
            "{line:?} is not in:\n{printed}"
        );
    }
}

#[test]
fn librdkafkas_properties_are_nested_quoted_or_variables() {
    let case =
        Case::minimal("linger.ms = 7\n\"queue.buffering.max.kbytes\" = 1000\nlog_level = 6\n")
            .variable("KOOBRIDGE_KAFKA_PROPERTIES_SOCKET_TIMEOUT_MS", "9000");
    for (name, value) in [
        ("bootstrap.servers", "k:9092"),
        ("linger.ms", "7"),
        ("queue.buffering.max.kbytes", "1000"),
        ("log_level", "6"),
        ("socket.timeout.ms", "9000"),
    ] {
        assert_eq!(case.property(name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn the_aliases_of_a_property_are_one_key() {
    let case = Case::minimal("delivery.timeout.ms = 60000\n")
        .variable("KOOBRIDGE_KAFKA_PROPERTIES_MESSAGE_TIMEOUT_MS", "70000");
    assert_eq!(
        case.property("message.timeout.ms").as_deref(),
        Some("70000")
    );
    assert_eq!(case.property("delivery.timeout.ms"), None);
    let twice = Case::minimal("linger.ms = 5\nqueue.buffering.max.ms = 6\n");
    let expected = "kafka.properties.linger.ms: is set twice, perhaps under an alias; keep one";
    assert_eq!(twice.errors().len(), 1);
    assert!(
        twice.errors()[0].ends_with(expected),
        "{:?}",
        twice.errors()
    );
}

#[test]
fn an_unknown_key_or_variable_suggests_the_nearest() {
    let case = Case::minimal("[ingres]\nlisten = 1\n[kafka]\ntopics = \"a\"\nxyz = 1\n")
        .variable("KOOBRIDGE_KAFKA_TOPIK", "a")
        .variable("OTHER", "a");
    assert_eq!(
        case.errors(),
        [
            "k.toml:6: ingres.listen: unknown key; did you mean ingress.listen?",
            "k.toml:8: kafka.topics: unknown key; did you mean kafka.topic?",
            "k.toml:9: kafka.xyz: unknown key; `koobridge serve --print-config` lists the known ones",
            "KOOBRIDGE_KAFKA_TOPIK: unknown variable; did you mean KOOBRIDGE_KAFKA_TOPIC?",
        ]
    );
}

#[test]
fn variables_of_a_kubernetes_service_are_ignored() {
    let case = Case::minimal("")
        .variable("KOOBRIDGE_SERVICE_HOST", "10.0.0.1")
        .variable("KOOBRIDGE_SERVICE_PORT", "1")
        .variable("KOOBRIDGE_SERVICE_PORT_HTTP", "1")
        .variable("KOOBRIDGE_PORT", "tcp://10.0.0.1:1")
        .variable("KOOBRIDGE_PORT_18446_TCP", "tcp://10.0.0.1:1")
        .variable("KOOBRIDGE_PORT_18446_TCP_PORT", "18446")
        .variable("KOOBRIDGE_PORT_18446_TCP_PROTO", "tcp")
        .variable("KOOBRIDGE_PORT_18446_TCP_ADDR", "10.0.0.1")
        .variable("KOOBRIDGE_ADMIN_SERVICE_HOST", "fd00::1")
        .variable("KOOBRIDGE_ADMIN_SERVICE_PORT", "18447")
        .variable("KOOBRIDGE_ADMIN_SERVICE_PORT_METRICS", "18447")
        .variable("KOOBRIDGE_ADMIN_PORT", "tcp://[fd00::1]:18447")
        .variable("KOOBRIDGE_ADMIN_PORT_18447_UDP", "udp://[fd00::1]:18447")
        .variable("KOOBRIDGE_ADMIN_PORT_18447_SCTP_PROTO", "sctp")
        .variable("KOOBRIDGE_CONFIG", "k.toml");
    case.config();
}

#[test]
fn a_kubernetes_variable_with_another_value_is_unknown() {
    for (variable, value) in [
        ("KOOBRIDGE_INGRESS_PORT", "9"),
        ("KOOBRIDGE_PORT", "18446"),
        ("KOOBRIDGE_PORT", "tcp://10.0.0.1"),
        ("KOOBRIDGE_PORT", "http://10.0.0.1:9"),
        ("KOOBRIDGE_SERVICE_HOST", "bridge.example"),
        ("KOOBRIDGE_SERVICE_PORT", "http"),
        ("KOOBRIDGE_SERVICE_PORT_HTTP", ""),
        ("KOOBRIDGE_PORT_9_TCP", "9"),
        ("KOOBRIDGE_PORT_9_TCP_PORT", "10"),
        ("KOOBRIDGE_PORT_9_TCP_PROTO", "udp"),
        ("KOOBRIDGE_PORT_9_TCP_ADDR", "here"),
        ("KOOBRIDGE_PORT_HTTP_TCP", "tcp://10.0.0.1:9"),
        ("KOOBRIDGE_INGRESS_PORT_ADDR", "10.0.0.1"),
    ] {
        let errors = Case::minimal("").variable(variable, value).errors();
        assert_eq!(errors.len(), 1, "{variable}={value}: {errors:?}");
        let expected = format!("{variable}: unknown variable; ");
        assert!(errors[0].starts_with(&expected), "{errors:?}");
    }
}

#[test]
fn a_variable_that_is_not_text_is_an_error() {
    let mut case = Case::minimal("");
    let value = std::os::unix::ffi::OsStringExt::from_vec(b"10.0.0.0/8\xff".to_vec());
    let variable = "KOOBRIDGE_INGRESS_ALLOW".into();
    case.sources.variables.push((variable, value));
    assert_eq!(
        case.errors(),
        ["KOOBRIDGE_INGRESS_ALLOW: ingress.allow: is not UTF-8 text"]
    );
}

#[test]
fn every_error_has_its_place_and_remedy() {
    let case = Case::of(
        "[ingress]\n\
         listen = \"0.0.0.0:18446\"\n\
         workers = \"many\"\n\
         success_status = 201\n\
         head_limit = \"4 KiB\"\n\
         body_timeout = \"5s\"\n\
         bytes_in_flight = 1000\n\
         connections = 0\n\
         [kafka]\n\
         topic = \"a b\"\n\
         [kafka.properties]\n\
         linger.ms = \"soon\"\n\
         acks = 1\n\
         partitioner = \"random\"\n",
    );
    let errors = case.errors();
    for (part, remedy) in [
        (
            "k.toml:2: ingress.listen: 0.0.0.0:18446 is not loopback",
            "plain_http = true",
        ),
        (
            "k.toml:3: ingress.workers: \"many\" is not",
            "whole number from 0",
        ),
        (
            "k.toml:4: ingress.success_status: \"201\" is not one of 200, 202, 204",
            "",
        ),
        (
            "k.toml:5: ingress.head_limit: \"4 KiB\" is too small",
            "at least \"8 KiB\"",
        ),
        (
            "k.toml:6: ingress.body_timeout: must be",
            "shorter than ingress.deadline",
        ),
        (
            "k.toml:7: ingress.bytes_in_flight: is too small",
            "set at least",
        ),
        (
            "k.toml:8: ingress.connections: \"0\" is not",
            "whole number from 1",
        ),
        (
            "k.toml:10: kafka.topic: \"a b\" is not a topic name",
            "letters, digits",
        ),
        (
            "k.toml:12: kafka.properties.linger.ms: librdkafka refuses it",
            "Invalid value",
        ),
        (
            "k.toml:13: kafka.properties.acks: 1 is unsafe",
            "kafka.allow_unsafe",
        ),
        (
            "k.toml:14: kafka.properties.partitioner: must not be set",
            "",
        ),
        (
            "kafka.properties.bootstrap.servers: is missing",
            "kafka-1:9092",
        ),
    ] {
        let found = errors
            .iter()
            .any(|found| found.starts_with(part) && found.contains(remedy));
        assert!(found, "{part:?} … {remedy:?} is not in {errors:#?}");
    }
    assert_eq!(errors.len(), 12, "{errors:#?}");
}

#[test]
fn an_unsafe_value_is_accepted_if_it_is_allowed_by_name() {
    let text = "acks = 1\nmax.in.flight = 5\n[kafka]\nallow_unsafe = [\"request.required.acks\"]\n";
    assert_eq!(Case::minimal(text).config().kafka.unsafe_settings, ["acks"]);
    for (name, value) in [
        ("enable.idempotence", "false"),
        ("allow.auto.create.topics", "true"),
        ("message.timeout.ms", "4500"),
        ("enable.ssl.certificate.verification", "false"),
    ] {
        let unsafe_value = Case::minimal("").flag(&format!("kafka.properties.{name}"), value);
        let allowed = Case::minimal("")
            .flag(&format!("kafka.properties.{name}"), value)
            .flag("kafka.allow_unsafe", name);
        assert!(unsafe_value.errors()[0].contains("is unsafe"), "{name}");
        assert_eq!(allowed.config().kafka.unsafe_settings, [name]);
    }
}

#[test]
fn a_secret_can_come_from_a_file_and_is_never_shown() {
    let case = Case::minimal(
        "sasl.password = { from_file = \"secret\" }\nclient.id = { from_file = \"secret\" }\n",
    );
    let missing = "k.toml:5: kafka.properties.sasl.password: its from_file secret can't be read";
    assert!(case.errors().iter().any(|error| error.starts_with(missing)));
    fs::write(case.directory.path().join("secret"), "hunter2\n").expect("a file");
    assert_eq!(case.property("sasl.password").as_deref(), Some("hunter2"));
    assert!(!case.print().contains("hunter2"));
    let config = format!("{:?}", case.config());
    assert!(config.contains("sasl.password=redacted"), "{config}");
}

#[test]
fn an_unreadable_file_is_the_only_error() {
    let broken = Case::of("[ingress]\nlisten = \n");
    assert!(
        broken.errors()[0].starts_with("k.toml:2: is not TOML: "),
        "{:?}",
        broken.errors()
    );
    let broken = Case::of("[admin]\nlisten = \"127.0.0.1:1\"\nunknown = 1\n[ingress]\nlisten = \n");
    assert_eq!(broken.errors().len(), 1, "{:?}", broken.errors());
    let admin = Settings::gather(&broken.sources).admin_listen();
    assert_eq!(
        admin.expect("an address").to_string(),
        "127.0.0.1:1",
        "a health check still finds the running bridge"
    );
    let mut missing = Case::minimal("");
    missing.sources.file = Some(missing.directory.path().join("none.toml"));
    let errors = missing.errors();
    assert!(
        errors[0].starts_with("none.toml: can't be read: No such file"),
        "{errors:?}"
    );
    assert!(errors[0].ends_with("name another file with --config"));
    let settings = Settings::gather(&missing.sources);
    let kafka = Kafka::check(&settings, check_property).expect_err("no file");
    let drain = Drain::check(&settings, check_property).expect_err("no file");
    assert_eq!([errors.len(), kafka.0.len(), drain.0.len()], [1; 3]);
}

#[test]
fn a_body_limit_above_the_record_size_is_an_error() {
    let case = Case::minimal("").flag("ingress.body_limit", "1 MiB");
    assert!(case.errors()[0].contains("does not fit a Kafka record of 1000000 bytes"));
    let raised = case.flag("kafka.properties.message.max.bytes", "2000000");
    assert_eq!(raised.config().ingress.limits.body, 1 << 20);
}

#[test]
fn naming_a_directory_turns_the_spool_on() {
    let case = Case::minimal("[spool]\ndirectory = \"kept\"\nfree_space = \"0\"\n");
    let spool = case.config().spool.expect("a spool");
    assert_eq!(spool.directory, case.directory.path().join("kept"));
    assert_eq!(spool.after, Duration::from_secs(1));
    assert_eq!(
        (spool.disk_limit, spool.free_space, spool.memory),
        (1 << 30, 0, 8 << 20)
    );
    let none = Case::minimal("[spool]\ndirectory = \"\"\nafter = \"2s\"\n");
    assert!(none.config().spool.is_none());
}

#[test]
fn all_errors_of_the_spool_are_reported_at_once() {
    let case = Case::minimal(
        "[spool]\ndirectory = \"kept\"\nafter = \"5s\"\ndisk_limit = \"1 kB\"\nmemory = \"1 kB\"\n",
    )
    .flag("kafka.properties.message.timeout.ms", "60000");
    let mut errors = case.errors();
    errors.sort();
    assert_eq!(
        errors,
        [
            "flag: kafka.properties.message.timeout.ms: must not be set with a spool: spooled reports are delivered \
             however long it takes",
            "k.toml:7: spool.after: ingress.deadline (4500ms) must be longer than 7.5s, the sum of \
             ingress.body_timeout (2s), spool.after (5s) and 500ms for the fsync; raise the deadline or lower one of \
             the others",
            "k.toml:8: spool.disk_limit: \"1 kB\" is too small; write at least \"16 MiB\"",
            "k.toml:9: spool.memory: \"1 kB\" is too small; write at least \"1 MiB\"",
        ]
    );
}
