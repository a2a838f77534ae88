//! Parses the text of one value. Each error gives the valid form.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};

use super::{LogFormat, LogLevel, Success};
use crate::contract::{EventMode, LARGEST_SCHEMA_NUMBER, SchemaId};

pub fn address(text: &str) -> Result<SocketAddr, String> {
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

/// Parses a whole number in `range`.
pub(super) fn number<T: TryFrom<u64>>(
    text: &str,
    range: &RangeInclusive<u64>,
) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            format!("\"{text}\" is not a whole number from {least} to {most}")
        })
}

/// Parses a number from 0 to 1.
pub(super) fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok();
    ratio
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or_else(|| format!("\"{text}\" is not a number from 0 to 1"))
}

/// Parses a duration, `500ms` or `1d 12h`: days have 24 hours.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let in_days = || {
        let span: Span = text.parse().ok()?;
        span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()
    };
    let duration: Option<SignedDuration> = text.parse().ok().or_else(in_days);
    duration
        .and_then(|duration| duration.try_into().ok())
        .ok_or_else(|| {
            format!("\"{text}\" is not a duration; write for example \"5s\", \"500ms\" or \"2m\"")
        })
}

/// Parses a duration in `range`, which is in milliseconds.
pub(super) fn time(text: &str, range: &RangeInclusive<u64>) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < Duration::from_millis(*range.start()) {
        let least = in_time(*range.start());
        return Err(format!(
            "\"{text}\" is too short; write at least \"{least}\""
        ));
    }
    if time > Duration::from_millis(*range.end()) {
        let most = in_time(*range.end());
        return Err(format!("\"{text}\" is too long; write at most \"{most}\""));
    }
    Ok(time)
}

/// Parses a number of bytes in `range`, with or without a unit.
pub(super) fn size<T: TryFrom<u64>>(text: &str, range: &RangeInclusive<u64>) -> Result<T, String> {
    let bytes = number_of_bytes(text)?;
    if bytes < *range.start() {
        let least = in_bytes(*range.start());
        return Err(format!(
            "\"{text}\" is too small; write at least \"{least}\""
        ));
    }
    let size = range.contains(&bytes).then(|| T::try_from(bytes).ok());
    size.flatten().ok_or_else(|| {
        let most = in_bytes(*range.end());
        format!("\"{text}\" is too large; write at most \"{most}\"")
    })
}

/// Formats milliseconds as a user would write them.
pub(crate) fn in_time(milliseconds: u64) -> String {
    let duration = Duration::from_millis(milliseconds);
    format!(
        "{:?}",
        SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
    )
}

/// Formats a number of bytes as a user would write it.
pub(super) fn in_bytes(bytes: u64) -> String {
    let whole = |(_, size): &&(&str, u64)| bytes > 0 && bytes.is_multiple_of(*size);
    match UNITS[..3].iter().rfind(whole) {
        Some((unit, size)) => format!("{} {unit}", bytes / size),
        None => bytes.to_string(),
    }
}

const UNITS: [(&str, u64); 5] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1000),
    ("MB", 1_000_000),
];

fn number_of_bytes(text: &str) -> Result<u64, String> {
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

/// Splits a list at its commas.
pub(super) fn names(text: &str) -> Vec<String> {
    let names = text.split(',').map(str::trim);
    let names = names.filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// Parses a list of host names, as in a `Host` header without the port.
pub(super) fn host_names(text: &str) -> Result<Vec<String>, String> {
    let names = names(text);
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

/// Parses a topic name by Kafka's rule.
pub(crate) fn topic(text: &str) -> Result<String, String> {
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
            "\"{text}\" is not a topic name; write 1 to 249 letters, digits, '.', '_' or '-'"
        ))
    }
}

/// Parses the id of a schema in a registry; returns `None` if the text is empty.
pub(super) fn schema_id(text: &str) -> Result<Option<SchemaId>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        format!(
            "\"{text}\" is not the id of a schema; write the number, 1 to {LARGEST_SCHEMA_NUMBER}, or the GUID that \
             `koobridge topics --schema-registry` prints"
        )
    })
}

