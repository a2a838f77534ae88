//! Extreme values of every key: each is refused, or overflows no computation.

use super::*;

/// Values near the bounds of the types and of the keys.
const EXTREMES: [&str; 22] = [
    "",
    "0",
    "1",
    "-1",
    "1 KiB",
    "64 KiB",
    "65535",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "1024 GiB",
    "4194304 GiB",
    "17179869183 GiB",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "24h",
    "0s",
    "1ns",
    "9223372036854775807s",
    "2562047788015215h 30m 7s",
];

/// Makes every computation on a configuration; returns whether the configuration is valid.
fn use_all(case: &Case) -> bool {
    let printed = case.print();
    assert!(!printed.is_empty());
    let Ok(config) = case.check() else {
        return false;
    };
    let Config {
        ingress,
        kafka,
        spool,
        ..
    } = &config;
    let memory = Memory::from(&config);
    assert!(memory.sum() >= memory.reports && !memory.to_string().is_empty());
    let limits = &ingress.limits;
    let times = [
        limits.deadline,
        limits.body_timeout,
        limits.head_timeout,
        limits.idle_timeout,
        ingress.drain_delay,
        kafka.flush_timeout,
        spool.as_ref().map_or(Duration::ZERO, |spool| spool.after),
    ];
    let all = times.into_iter().sum::<Duration>();
    assert!(std::time::Instant::now().checked_add(all).is_some());
    let sizes = [
        limits.body as u64,
        limits.head as u64,
        ingress.bytes_in_flight,
    ];
    let spool = spool.iter();
    let sizes = sizes.into_iter().chain(spool.flat_map(|spool| {
        assert!(
            i32::try_from(spool.memory >> 10).is_ok(),
            "SQLite counts so"
        );
        [spool.disk_limit, spool.free_space, spool.memory as u64]
    }));
    assert!(i64::try_from(sizes.sum::<u64>()).is_ok());
    true
}

fn with_spool() -> Case {
    Case::minimal("[spool]\ndirectory = \"kept\"\n")
}

#[test]
fn no_value_of_any_key_overflows_anything() {
    for key in KEYS {
        for extreme in EXTREMES {
            use_all(&Case::minimal("").flag(key.name, extreme));
            use_all(&with_spool().flag(key.name, extreme));
        }
    }
}

#[test]
fn the_largest_values_together_are_valid_and_overflow_nothing() {
    let largest = [
        ("ingress.workers", "65535"),
        ("ingress.deadline", "24h"),
        ("ingress.head_limit", "64 KiB"),
        ("ingress.head_timeout", "24h"),
        ("ingress.body_limit", "999983616"),
        ("ingress.body_timeout", "12h"),
        ("ingress.idle_timeout", "24h"),
        ("ingress.connections", "4294967295"),
        ("ingress.reports_in_flight", "4294967295"),
        ("ingress.bytes_in_flight", "1024 GiB"),
        ("ingress.drain_delay", "24h"),
        ("kafka.flush_timeout", "24h"),
        ("kafka.properties.message.max.bytes", "1000000000"),
        ("kafka.properties.queue.buffering.max.kbytes", "2147483647"),
        ("spool.after", "11h"),
        ("spool.disk_limit", "4194304 GiB"),
        ("spool.free_space", "4194304 GiB"),
        ("spool.memory", "1024 GiB"),
    ];
    let case = largest
        .iter()
        .fold(with_spool(), |case, (key, value)| case.flag(key, value));
    assert!(use_all(&case), "{:?}", case.check());
    for (key, _) in largest {
        let beyond = ["24h 1ns", "4194304 GiB", "4503599627370497", "4294967296"];
        let refused = |value: &&str| case.check_with(key, value).is_err();
        assert!(beyond.iter().any(refused), "{key}");
    }
}
