//! `koobridge check` on sound set-ups, and on set-ups with one error, which it finds.

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use serde_json::Value;
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection};

use crate::support::authority::{Authority, NOW};
use crate::support::bridge::{Bridge, CHANNEL, configuration, koobridge, run};
use crate::support::clock::Clock;
use crate::support::cluster;
use crate::support::http::{body, exchange, report};
use crate::support::logins::{SASL_USER, login};
use crate::support::records::{Kafka, read_all, unused_name};

/// A configuration without an error.
pub struct Setup {
    home: TempDir,
    file: PathBuf,
    settings: Vec<String>,
    environment: Vec<(&'static str, OsString)>,
}

/// Level, area and description.
type Found = (String, String, String);

impl Setup {
    fn of(kafka: &Kafka) -> Self {
        let (topic, rejected) = (kafka.topic("check", 6), kafka.topic("check-rejected", 6));
        Self::with(kafka.bootstrap(), &topic, &rejected)
    }

    pub fn with(bootstrap: &str, topic: &str, rejected: &str) -> Self {
        // The system's directory for temporary files may be in memory.
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let file = configuration(home.path(), bootstrap, topic, rejected);
        let setup = Self {
            file,
            settings: Vec::new(),
            environment: Vec::new(),
            home,
        };
        chmod(setup.home.path(), 0o700);
        let spool = setup.path("spool").display().to_string();
        let setup = setup.set("spool.directory", &spool);
        // Within the limits of every machine.
        let setup = setup
            .set("spool.disk_limit", "16 MiB")
            .set("spool.free_space", "1 MiB");
        setup
            .set("ingress.connections", "100")
            .set("ingress.bytes_in_flight", "1 MiB")
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push(format!("{key}={value}"));
        self
    }

    fn property(self, name: &str, value: &str) -> Self {
        self.set(&format!("kafka.properties.{name}"), value)
    }

