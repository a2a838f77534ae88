//! The text of one value turned into its type. Each error says what would be right.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

use super::{LogFormat, LogLevel, Success};
use crate::contract::EventMode;

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("\"{text}\" is not an IP address and port; write for example \"127.0.0.1:18446\"")
    })
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        Err("is empty; name a path".to_owned())
    } else {
        Ok(text.into())
    }
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| format!("\"{text}\" is neither true nor false"))
}

pub(super) fn count(text: &str) -> Result<NonZeroU32, String> {
    text.parse()
        .map_err(|_| format!("\"{text}\" is not a whole number from 1 to {}", u32::MAX))
}

/// 0 asks the system how many CPU cores there are.
pub(super) fn workers(text: &str) -> Result<NonZeroUsize, String> {
    let workers: u16 = text
        .parse()
        .map_err(|_| format!("\"{text}\" is not a whole number from 0"))?;
    Ok(NonZeroUsize::new(workers.into())
        .or_else(|| std::thread::available_parallelism().ok())
        .unwrap_or(NonZeroUsize::MIN))
}

/// The longest duration. A clock's time and a few of these can be added up.
const LONGEST: Duration = Duration::from_hours(24);

/// The shortest time that something has to take place in. In less than this a busy machine does not get
/// round to it.
const SHORTEST: Duration = Duration::from_millis(10);

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("\"{text}\" is not a duration; write for example \"5s\", \"500ms\" or \"2m\"");
    let duration: SignedDuration = text.parse().map_err(|_| wrong())?;
    match duration.try_into().map_err(|_| wrong())? {
        duration if duration <= LONGEST => Ok(duration),
        _ => Err(format!("\"{text}\" is too long; write at most \"24h\"")),
    }
}

/// A duration that something has to take place in.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        duration if duration >= SHORTEST => Ok(duration),
        _ => Err(format!("\"{text}\" is too short; write at least \"10ms\"")),
    }
}

/// A number of bytes, with or without a unit: at most 4 PiB, so that sums of them have room in an integer.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    match number_of_bytes(text)? {
        bytes if bytes <= 1 << 52 => Ok(bytes),
        _ => Err(format!(
            "\"{text}\" is too large; write at most \"4194304 GiB\""
        )),
    }
}

/// A size in memory: at most 1 TiB, of which SQLite can still count the KiB.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let size = usize::try_from(number_of_bytes(text)?).ok();
    let size = size.filter(|size| *size <= 1 << 40);
    size.ok_or_else(|| format!("\"{text}\" is too large; write at most \"1024 GiB\""))
}

fn number_of_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 5] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1000),
        ("MB", 1_000_000),
    ];
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, size)| Some((text.strip_suffix(name)?, *size)))
        .unwrap_or((text, 1));
    let number: Option<u64> = number.trim_end().parse().ok();
    number
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| {
            format!("\"{text}\" is not a size; write for example \"64 KiB\" or \"1 MiB\"")
        })
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "all of these functions have one type"
)]
pub(super) fn names(text: &str) -> Result<Vec<String>, String> {
    Ok(text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

/// Names of hosts, as in a `Host` header without its port.
pub(super) fn host_names(text: &str) -> Result<Vec<String>, String> {
    let names = names(text)?;
    match names.iter().find(|name| !is_host_name(name)) {
        None => Ok(names),
        Some(name) => Err(format!(
            "\"{name}\" is not a host name; write it in ASCII without scheme, port and wildcard, for example \
             \"koobridge.monitoring.svc\"; IP addresses need not be listed"
        )),
    }
}

fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        !label.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Kafka's own rule for topic names.
pub(super) fn topic(text: &str) -> Result<String, String> {
    let sound = (1..=249).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && text != "."
        && text != "..";
    if sound {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "\"{text}\" is no topic name: 1 to 249 letters, digits, '.', '_' or '-'"
        ))
    }
}

/// One of a few words.
fn one_of<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, String> {
    known
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
            format!("\"{text}\" is none of {}", words.join(", "))
        })
}

