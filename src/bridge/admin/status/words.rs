//! Figures as people read them.

use std::time::Duration;

/// A number with its digits in groups of three.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `one` of a thing or `many` of them.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// So many bytes, in the unit that suits them.
#[expect(
    clippy::cast_precision_loss,
    reason = "two digits of it are shown at most"
)]
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut size = number as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{} {}", few_digits(size), UNITS[unit])
}

/// How long something took or has lasted, in its two largest units at most.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{large} {large_unit}")
        } else {
            format!("{large} {large_unit} {small} {small_unit}")
        }
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
    }
}

/// The same in its largest unit alone, for what is looked at by the dozen.
pub(super) fn ago(time: Duration) -> String {
    match time.as_secs() {
        0 => "now".to_owned(),
        seconds @ 1..60 => format!("{seconds} s ago"),
        seconds @ 60..3600 => format!("{} min ago", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} d ago", seconds / 86_400),
    }
}

/// A time that is a fraction of a second mostly, given in seconds.
pub(super) fn latency(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{} ms", few_digits(seconds * 1000.0))
    } else {
        format!("{} s", few_digits(seconds))
    }
}

/// So many in a second.
pub(super) fn rate(per_second: f64) -> String {
    if per_second >= 99.95 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is not negative and far from the limit"
        )]
        return count(per_second.round() as u64);
    }
    few_digits(per_second)
}

/// One decimal below a hundred, and none where it is 0.
pub(super) fn few_digits(number: f64) -> String {
    if number >= 99.95 {
        return format!("{number:.0}");
    }
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(counted(1, "report", "reports"), "1 report");
        assert_eq!(counted(1000, "report", "reports"), "1,000 reports");
    }

    #[test]
    fn bytes_have_a_unit_that_suits_them() {
        let sizes = [
            0,
            1023,
            1024,
            1536,
            28_848,
            1 << 20,
            1023 << 20,
            1 << 30,
            u64::MAX,
        ];
        let expected = [
            "0 B",
            "1023 B",
            "1 KiB",
            "1.5 KiB",
            "28.2 KiB",
            "1 MiB",
            "1 GiB",
            "1 GiB",
            "16384 PiB",
        ];
        assert_eq!(sizes.map(bytes), expected);
    }

    #[test]
    fn times_are_as_long_as_they_need_to_be() {
        let spans = [0, 59, 60, 61, 3600, 3_660, 86_400, 90_000];
        let expected = [
            "0 s",
            "59 s",
            "1 min",
            "1 min 1 s",
            "1 h",
            "1 h 1 min",
            "1 d",
            "1 d 1 h",
        ];
        assert_eq!(
            spans.map(|seconds| span(Duration::from_secs(seconds))),
            expected
        );
        let agos = [0, 1, 119, 7200, 200_000];
        let expected = ["now", "1 s ago", "1 min ago", "2 h ago", "2 d ago"];
        assert_eq!(
            agos.map(|seconds| ago(Duration::from_secs(seconds))),
            expected
        );
    }

    #[test]
    fn latencies_and_rates_have_few_digits() {
        let expected = ["0.4 ms", "3.1 ms", "12 ms", "250 ms", "1.5 s", "120 s"];
        assert_eq!(
            [0.0004, 0.00312, 0.012, 0.25, 1.5, 120.0].map(latency),
            expected
        );
        assert_eq!(
            [0.0, 0.24, 9.96, 100.4, 12_345.0].map(rate),
            ["0", "0.2", "10", "100", "12,345"]
        );
    }
}