    /// Passes the password in a variable, since a flag is a finding.
    pub fn sasl(mut self, user: &str, password: &str) -> Self {
        let variable = "KOOBRIDGE_KAFKA_PROPERTIES_SASL_PASSWORD";
        self.environment.push((variable, password.into()));
        let [public @ .., _] = login("SCRAM-SHA-256", user, password);
        let settings = public.into_iter();
        settings.fold(self, |setup, (key, value)| setup.set(key, value))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn check(&self, flags: &[&str]) -> (Option<i32>, Value) {
        let mut command = koobridge();
        command
            .args(["check", "--json", "--config"])
            .arg(&self.file)
            .args(flags);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let output = run(&mut command);
        let found = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        (output.status.code(), found)
    }

    /// Returns the exit code, and the warnings and failures.
    fn problems(&self, flags: &[&str]) -> (Option<i32>, Vec<Found>) {
        let (code, found) = self.check(flags);
        let text = |finding: &Value, name: &str| finding[name].as_str().expect("text").to_owned();
        let findings = found["findings"].as_array().expect("findings").iter();
        let problems = findings.filter(|finding| finding["level"] != "ok");
        let problems = problems.map(|finding| {
            assert_ne!(text(finding, "remedy"), "", "{finding}");
            ["level", "area", "what"]
                .map(|name| text(finding, name))
                .into()
        });
        let mut problems: Vec<Found> = problems.collect();
        let all = problems.len();
        // In a container the tests may run in the container's layer.
        problems.retain(|(_, _, what)| !what.contains("container's own layer"));
        let is_spared = problems.len() < all && problems.is_empty();
        (if is_spared { Some(0) } else { code }, problems)
    }

    /// Asserts that the check finds this problem and no other.
    fn assert_only(&self, level: &str, area: &str, what: &str) {
        self.assert_only_with(&[], level, area, what);
    }

    fn assert_only_with(&self, flags: &[&str], level: &str, area: &str, what: &str) {
        let (code, problems) = self.problems(flags);
        let [(of_level, of_area, found)] = problems.as_slice() else {
            panic!("not one finding of {area}: {problems:#?}");
        };
        assert_eq!((&**of_level, &**of_area), (level, area), "{found}");
        assert!(found.contains(what), "{found}");
        assert_eq!(code, Some(if level == "fail" { 2 } else { 0 }), "{found}");
    }
}

#[test]
fn a_sound_set_up_has_no_problems_and_a_probe_is_one_record_on_each_topic() {
    let kafka = cluster::shared();
    let (topic, rejected) = (kafka.topic("sound", 6), kafka.topic("sound-rejected", 6));
    let setup = Setup::with(kafka.bootstrap(), &topic, &rejected);
    assert_eq!(setup.problems(&["--strict"]), (Some(0), Vec::new()));
    assert_eq!(read_all(kafka.bootstrap(), &topic), []);
    assert_eq!(
        setup.problems(&["--strict", "--probe"]),
        (Some(0), Vec::new())
    );
    for topic in [topic, rejected] {
        let records = read_all(kafka.bootstrap(), &topic);
        let [probe] = records.as_slice() else {
            panic!("{records:?}");
        };
        let kind = (
            "ce_type".to_owned(),
            Some(b"io.koobridge.probe.v1".to_vec()),
        );
        assert!(probe.headers.contains(&kind), "{probe:?}");
        assert_eq!(probe.key.as_deref(), Some(&b"koobridge-check"[..]));
    }
    assert!(!setup.path("spool").exists(), "nothing is changed");
}

#[test]
fn the_output_has_a_line_for_each_finding_and_one_with_the_counts() {
    let setup = Setup::with("127.0.0.1:1", "t", "r");
    let mut command = koobridge();
    command.args(["check", "--config"]).arg(&setup.file);
    let output = run(&mut command);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<_> = text.lines().collect();
    let last = lines.last().expect("a line");
    let refused = lines
        .iter()
        .find(|line| line.starts_with("fail "))
        .expect("a failure");
    assert!(
        refused.starts_with(
            "fail  connection      bootstrap.servers: 127.0.0.1:1: can't be reached: "
        )
    );
    assert!(
        refused.ends_with("(docs/checking.md#connection)"),
        "{refused}"
    );
    assert!(last.ends_with(" warn, 1 fail"), "{last}");
    assert_eq!(output.stderr, b"");
}

#[test]
fn warnings_fail_a_strict_check() {
    let kafka = cluster::shared();
    let setup = Setup::of(&kafka).set("spool.directory", "");
    setup.assert_only("warn", "spool", "the bridge answers 503");
    assert_eq!(setup.problems(&["--strict"]).0, Some(1));
}

#[test]
fn errors_of_the_configuration_are_found_without_consequential_errors() {
    let setup = Setup::with("127.0.0.1:1", "t", "r");
    let typing = setup.set("ingress.deadlin", "3s");
    typing.assert_only("fail", "configuration", "did you mean ingress.deadline?");
    let setup = Setup::with("127.0.0.1:1", "t", "r");
    let unsafe_value = setup.property("acks", "1");
    unsafe_value.assert_only("fail", "configuration", "acks: 1 is unsafe");
    for (key, value, what) in [
        ("ingress.deadline", "3s", "must be longer than 3.5s"),
        (
            "ingress.idle_timeout",
            "9223372036854775807s",
            "is too long",
        ),
        ("ingress.trusted_proxies", "0.0.0.0/0", "is too wide"),
        ("kafka.properties.linger.ms", "1e3", "would go to the spool"),
    ] {
        let setup = Setup::with("127.0.0.1:1", "t", "r").set(key, value);
        setup.assert_only("fail", "configuration", what);
    }
    // A misspelt key does not also count as missing.
    for (right, wrong, what) in [
        ("channels", "chanels", "did you mean ingress.channels?"),
        ("listen = ", "listn = ", "did you mean ingress.listen?"),
        ("[kafka]", "[kafka", "is not TOML"),
    ] {
        let setup = Setup::with("127.0.0.1:1", "t", "r");
        let text = fs::read_to_string(&setup.file).expect("a file");
        fs::write(&setup.file, text.replacen(right, wrong, 1)).expect("a file");
        setup.assert_only("fail", "configuration", what);
    }
    let mut setup = Setup::with("127.0.0.1:1", "t", "r");
    setup.file = setup.path("another.toml");
    setup.assert_only("fail", "configuration", "can't be read");
    let together = Setup::with("127.0.0.1:1", "t", "r").property("security.protocol", "ssl");
    let together = together.property("ssl.ca.location", "/nowhere/ca.crt");
    together.assert_only("fail", "configuration", "librdkafka can't start with them");
}

#[test]
fn channels_files_and_certificates_are_checked() {
    let kafka = cluster::shared();
    let bad = Setup::of(&kafka);
    fs::write(bad.path("channels").join("a.b"), "pw").expect("a file");
    bad.assert_only("fail", "channels", "its name is not a channel id");

    // Every user can pass through this directory.
    let home = tempfile::tempdir_in("/tmp").expect("a directory");
    chmod(home.path(), 0o755);
    let file = home.path().join(CHANNEL);
    fs::write(&file, "pw").expect("a file");
    chmod(&file, 0o644);
    let channels = home.path().display().to_string();
    let open = Setup::of(&kafka).set("ingress.channels", &channels);
    open.assert_only("warn", "files", "can be read by every user");
    chmod(&file, 0o640);
    assert_eq!(open.problems(&["--strict"]), (Some(0), Vec::new()));
    let flag = Setup::of(&kafka).property("sasl.password", "pw");
    flag.assert_only("warn", "files", "sasl.password is given by a flag");
    let (_, shown) = flag.check(&[]);
    assert!(!shown.to_string().contains("\"pw\""), "{shown}");

    let authority = Authority::new();
    chmod(&authority.path(""), 0o700);
    authority.issue("server", 1, [2020, 2021]);
    let secure = |setup: Setup| {
        let settings = authority.settings().into_iter();
        settings.fold(setup, |setup, (key, value)| setup.set(key, &value))
    };
    let expired = secure(Setup::of(&kafka));
    expired.assert_only("fail", "certificate", "expired at 2021-01-01");
    authority.issue("server", 2, NOW);
    assert_eq!(
        secure(Setup::of(&kafka)).problems(&["--strict"]),
        (Some(0), Vec::new())
    );
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its owner may");
}

#[test]
fn addresses_that_cannot_be_bound_are_found() {
    let kafka = cluster::shared();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let setup = Setup::of(&kafka).set("admin.listen", &address);
    setup.assert_only("warn", "listeners", "is in use");
    let setup = Setup::of(&kafka)
        .set("ingress.listen", "192.0.2.1:18446")
        .set("ingress.plain_http", "true");
    let (code, problems) = setup.problems(&[]);
    assert_eq!(code, Some(2));
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0].2.contains("can't listen on 192.0.2.1:18446"),
        "{problems:?}"
    );
    assert!(problems[1].2.contains("plain HTTP"), "{problems:?}");
    let both = "127.0.0.1:18446";
    let setup = Setup::of(&kafka)
        .set("ingress.listen", both)
        .set("admin.listen", both);
    setup.assert_only("fail", "listeners", "conflict");
}

