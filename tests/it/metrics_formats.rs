//! The metrics of a busy bridge in both text formats, read by independent parsers.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Map, Value};

use crate::support::bridge::Bridge;
use crate::support::cluster;
use crate::support::http::{Connection, body, exchange, post, report, request};
use crate::support::python;

/// The `Accept` header of Prometheus 2.x.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

fn scrape(method: &str, accept: &[&str]) -> Vec<u8> {
    let accept = accept.iter().map(|value| format!("Accept: {value}\r\n"));
    let accept: String = accept.collect();
    format!("{method} /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{accept}\r\n")
        .into_bytes()
}

/// Starts a bridge and sends reports of every kind, so that it has series of each metric.
fn busy_bridge() -> (Bridge, tempfile::TempDir) {
    let kafka = cluster::shared();
    let spool = tempfile::tempdir().expect("a directory");
    let directory = spool.path().display().to_string();
    let settings = [
        ("spool.directory", &*directory),
        ("kafka.allow_unsafe", "enable.idempotence"),
        ("kafka.properties.enable.idempotence", "false"),
    ];
    let (bridge, ..) = Bridge::with_topics(&kafka, 3, &settings);
    for (message_id, status) in [
        ("m1", "read"),
        ("m2", "delivered"),
        ("m3", "played"),
        ("m4", "read"),
    ] {
        let answer = exchange(bridge.ingress, &report(&body(message_id, status)));
        assert_eq!(answer.status, 200);
    }
    for (changes, body, status) in [
        (&[][..], &b"{"[..], 400),
        (&[("Authorization", Some("wrong"))], b"{}", 401),
        (&[("Content-Type", Some("text/plain"))], b"{}", 415),
    ] {
        let answer = exchange(bridge.ingress, &request(&post(), changes, body));
        assert_eq!(answer.status, status);
    }
    (bridge, spool)
}

fn parsed(format: &str, text: &str) -> Map<String, Value> {
    let families = python::run("open_metrics.py", &[format], text);
    serde_json::from_str(&families).expect("an object")
}

/// Returns the name, type, help and series of a family. The values are left out, because they change between two
/// scrapes.
fn family(name: &str, family: &Value) -> (String, String, String, Vec<Value>) {
    let text = |at: usize| family[at].as_str().expect("text").to_owned();
    let samples = family[2].as_array().expect("samples");
    let series = samples
        .iter()
        .map(|sample| Value::from(vec![sample[0].clone(), sample[1].clone()]));
    (name.to_owned(), text(0), text(1), series.collect())
}

#[test]
fn both_formats_are_valid_and_have_the_same_content() {
    let (bridge, _spool) = busy_bridge();
    let open_metrics = exchange(bridge.admin, &scrape("GET", &[PROMETHEUS]));
    assert_eq!(open_metrics.header("content-type"), Some(OPEN_METRICS));
    let classic = exchange(bridge.admin, &scrape("GET", &["text/plain"]));
    assert_eq!(classic.header("content-type"), Some(CLASSIC));
    let [open_metrics, classic] = [open_metrics, classic].map(|answer| answer.text());
    assert!(open_metrics.ends_with("\n# EOF\n"));
    assert!(
        classic.contains("# TYPE koobridge_answers_total counter\n"),
        "{classic}"
    );
    assert!(!classic.contains("# EOF") && !classic.contains("# UNIT"));

    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed");
    let mut stdin = promtool.stdin.take().expect("a pipe");
    stdin
        .write_all(classic.as_bytes())
        .expect("promtool reads it");
    drop(stdin);
    let output = promtool.wait_with_output().expect("its output");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((&*said, output.status.code()), ("", Some(0)));

    let families = |format, text| -> Vec<_> {
        let families = parsed(format, text);
        families.iter().map(|(name, it)| family(name, it)).collect()
    };
    let (open_metrics, classic) = (
        families("openmetrics", &open_metrics),
        families("classic", &classic),
    );
    assert!(open_metrics.len() > 40, "{open_metrics:#?}");
    assert_eq!(open_metrics, classic);
}

#[test]
fn each_answer_varies_by_accept_and_head_has_no_body() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[]);
    for (accept, kind) in [
        (&[][..], CLASSIC),
        (&["*/*"], CLASSIC),
        (&["text/html"], CLASSIC),
        (&["application/openmetrics-text;q=x"], CLASSIC),
        (&["application/openmetrics-text;q=0, */*"], CLASSIC),
        (&[PROMETHEUS], OPEN_METRICS),
        (
            &["*/*;q=0.1", "application/openmetrics-text;q=0.2"],
            OPEN_METRICS,
        ),
    ] {
        for method in ["GET", "HEAD"] {
            let mut connection = Connection::open(bridge.admin);
            connection.send(&scrape(method, accept));
            let answer = match method {
                "GET" => connection.answer(),
                _ => connection.head(),
            };
            assert!(connection.is_closed(), "{method} {accept:?}");
            assert_eq!(answer.status, 200, "{accept:?}");
            assert_eq!(
                answer.header("content-type"),
                Some(kind),
                "{method} {accept:?}"
            );
            assert_eq!(answer.header("vary"), Some("accept"));
            assert_eq!(
                answer.body.is_empty(),
                method == "HEAD",
                "{method} {accept:?}"
            );
        }
    }
}