pub(super) fn success(text: &str) -> Result<Success, String> {
    one_of(
        text,
        &[
            ("200", Success::Ok),
            ("202", Success::Accepted),
            ("204", Success::NoContent),
        ],
    )
}

pub(super) fn event_mode(text: &str) -> Result<EventMode, String> {
    one_of(
        text,
        &[
            ("binary", EventMode::Binary),
            ("structured", EventMode::Structured),
        ],
    )
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    one_of(
        text,
        &[
            ("auto", LogFormat::Auto),
            ("text", LogFormat::Text),
            ("json", LogFormat::Json),
        ],
    )
}

pub(super) fn log_level(text: &str) -> Result<LogLevel, String> {
    one_of(
        text,
        &[
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
            ("trace", LogLevel::Trace),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        for (text, expected) in [
            ("0", 0),
            ("17", 17),
            ("64 KiB", 65_536),
            ("1MiB", 1 << 20),
            ("2 GiB", 2 << 30),
            ("3 kB", 3000),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "KiB",
            "-1",
            "1.5 MiB",
            "64 kib",
            "64 K",
            "99999999999 GiB",
        ] {
            assert!(bytes(text).unwrap_err().contains("64 KiB"), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, expected) in [
            ("5s", 5000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1m 30s", 90_000),
        ] {
            assert_eq!(
                duration(text),
                Ok(Duration::from_millis(expected)),
                "{text}"
            );
        }
        for text in ["", "5", "-5s", "soon"] {
            assert!(duration(text).unwrap_err().contains("500ms"), "{text}");
        }
    }

    #[test]
    fn a_duration_is_at_most_a_day_and_a_time_to_do_something_not_next_to_nothing() {
        assert_eq!(duration("24h"), Ok(LONGEST));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(some_time("10ms"), Ok(SHORTEST));
        for text in ["24h 1ms", "9223372036854775807s"] {
            let expected = Err(format!("\"{text}\" is too long; write at most \"24h\""));
            assert_eq!(duration(text), expected);
            assert_eq!(some_time(text), expected);
        }
        for text in ["0s", "9ms", "1ns"] {
            let expected = format!("\"{text}\" is too short; write at least \"10ms\"");
            assert_eq!(some_time(text), Err(expected));
        }
    }

    #[test]
    fn a_size_has_a_bound_on_disk_and_another_in_memory() {
        assert_eq!(bytes("4194304 GiB"), Ok(1 << 52));
        assert_eq!(size("1024 GiB"), Ok(1 << 40));
        for text in ["4503599627370497", "18446744073709551615"] {
            let expected = format!("\"{text}\" is too large; write at most \"4194304 GiB\"");
            assert_eq!(bytes(text), Err(expected));
        }
        let expected = "\"1025 GiB\" is too large; write at most \"1024 GiB\"";
        assert_eq!(size("1025 GiB"), Err(expected.to_owned()));
    }

    #[test]
    fn host_names_have_neither_scheme_nor_port() {
        let parsed = host_names("koobridge, a-1.b_2.Example").expect("names");
        assert_eq!(parsed, ["koobridge", "a-1.b_2.Example"]);
        assert_eq!(host_names("example."), Ok(vec!["example.".to_owned()]));
        assert_eq!(host_names(""), Ok(Vec::new()));
        for text in [
            "http://koobridge",
            "koobridge:18447",
            "*.example",
            ".example",
            "example..",
            "a..b",
            "a b",
            "[::1]",
            &"x".repeat(254),
        ] {
            let refused = host_names(text).unwrap_err();
            assert!(
                refused.contains("without scheme, port and wildcard"),
                "{text}"
            );
        }
    }

    #[test]
    fn topic_names_are_kafkas() {
        assert_eq!(
            topic("koomessage.reports"),
            Ok("koomessage.reports".to_owned())
        );
        for text in ["", ".", "..", "a b", "a/b", &"x".repeat(250)] {
            assert!(topic(text).is_err(), "{text}");
        }
    }
}
