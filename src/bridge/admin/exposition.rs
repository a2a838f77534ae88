//! Chooses the format of the metrics by the scraper's `Accept`.

use hyper::header::HeaderValue;

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exposition {
    OpenMetrics,
    /// Prometheus' text format 0.0.4, which every scraper reads.
    Classic,
}

/// The weight of a media range, in thousandths.
type Weight = u16;

/// How specifically a media range matches a format. The most specific range counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    /// `*/*`
    Any,
    /// A type with any subtype, such as `text/*`.
    Type,
    Exact,
}

impl Exposition {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Chooses `OpenMetrics` if its weight is higher, or if it is named exactly and the weights are equal. If a scraper
    /// accepts neither format, it gets the classic one, as RFC 9110 (12.4.1) allows. Malformed media ranges are
    /// ignored.
    pub(super) fn chosen<'a>(accept: impl IntoIterator<Item = &'a HeaderValue>) -> Self {
        let texts = accept.into_iter().filter_map(|value| value.to_str().ok());
        let ranges: Vec<Range<'_>> = texts
            .flat_map(|text| split(text, b','))
            .filter_map(Range::parse)
            .collect();
        let open_metrics = best(&ranges, "application", "openmetrics-text", "1.0.0");
        let classic = best(&ranges, "text", "plain", "0.0.4");
        let (how, wanted) = open_metrics.unwrap_or((Match::Any, 0));
        let other = classic.map_or(0, |(_, weight)| weight);
        if wanted > 0 && (wanted > other || wanted == other && how == Match::Exact) {
            Self::OpenMetrics
        } else {
            Self::Classic
        }
    }
}

/// Returns the most specific match of a format, with the highest weight among equally specific ranges.
fn best(ranges: &[Range<'_>], kind: &str, name: &str, version: &str) -> Option<(Match, Weight)> {
    ranges
        .iter()
        .filter_map(|range| Some((range.names(kind, name, version)?, range.weight)))
        .max()
}

/// One media range.
#[derive(Debug)]
struct Range<'a> {
    kind: &'a str,
    name: &'a str,
    version: Option<&'a str>,
    weight: Weight,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = split(text, b';').map(str::trim);
        let (kind, name) = parts.next()?.split_once('/')?;
        let mut range = Self {
            kind,
            name,
            version: None,
            weight: 1000,
        };
        for parameter in parts.filter(|parameter| !parameter.is_empty()) {
            let (parameter, value) = parameter.split_once('=')?;
            if parameter.eq_ignore_ascii_case("q") {
                range.weight = weight(value)?;
            } else if parameter.eq_ignore_ascii_case("version") {
                range.version = Some(value.trim_matches('"'));
            }
        }
        Some(range)
    }

    fn names(&self, kind: &str, name: &str, version: &str) -> Option<Match> {
        let is_kind = self.kind.eq_ignore_ascii_case(kind);
        let is_version = self.version.is_none_or(|wanted| wanted == version);
        match (self.kind, self.name) {
            ("*", "*") => Some(Match::Any),
            (_, "*") if is_kind => Some(Match::Type),
            (_, own) if is_kind && own.eq_ignore_ascii_case(name) && is_version => {
                Some(Match::Exact)
            }
            _ => None,
        }
    }
}

/// Parses a weight (RFC 9110, 12.4.2), which is from 0 to 1 and has at most three decimals.
fn weight(text: &str) -> Option<Weight> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let are_digits = decimals.bytes().all(|byte| byte.is_ascii_digit());
    if decimals.len() > 3 || !are_digits {
        return None;
    }
    let thousandths: Weight = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// Splits a text at a separator that is not in quotes.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |character: char| {
        let is_end = character == char::from(separator) && !is_quoted;
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = is_quoted,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        is_end
    })
}

#[cfg(test)]
mod tests {
    use Exposition::{Classic, OpenMetrics};
    use proptest::prelude::*;

    use super::*;

    fn chosen(accept: &[&[u8]]) -> Exposition {
        let values: Vec<HeaderValue> = accept
            .iter()
            .map(|value| HeaderValue::from_bytes(value).expect("a header's value"))
            .collect();
        Exposition::chosen(&values)
    }

    #[test]
    fn accept_chooses_the_format() {
        for (accept, expected) in [
            // Prometheus 2.x, 3.x, and the oldest with OpenMetrics.
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Classic,
            ),
            // Prometheus with another order of formats; one that prefers protocol buffers.
            (
                "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.2",
                Classic,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,\
                 application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.2",
                OpenMetrics,
            ),
            // curl, a browser, and others.
            ("*/*", Classic),
            ("", Classic),
            ("text/plain", Classic),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                Classic,
            ),
            ("application/json", Classic),
            // By name, in any case and form.
            ("application/openmetrics-text", OpenMetrics),
            (
                "Application/OpenMetrics-Text ; Version=\"1.0.0\" ; Q=1.000",
                OpenMetrics,
            ),
            ("application/openmetrics-text;version=2.0.0", Classic),
            ("text/plain,application/openmetrics-text", OpenMetrics),
            ("*/*,application/openmetrics-text", OpenMetrics),
            (
                "text/plain;q=0.501,application/openmetrics-text;q=0.5",
                Classic,
            ),
            // Wildcards.
            ("application/*", OpenMetrics),
            ("application/*,text/*", Classic),
            ("application/*,*/*;q=0.9", OpenMetrics),
            ("application/*;q=0.5,*/*", Classic),
            ("*/*,text/plain;q=0", OpenMetrics),
            ("*/*;q=0.1,application/*;q=0", Classic),
            ("application/*,application/openmetrics-text;q=0", Classic),
            // Not wanted.
            ("application/openmetrics-text;q=0", Classic),
            ("application/openmetrics-text;q=0.000,*/*", Classic),
            ("application/openmetrics-text;q=0,text/plain;q=0", Classic),
            ("application/openmetrics-text;q=0.001", OpenMetrics),
            // Malformed ranges are ignored.
            ("application/openmetrics-text;q=", Classic),
            ("application/openmetrics-text;q=high", Classic),
            ("application/openmetrics-text;q=1.1", Classic),
            ("application/openmetrics-text;q=0.5000", Classic),
            ("application/openmetrics-text;q=-1", Classic),
            ("application/openmetrics-text;version", Classic),
            ("openmetrics-text", Classic),
            (",;,/,*,=;q=1", Classic),
            (",application/openmetrics-text;,", OpenMetrics),
            ("text/html;x=\"application/openmetrics-text,\"", Classic),
            (
                "text/html;x=\"a\\\",\",application/openmetrics-text",
                OpenMetrics,
            ),
        ] {
            assert_eq!(chosen(&[accept.as_bytes()]), expected, "{accept}");
        }
    }

    #[test]
    fn a_repeated_header_is_one_list_and_a_missing_one_chooses_the_classic_format() {
        assert_eq!(chosen(&[]), Classic);
        let named = &b"application/openmetrics-text;q=0.5"[..];
        assert_eq!(chosen(&[b"*/*;q=0.1", named]), OpenMetrics);
        assert_eq!(chosen(&[named, b"text/plain"]), Classic);
        assert_eq!(chosen(&[b"\xff", named]), OpenMetrics);
    }

    proptest! {
        #[test]
        fn any_header_chooses_a_format(text in "[\\x20-\\x7e]*") {
            chosen(&[text.as_bytes()]);
        }
    }
}