#[test]
fn a_spool_that_does_not_last_or_has_no_room_is_found() {
    let kafka = cluster::shared();
    let memory = tempfile::tempdir_in("/dev/shm").expect("a file system in memory");
    let memory = memory.path().join("spool").display().to_string();
    let setup = Setup::of(&kafka).set("spool.directory", &memory);
    setup.assert_only("fail", "spool", "is in memory");
    let setup = Setup::of(&kafka);
    let file = setup.file.join("spool").display().to_string();
    let setup = setup.set("spool.directory", &file);
    setup.assert_only("fail", "spool", "is not a directory");
    let setup = Setup::of(&kafka).set("spool.free_space", "4503599627370496");
    setup.assert_only("fail", "spool", "full from the start");
    let setup = Setup::of(&kafka).set("spool.disk_limit", "4503599627370496");
    setup.assert_only("warn", "spool", "less than spool.disk_limit");
    let setup = Setup::of(&kafka);
    fs::create_dir(setup.path("spool")).expect("a directory");
    fs::write(
        setup.path("spool").join("spool-000001.sqlite"),
        "no database",
    )
    .expect("a file");
    setup.assert_only("fail", "spool", "spool-000001.sqlite");

    let setup = Setup::of(&kafka);
    let spool = setup.path("spool").display().to_string();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[("spool.directory", &spool)]);
    setup.assert_only(
        "warn",
        "spool",
        &format!("in use by process {}", bridge.pid()),
    );
}

#[test]
fn an_allowed_unsafe_setting_is_a_warning() {
    let kafka = cluster::shared();
    let setup = Setup::of(&kafka)
        .property("acks", "1")
        .property("enable.idempotence", "false");
    let setup = setup.set("kafka.allow_unsafe", "acks,enable.idempotence");
    let (code, problems) = setup.problems(&[]);
    let areas: Vec<_> = problems
        .iter()
        .map(|(level, area, _)| (&**level, &**area))
        .collect();
    assert_eq!(
        (code, areas),
        (Some(0), vec![("warn", "unsafe-settings"); 2]),
        "{problems:?}"
    );
}

