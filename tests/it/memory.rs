//! At all limits together, the bridge uses no more memory than `--print-config` prints.

use crate::overload::{BYTES, CONNECTIONS, body_of_size};
use crate::support::bridge::{Bridge, configuration, eventually, koobridge, run};
use crate::support::cluster;
use crate::support::http::{Connection, body, post, report, request};

/// The limits of the tests.
const LIMITS: [(&str, &str); 3] = [
    ("ingress.connections", "700"),
    ("ingress.reports_in_flight", "100000"),
    ("ingress.bytes_in_flight", "24 MiB"),
];

/// Timeouts that are longer than the tests.
const LONG_TIMEOUTS: [(&str, &str); 3] = [
    ("ingress.deadline", "120s"),
    ("ingress.body_timeout", "100s"),
    ("ingress.head_timeout", "100s"),
];

/// The bridge answers soon, and goes on delivering the report.
const SHORT_DEADLINE: [(&str, &str); 2] = [
    ("ingress.deadline", "300ms"),
    ("ingress.body_timeout", "250ms"),
];

/// Returns the memory limit that `--print-config` prints with these settings, without the program itself.
pub fn printed_bound(settings: &[(&str, &str)]) -> u64 {
    let directory = tempfile::tempdir().expect("a directory");
    let file = configuration(directory.path(), "127.0.0.1:1", "events", "rejected");
    let mut command = koobridge();
    command
        .args(["serve", "--print-config", "--config"])
        .arg(file);
    for (key, value) in settings {
        command.args(["--set", &format!("{key}={value}")]);
    }
    let shown = String::from_utf8(run(&mut command).stdout).expect("text");
    let mebibytes = |from: &str, to: &str| -> u64 {
        let line = shown
            .lines()
            .find(|line| line.starts_with('#') && line.contains(from));
        let line = line.unwrap_or_else(|| panic!("no {from:?} in:\n{shown}"));
        let number = line.trim_start_matches(|letter: char| !letter.is_ascii_digit());
        let number = number.split_once(to).expect("its unit").0;
        number.parse().expect("a number")
    };
    (mebibytes("Maximum memory", " MiB") - mebibytes("the program", " MiB")) << 20
}

/// Asserts the growth to the peak, not the peak itself: the size of the program depends on the build profile.
fn assert_within(bound: u64, idle: u64, bridge: &Bridge) {
    let grown = bridge.peak_resident_bytes().saturating_sub(idle);
    println!("{} KiB of {} KiB", grown >> 10, bound >> 10);
    assert!(
        grown <= bound,
        "{grown} bytes, and at most {bound} were announced"
    );
}

fn with_limits<'a>(others: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    LIMITS.iter().chain(others).copied().collect()
}

/// Waits until less than one large report fits into the limit of bytes.
fn wait_until_full(bridge: &Bridge) {
    eventually(|| match bridge.metric(BYTES) {
        bytes if bytes > 23 << 20 => Ok(()),
        bytes => Err(format!("only {bytes} bytes in flight")),
    });
}

/// Sends `bytes` on each of `count` new connections, and leaves them open.
fn send_on_each(bridge: &Bridge, count: usize, bytes: &[u8]) -> Vec<Connection> {
    let send = |_| {
        let mut sender = Connection::open(bridge.ingress);
        sender.send(bytes);
        sender
    };
    (0..count).map(send).collect()
}

#[test]
fn large_reports_and_heads_at_every_limit_stay_under_the_bound() {
    let kafka = cluster::exclusive();
    let settings = with_limits(&LONG_TIMEOUTS);
    let (bridge, ..) = Bridge::with_topics(&kafka, 6, &settings);
    let idle = bridge.resident_bytes();
    kafka.freeze_all();
    let whole = report(&body_of_size("m1", 60 << 10));
    let large = send_on_each(&bridge, 200, &whole);
    let unfinished = send_on_each(&bridge, 100, &whole[..whole.len() - 1]);
    let full = send_on_each(&bridge, 200, &whole);
    let head = request(&post(), &[("X-Pad", Some(&"x".repeat(15 << 10)))], b"");
    let heads = send_on_each(&bridge, 200, &head[..head.len() - 2]);
    bridge.wait_for_metric(CONNECTIONS, 700);
    wait_until_full(&bridge);
    assert_within(printed_bound(&settings), idle, &bridge);
    drop((large, unfinished, full, heads));
    kafka.thaw_all();
}

#[test]
fn small_reports_up_to_the_limit_of_bytes_stay_under_the_bound() {
    let kafka = cluster::exclusive();
    let settings = with_limits(&SHORT_DEADLINE);
    let (bridge, ..) = Bridge::with_topics(&kafka, 6, &settings);
    let idle = bridge.resident_bytes();
    kafka.freeze_all();
    fill(&bridge, 500, 503);
    wait_until_full(&bridge);
    assert_within(printed_bound(&settings), idle, &bridge);
    kafka.thaw_all();
    bridge.wait_for_metric(BYTES, 0);
}

#[test]
fn a_spool_that_fills_and_drains_stays_under_the_bound() {
    let kafka = cluster::exclusive();
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [
        ("spool.directory", directory.path().to_str().expect("text")),
        // Small compared with the spool's limit.
        ("ingress.connections", "101"),
        ("ingress.reports_in_flight", "1000"),
        ("ingress.bytes_in_flight", "1 MiB"),
    ];
    let (bridge, ..) = Bridge::with_topics(&kafka, 6, &settings);
    let idle = bridge.resident_bytes();
    kafka.freeze_all();
    fill(&bridge, 100, 200);
    assert!(bridge.metric("koobridge_spool_reports") > 30_000);
    kafka.thaw_all();
    bridge.wait_for_metric("koobridge_spool_reports", 0);
    assert_within(printed_bound(&settings), idle, &bridge);
}

/// Sends 40,000 small reports from `senders` connections, more than the limit of bytes allows. Each is answered
/// `expected`.
fn fill(bridge: &Bridge, senders: usize, expected: u16) {
    let open = |_| Connection::open(bridge.ingress);
    let mut senders: Vec<_> = (0..senders).map(open).collect();
    for round in 0..40_000 / senders.len() {
        for (number, sender) in senders.iter_mut().enumerate() {
            sender.send(&report(&body(&format!("m{round}-{number}"), "read")));
        }
        for sender in &mut senders {
            assert_eq!(sender.answer().status, expected);
        }
    }
}

/// The settings are in `.cargo/config.toml`.
#[cfg(feature = "jemalloc")]
#[test]
fn the_allocator_has_the_settings_of_this_project() {
    let output = run(koobridge()
        .env("MALLOC_CONF", "stats_print:true")
        .arg("--version"));
    let shown = String::from_utf8(output.stderr).expect("text");
    for setting in [
        "opt.narenas: 4",
        "opt.background_thread: true",
        "opt.dirty_decay_ms: 1000",
        "opt.muzzy_decay_ms: 0",
    ] {
        assert!(shown.contains(setting), "no {setting} in:\n{shown}");
    }
}
