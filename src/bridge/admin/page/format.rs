//! Formats numbers and times for people.

use std::time::Duration;

use indicatif::{HumanCount, HumanDuration, HumanFloatCount};
use jiff::SignedDuration;

use crate::bridge::metrics::Buckets;

/// Escapes text for HTML, between tags or in quotes.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        HumanCount(number),
        if number == 1 { one } else { many }
    )
}

pub(super) fn ago(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        return "now".to_owned();
    }
    format!("{} ago", HumanDuration(time))
}

pub(super) fn days(time: SignedDuration) -> String {
    counted(time.as_hours().unsigned_abs() / 24, "day", "days")
}

/// Formats the quantile `share` of the times.
pub(super) fn quantile(buckets: &Buckets, share: f64) -> String {
    let seconds = buckets.quantile(share).map(Duration::from_secs_f64);
    seconds.map_or_else(|| "–".to_owned(), |time| format!("{time:.1?}"))
}

/// Formats a rate of reports per second.
pub(super) fn rate(per_second: f64) -> String {
    let whole = per_second >= 100.0;
    let digits = usize::from(!whole);
    format!("{:.digits$}", HumanFloatCount(per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_text_contains_neither_tags_nor_quotes() {
        assert_eq!(
            escape(r#"</script><b a="x" b='y'>&amp;"#),
            "&lt;/script&gt;&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp;amp;"
        );
        assert_eq!(escape("8 × 5 · ä"), "8 × 5 · ä");
    }

    #[test]
    fn rates_have_few_digits() {
        let rates = [0.0, 0.24, 9.96, 100.4, 12_345.0].map(rate);
        assert_eq!(rates, ["0", "0.2", "10", "100", "12,345"]);
    }
}