#[test]
fn the_connection_to_kafka_is_checked_step_by_step() {
    let kafka = cluster::shared();
    let at = |bootstrap: &str| Setup::with(bootstrap, "t", "r");
    at("kafka.invalid:9092").assert_only(
        "fail",
        "addresses",
        "kafka.invalid:9092: the name does not resolve",
    );
    at(",").assert_only("fail", "addresses", "names no broker");
    at("127.0.0.1:1").assert_only("fail", "connection", "127.0.0.1:1: can't be reached");
    let one_of_two = format!("127.0.0.1:1,{}", kafka.bootstrap());
    let (topic, rejected) = (kafka.topic("two", 6), kafka.topic("two-rejected", 6));
    Setup::with(&one_of_two, &topic, &rejected).assert_only("warn", "connection", "127.0.0.1:1");
    let closes = closing_server();
    at(&closes).assert_only(
        "fail",
        "connection",
        "a server listens, but no broker answers",
    );
    let plain = Setup::of(&kafka).property("security.protocol", "ssl");
    plain.assert_only("fail", "tls", "the TLS handshake with Kafka failed");
    let [server, stranger] = [Authority::new(), Authority::new()];
    server.issue("server", 1, NOW);
    let authority = stranger.path("ca.crt").display().to_string();
    let untrusted = at(&tls_server(&server)).property("security.protocol", "ssl");
    let untrusted = untrusted.property("ssl.ca.location", &authority);
    untrusted.assert_only("fail", "tls", "certificate verify failed");
}

/// Accepts connections and closes them.
fn closing_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || listener.incoming().for_each(drop));
    address
}

/// Does the TLS handshake with the certificate for `server`, and nothing else.
fn tls_server(authority: &Authority) -> String {
    let certificate = CertificateDer::from_pem_file(authority.path("server.crt")).expect("a file");
    let key = PrivateKeyDer::from_pem_file(authority.path("server.key")).expect("a file");
    let config = ServerConfig::builder_with_provider(Arc::new(
        tokio_rustls::rustls::crypto::ring::default_provider(),
    ));
    let config = config
        .with_safe_default_protocol_versions()
        .expect("versions");
    let config = config
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key);
    let config = Arc::new(config.expect("a pair"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config));
            let (Ok(mut socket), Ok(mut connection)) = (socket, connection) else {
                return;
            };
            while connection.is_handshaking() && connection.complete_io(&mut socket).is_ok() {}
        }
    });
    address
}

#[test]
fn a_login_that_kafka_refuses_is_found() {
    let kafka = cluster::exclusive();
    let setup = || Setup::with(&kafka.sasl_bootstrap(), "t", "r");
    setup()
        .sasl(SASL_USER, "wrong")
        .assert_only("fail", "login", "Authentication failed");
    setup().assert_only(
        "fail",
        "connection",
        "a server listens, but no broker answers",
    );
}

#[test]
fn a_limit_on_threads_is_found_and_does_not_abort_the_check() {
    let mut setup = Setup::with("127.0.0.1:1", "t", "r");
    // The system has no such memory, so that the start of every thread fails.
    let too_large = (1_u64 << 60).to_string();
    setup.environment.push(("RUST_MIN_STACK", too_large.into()));
    setup.assert_only(
        "fail",
        "limits",
        "can't start the threads of a Kafka client",
    );
}

#[test]
fn unreachable_advertised_addresses_are_found() {
    let kafka = cluster::exclusive();
    // This listener advertises the proxy's port, on which nothing listens.
    let [listens, _] = kafka.proxy_ports()[0];
    let setup = Setup::with(&format!("127.0.0.1:{listens}"), "t", "r");
    setup.assert_only(
        "fail",
        "brokers",
        "at the address that it advertises, 127.0.0.1:",
    );
}