pub(super) const SUCCESSES: &[(&str, Success)] = &[
    ("200", Success::Ok),
    ("202", Success::Accepted),
    ("204", Success::NoContent),
];
pub(super) const EVENT_MODES: &[(&str, EventMode)] = &[
    ("binary", EventMode::Binary),
    ("structured", EventMode::Structured),
];
pub(super) const LOG_FORMATS: &[(&str, LogFormat)] = &[
    ("auto", LogFormat::Auto),
    ("text", LogFormat::Text),
    ("json", LogFormat::Json),
];
pub(super) const LOG_LEVELS: &[(&str, LogLevel)] = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

/// Parses one of a few words.
pub(super) fn one_of<T: Copy>(text: &str, known: &[(&'static str, T)]) -> Result<T, String> {
    let found = known.iter().find(|(word, _)| *word == text);
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| format!("\"{text}\" is not one of {}", words(known).join(", ")))
}

pub(super) fn words<T>(known: &[(&'static str, T)]) -> Vec<&'static str> {
    known.iter().map(|(word, _)| *word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        for (text, expected) in [
            ("0", 0_u64),
            ("17", 17),
            ("64 KiB", 65_536),
            ("1MiB", 1 << 20),
            ("2 GiB", 2 << 30),
            ("3 kB", 3000),
        ] {
            assert_eq!(size(text, &(0..=1 << 52)), Ok(expected), "{text}");
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
            let refused = size::<u64>(text, &(0..=1 << 52)).unwrap_err();
            assert!(refused.contains("64 KiB"), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, expected) in [
            ("5s", 5000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1m 30s", 90_000),
            ("7d", 604_800_000),
            ("1d 12h", 129_600_000),
        ] {
            assert_eq!(
                duration(text),
                Ok(Duration::from_millis(expected)),
                "{text}"
            );
        }
        for text in ["", "5", "-5s", "-1d", "1mo", "soon"] {
            assert!(duration(text).unwrap_err().contains("500ms"), "{text}");
        }
    }

    #[test]
    fn a_duration_must_be_in_its_inclusive_range() {
        let some_time = |text: &str| time(text, &(10..=86_400_000));
        assert_eq!(some_time("24h"), Ok(Duration::from_hours(24)));
        assert_eq!(some_time("1d"), Ok(Duration::from_hours(24)));
        assert_eq!(some_time("10ms"), Ok(Duration::from_millis(10)));
        assert_eq!(time("0s", &(0..=1)), Ok(Duration::ZERO));
        for text in ["24h 1ns", "9223372036854775807s"] {
            let expected = format!("\"{text}\" is too long; write at most \"24h\"");
            assert_eq!(some_time(text), Err(expected));
        }
        for text in ["0s", "9ms", "1ns"] {
            let expected = format!("\"{text}\" is too short; write at least \"10ms\"");
            assert_eq!(some_time(text), Err(expected));
        }
    }

    #[test]
    fn a_size_must_be_in_its_inclusive_range() {
        let disk = |text: &str| size(text, &(1 << 20..=1 << 52));
        assert_eq!(disk("4194304 GiB"), Ok(1_u64 << 52));
        assert_eq!(disk("1 MiB"), Ok(1 << 20));
        for text in ["4503599627370497", "18446744073709551615"] {
            let expected = format!("\"{text}\" is too large; write at most \"4194304 GiB\"");
            assert_eq!(disk(text), Err(expected));
        }
        let expected = "\"1023 KiB\" is too small; write at least \"1 MiB\"";
        assert_eq!(disk("1023 KiB"), Err(expected.to_owned()));
    }

    #[test]
    fn a_number_of_bytes_is_written_in_its_largest_whole_unit() {
        for text in ["0", "1023", "1 KiB", "1025", "1536 MiB", "1024 GiB"] {
            let bytes = number_of_bytes(text).expect("a size");
            assert_eq!(in_bytes(bytes), text);
        }
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
    fn topic_names_follow_kafkas_rule() {
        assert_eq!(
            topic("koomessage.reports"),
            Ok("koomessage.reports".to_owned())
        );
        for text in ["", ".", "..", "a b", "a/b", &"x".repeat(250)] {
            assert!(topic(text).is_err(), "{text}");
        }
    }
}
