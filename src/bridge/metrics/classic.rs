//! Metrics in Prometheus' text format 0.0.4, for scrapers that do not read OpenMetrics. The `OpenMetrics` text is
//! converted line by line, so that both formats have the same content.

/// Converts a text of the encoder in `prometheus_client`.
///
/// The format has no `# UNIT`, no `# EOF` and no exemplars. A family has the name of its samples: it ends with `_total`
/// for a counter, and with `_info` for an info, which is a gauge in this format.
#[must_use]
pub(super) fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // The help comes before the type, but its name depends on the type.
    let mut help = None;
    for line in open_metrics.lines() {
        match line.strip_prefix("# ") {
            None => push(&mut text, &[without_exemplar(line)]),
            Some(comment) => match *comment.splitn(3, ' ').collect::<Vec<_>>() {
                ["HELP", name, words] => help = Some((name, words)),
                ["TYPE", name, kind] => push_family(&mut text, name, kind, help.take()),
                // The unit is part of the name, and the end needs no mark.
                _ => {}
            },
        }
    }
    text
}

fn push_family(text: &mut String, name: &str, kind: &str, help: Option<(&str, &str)>) {
    let (suffix, kind) = match kind {
        "counter" => ("_total", kind),
        "info" => ("_info", "gauge"),
        "unknown" => ("", "untyped"),
        _ => ("", kind),
    };
    if let Some((_, words)) = help.filter(|(of, _)| *of == name) {
        // Only OpenMetrics escapes quotes in a help.
        let words = words.replace("\\\"", "\"");
        push(text, &["# HELP ", name, suffix, " ", &words]);
    }
    push(text, &["# TYPE ", name, suffix, " ", kind]);
}

/// Returns the sample without the exemplar ` # {…} …` at its end. The value of a label can contain such text.
fn without_exemplar(sample: &str) -> &str {
    let mut is_quoted = false;
    let mut is_escaped = false;
    for (at, byte) in sample.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_quoted,
            b'"' => is_quoted = !is_quoted,
            b'#' if !is_quoted => return sample[..at].trim_end(),
            _ => {}
        }
    }
    sample
}

fn push(text: &mut String, parts: &[&str]) {
    for part in parts {
        text.push_str(part);
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::exemplar::CounterWithExemplar;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::metrics::info::Info;
    use prometheus_client::registry::{Registry, Unit};
    use proptest::prelude::*;

    use super::*;

    type Labels = Vec<(String, String)>;

    fn converted(registry: &Registry) -> String {
        let mut text = String::new();
        encode(&mut text, registry).expect("memory");
        classic(&text)
    }

    #[test]
    fn each_type_has_the_name_of_its_samples() {
        let mut registry = Registry::default();
        let counter: Counter = Counter::default();
        counter.inc_by(3);
        registry.register("requests", "Say \\\"when\\\" # now", counter);
        let gauge: Gauge = Gauge::default();
        gauge.set(-2);
        registry.register_with_unit("disk", "Taken", Unit::Bytes, gauge);
        let histogram = Histogram::new([0.5]);
        histogram.observe(0.25);
        registry.register_with_unit("wait", "Wait", Unit::Seconds, histogram);
        registry.register("build", "Build", Info::new([("version", "a # b")]));
        let exemplars = CounterWithExemplar::<Labels>::default();
        exemplars.inc_by(1, Some(vec![("trace".to_owned(), "x".to_owned())]), None);
        registry.register("traced", "Traced", exemplars);
        let expected = "\
# HELP requests_total Say \"when\" # now.
# TYPE requests_total counter
requests_total 3
# HELP disk_bytes Taken.
# TYPE disk_bytes gauge
disk_bytes -2
# HELP wait_seconds Wait.
# TYPE wait_seconds histogram
wait_seconds_sum 0.25
wait_seconds_count 1
wait_seconds_bucket{le=\"0.5\"} 1
wait_seconds_bucket{le=\"+Inf\"} 1
# HELP build_info Build.
# TYPE build_info gauge
build_info{version=\"a # b\"} 1
# HELP traced_total Traced.
# TYPE traced_total counter
traced_total 1
";
        assert_eq!(converted(&registry), expected);
    }

    #[test]
    fn an_unknown_type_is_untyped() {
        let text = "# HELP x X.\n# TYPE x unknown\nx 1\n# EOF\n";
        assert_eq!(classic(text), "# HELP x X.\n# TYPE x untyped\nx 1\n");
    }

    #[test]
    fn the_text_of_no_metrics_is_empty() {
        assert_eq!(converted(&Registry::default()), "");
    }

    proptest! {
        /// Any text in a label is preserved, and no sample is lost or added.
        #[test]
        fn every_sample_is_preserved(values in prop::collection::btree_map("(?s).*", 0..9_u64, 0..8)) {
            let mut registry = Registry::default();
            let family = Family::<Labels, CounterWithExemplar<Labels>>::default();
            registry.register("requests", "Requests", family.clone());
            for (value, count) in &values {
                let labels = vec![("value".to_owned(), value.clone())];
                let counter = family.get_or_create(&labels);
                counter.inc_by(*count, (*count % 2 == 0).then(|| labels.clone()), None);
            }
            let text = converted(&registry);
            let read: BTreeMap<String, u64> = text.split_inclusive('\n').filter_map(sample).collect();
            prop_assert_eq!(read, values);
        }
    }

    /// Reads a sample's only label and its value.
    fn sample(line: &str) -> Option<(String, u64)> {
        let labelled = line.strip_prefix("requests_total{value=\"")?;
        let (value, count) = labelled.rsplit_once("\"} ").expect("a label");
        let mut unescaped = String::new();
        let mut characters = value.chars();
        while let Some(character) = characters.next() {
            unescaped.push(match character {
                '\\' => match characters.next().expect("an escaped character") {
                    'n' => '\n',
                    other => other,
                },
                other => other,
            });
        }
        Some((unescaped, count.trim_end().parse().expect("a number")))
    }
}