#[test]
fn topics_that_lose_reports_or_are_slow_are_found() {
    let kafka = cluster::shared();
    let sound = ("min.insync.replicas", "2");
    for (partitions, replication, config, level, what) in [
        (
            6,
            3,
            &[sound, ("cleanup.policy", "compact")][..],
            "fail",
            "cleanup.policy is compact",
        ),
        (
            6,
            1,
            &[("min.insync.replicas", "1")],
            "warn",
            "replication 1, min.insync.replicas 1",
        ),
        (
            6,
            3,
            &[("min.insync.replicas", "1")],
            "warn",
            "can be lost when one broker fails",
        ),
        (
            6,
            3,
            &[("min.insync.replicas", "3")],
            "warn",
            "nothing while one of its brokers is away",
        ),
        (24, 3, &[sound], "warn", "24 partitions on 3 brokers"),
        (
            6,
            3,
            &[sound, ("max.message.bytes", "500000")],
            "warn",
            "a batch may have 1000000",
        ),
        (
            6,
            3,
            &[sound, ("max.message.bytes", "60000")],
            "warn",
            "max.message.bytes is 60000",
        ),
        (
            6,
            3,
            &[sound, ("retention.ms", "3600000")],
            "warn",
            "retention.ms is 1h",
        ),
        (
            6,
            3,
            &[sound, ("unclean.leader.election.enable", "true")],
            "warn",
            "may become the leader",
        ),
        (
            6,
            3,
            &[sound, ("message.timestamp.before.max.ms", "60000")],
            "warn",
            "message.timestamp.before.max.ms is 1m",
        ),
    ] {
        let topic = kafka.topic_with("amiss", partitions, replication, config);
        let rejected = kafka.topic("amiss-rejected", 6);
        let setup = Setup::with(kafka.bootstrap(), &topic, &rejected);
        setup.assert_only(level, "topics", what);
    }
    let missing = Setup::with(
        kafka.bootstrap(),
        &unused_name("missing"),
        &kafka.topic("there", 6),
    );
    missing.assert_only("fail", "topics", "there is no topic missing-");
}

#[test]
fn topics_that_lose_late_reports_of_the_spool_are_found() {
    let kafka = cluster::shared();
    let create = |name: &str, config: &[(&str, &str)]| {
        let config = [&[("min.insync.replicas", "2")], config].concat();
        kafka.topic_with(name, 6, 3, &config)
    };
    let setup = |events: &[(&str, &str)], rejected: &[(&str, &str)]| {
        let (topic, rejected) = (create("late", events), create("late-rejected", rejected));
        Setup::with(kafka.bootstrap(), &topic, &rejected)
    };
    let before = ("message.timestamp.before.max.ms", "518400000");
    let retention = ("retention.ms", "604799999");
    for (events, rejected, what) in [
        (&[before][..], &[][..], "and it goes to the rejected topic"),
        (&[], &[before], "and it stays in the spool"),
        (&[retention], &[], "retention.ms is 167h 59m 59s 999ms"),
        (&[], &[retention], "Kafka can delete a report"),
    ] {
        let setup = setup(events, rejected);
        setup.assert_only("warn", "topics", what);
        // Without a spool no report is late.
        let without = setup.set("spool.directory", "");
        without.assert_only("warn", "spool", "there is no spool");
    }
    let by_kafka = ("message.timestamp.type", "LogAppendTime");
    let week = [
        ("retention.ms", "604800000"),
        ("message.timestamp.before.max.ms", "604800000"),
    ];
    for config in [
        &[by_kafka, before, retention][..],
        &[("retention.ms", "-1")],
        &week,
    ] {
        let sound = setup(config, config);
        assert_eq!(
            sound.problems(&["--strict"]),
            (Some(0), Vec::new()),
            "{config:?}"
        );
    }
    // A report in the spool waits for longer than a week.
    let (topic, rejected) = (create("late", &week[..1]), create("late-rejected", &[]));
    let mut waiting = Setup::with(kafka.bootstrap(), &topic, &rejected);
    let spool = waiting.path("spool").display().to_string();
    let settings = [("spool.directory", &*spool)];
    let bridge = Bridge::start("127.0.0.1:1", &topic, &rejected, &settings);
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m1", "read"))).status,
        200
    );
    drop(bridge);
    let clock = Clock::new();
    clock.set(8 * 24 * 60 * 60);
    waiting.environment = clock.environment().into();
    waiting.assert_only(
        "fail",
        "topics",
        "retention.ms is 7 days, and the oldest report in the spool arrived at",
    );
}

#[test]
fn a_clock_that_differs_from_kafkas_is_found() {
    let kafka = cluster::shared();
    let config = [
        ("min.insync.replicas", "2"),
        ("message.timestamp.type", "LogAppendTime"),
    ];
    let topic = kafka.topic_with("clock", 6, 3, &config);
    let mut setup = Setup::with(kafka.bootstrap(), &topic, &kafka.topic("clock-rejected", 6));
    assert_eq!(
        setup.problems(&["--strict", "--probe"]),
        (Some(0), Vec::new())
    );
    let clock = Clock::new();
    clock.set(-60);
    setup.environment = clock.environment().into();
    setup.assert_only_with(&["--probe"], "warn", "clock", "differ by");
}
