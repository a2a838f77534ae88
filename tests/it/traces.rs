//! The traces that a collector receives.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use rustix::process::Signal;
use serde_json::json;

use crate::support::authority::Authority;
use crate::support::bridge::{BUSY, Bridge, CHANNEL, PASSWORD, eventually};
use crate::support::cluster::{self, Shared};
use crate::support::collector::{Behaviour, Collector};
use crate::support::http::{Connection, Response, body, exchange, post, report, request};
use crate::support::ports::free_addresses;
use crate::support::records::{Record, read_all};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const ROUTE: &str = "/social/on/whatsapp/koomessage/report/{channelId}";
const DROPPED: &str = "koobridge_trace_spans_dropped_total";

/// Returns an environment that sends spans soon.
fn fast_export() -> Vec<(&'static str, OsString)> {
    vec![("OTEL_BSP_SCHEDULE_DELAY", "50".into())]
}

/// Starts a bridge that sends traces, on new topics.
fn start(
    kafka: &Shared,
    endpoint: &str,
    environment: &[(&'static str, OsString)],
    settings: &[(&str, &str)],
) -> (Bridge, String, String) {
    let topic = kafka.topic("events", 6);
    let rejected = kafka.topic("rejected", 6);
    let traced = [("traces.endpoint", endpoint)];
    let settings: Vec<_> = traced.into_iter().chain(settings.iter().copied()).collect();
    let environment: Vec<_> = fast_export()
        .into_iter()
        .chain(environment.to_vec())
        .collect();
    let bridge = Bridge::start_in(
        &environment,
        kafka.bootstrap(),
        &topic,
        &rejected,
        &settings,
    );
    bridge.wait_until_ready();
    (bridge, topic, rejected)
}

/// Sends a report with the trace context of its sender.
fn send_traced(bridge: &Bridge, flags: &str, body: &[u8]) -> Response {
    let parent = format!("00-{TRACE}-{PARENT}-{flags}");
    let traced = [
        ("traceparent", Some(&*parent)),
        ("tracestate", Some("vendor=1,b=2")),
    ];
    exchange(bridge.ingress, &request(&post(), &traced, body))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn attributes(attributes: &[KeyValue]) -> serde_json::Value {
    let pairs = attributes.iter().map(|pair| {
        let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
        let value = match value.expect("a value") {
            Value::StringValue(text) => json!(text),
            Value::IntValue(number) => json!(number),
            Value::BoolValue(value) => json!(value),
            other => panic!("{other:?}"),
        };
        (pair.key.clone(), value)
    });
    let pairs: BTreeMap<_, _> = pairs.collect();
    assert_eq!(pairs.len(), attributes.len(), "each name is there once");
    json!(pairs)
}

/// Returns the content of a span except its ids and times.
fn content(span: &Span) -> serde_json::Value {
    assert!(span.events.is_empty() && span.links.is_empty());
    assert!(0 < span.start_time_unix_nano && span.start_time_unix_nano <= span.end_time_unix_nano);
    let status = span.status.as_ref();
    assert!(status.is_none_or(|status| status.message.is_empty()));
    let is_error = status.is_some_and(|status| status.code() == StatusCode::Error);
    json!([
        span.name,
        span.kind().as_str_name(),
        is_error,
        attributes(&span.attributes)
    ])
}

/// Returns the two spans of each report: the request's, then the record's.
fn pairs(spans: &[Span]) -> Vec<[&Span; 2]> {
    let requests = spans.iter().filter(|span| span.kind() == SpanKind::Server);
    requests
        .map(|request| {
            let is_child = |span: &&Span| span.parent_span_id == request.span_id;
            let sent = spans.iter().find(is_child).expect("the span of its record");
            assert_eq!(sent.trace_id, request.trace_id);
            [request, sent]
        })
        .collect()
}

fn request_content(code: u16, answer: &str) -> serde_json::Value {
    let mut attributes = json!({
        "http.request.method": "POST",
        "http.route": ROUTE,
        "url.scheme": "http",
        "http.response.status_code": code,
        "koobridge.answer": answer,
    });
    if code >= 500 {
        attributes["error.type"] = json!(code.to_string());
    }
    json!([
        format!("POST {ROUTE}"),
        "SPAN_KIND_SERVER",
        code >= 500,
        attributes
    ])
}

/// Returns the expected content of a record's span, with the attributes of the case.
fn send_content(
    topic: &str,
    is_error: bool,
    others: &[(&str, serde_json::Value)],
) -> serde_json::Value {
    let mut attributes = json!({
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
    });
    for (name, value) in others {
        attributes[name] = value.clone();
    }
    json!([
        format!("send {topic}"),
        "SPAN_KIND_PRODUCER",
        is_error,
        attributes
    ])
}

fn position_attributes(record: &Record) -> [(&'static str, serde_json::Value); 2] {
    [
        (
            "messaging.destination.partition.id",
            json!(record.partition.to_string()),
        ),
        ("messaging.kafka.offset", json!(record.offset)),
    ]
}

fn context(span: &Span, flags: &str) -> String {
    format!("00-{}-{}-{flags}", hex(&span.trace_id), hex(&span.span_id))
}

#[test]
fn a_report_is_two_spans_and_its_record_continues_from_the_second() {
    let kafka = cluster::shared();
    let collector = Collector::start(Behaviour::Takes);
    let environment = [
        ("OTEL_SERVICE_NAME", "bridge".into()),
        ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=bridge-7".into()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3%20cret".into()),
    ];
    let (bridge, topic, _) = start(&kafka, &collector.endpoint(), &environment, &[]);
    // Two reports, so that the offset of the second is not 0.
    for _ in 0..2 {
        assert_eq!(send_traced(&bridge, "01", &body("m1", "read")).status, 200);
    }
    let spans = collector.wait_for_spans(4);
    let records = read_all(kafka.bootstrap(), &topic);
    assert_eq!(records.len(), 2);
    for ([request, sent], record) in pairs(&spans).into_iter().zip(&records) {
        assert_eq!(hex(&request.trace_id), TRACE);
        assert_eq!(hex(&request.parent_span_id), PARENT);
        assert_eq!(request.trace_state, "vendor=1,b=2");
        assert_eq!(sent.trace_state, "vendor=1,b=2");
        assert_eq!(content(request), request_content(200, "accepted"));
        assert_eq!(
            content(sent),
            send_content(&topic, false, &position_attributes(record))
        );
        assert!(request.start_time_unix_nano <= sent.start_time_unix_nano);
        assert!(sent.end_time_unix_nano <= request.end_time_unix_nano);
        assert_eq!(record.header("traceparent"), Some(&*context(sent, "01")));
        assert_eq!(record.header("tracestate"), Some("vendor=1,b=2"));
        let is_of_trace = |name: &str| ["traceparent", "tracestate"].contains(&name);
        let of_trace = record.headers.iter().filter(|(name, _)| is_of_trace(name));
        assert_eq!(of_trace.count(), 2);
    }
    for batch in collector.batches() {
        assert_eq!(batch.line, "POST /v1/traces");
        for header in [
            ("api-key", "s3 cret"),
            ("content-type", "application/x-protobuf"),
        ] {
            let has = |(name, value): &(String, String)| (&**name, &**value) == header;
            assert!(batch.headers.iter().any(has), "{:?}", batch.headers);
        }
        for resource in batch.resources() {
            let described = resource.resource.expect("a resource").attributes;
            let expected = json!({
                "service.name": "bridge",
                "service.version": env!("CARGO_PKG_VERSION"),
                "k8s.pod.name": "bridge-7",
                "telemetry.sdk.language": "rust",
                "telemetry.sdk.name": "opentelemetry",
                "telemetry.sdk.version": "0.33.1",
            });
            assert_eq!(attributes(&described), expected);
            for scope in resource.scope_spans {
                let scope = scope.scope.expect("a scope");
                assert_eq!(
                    (&*scope.name, &*scope.version),
                    ("koobridge", env!("CARGO_PKG_VERSION"))
                );
            }
        }
    }
    assert_eq!(bridge.metric(DROPPED), 0);
}

#[test]
fn a_request_without_a_valid_context_begins_a_trace() {
    let kafka = cluster::shared();
    let collector = Collector::start(Behaviour::Takes);
    // The bridge must resolve this name.
    let endpoint = collector.endpoint().replace("127.0.0.1", "localhost");
    let (bridge, topic, _) = start(&kafka, &endpoint, &[], &[("log.reports", "true")]);
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m1", "read"))).status,
        200
    );
    let unsound = [
        ("traceparent", Some("00-nonsense")),
        ("tracestate", Some("vendor=1")),
    ];
    let unsound = request(&post(), &unsound, &body("m1", "read"));
    assert_eq!(exchange(bridge.ingress, &unsound).status, 200);
    let spans = collector.wait_for_spans(4);
    let records = read_all(kafka.bootstrap(), &topic);
    let pairs = pairs(&spans);
    assert_ne!(pairs[0][0].trace_id, pairs[1][0].trace_id);
    for ([request, sent], record) in pairs.into_iter().zip(&records) {
        assert!(request.parent_span_id.is_empty());
        assert_eq!(record.header("traceparent"), Some(&*context(sent, "01")));
        assert_eq!(record.header("tracestate"), None);
        // The log names the same trace.
        bridge.wait_for_log(&format!("\"trace_id\":\"{}\"", hex(&request.trace_id)));
    }
}

#[test]
fn a_rejected_report_has_a_span_for_its_record() {
    let kafka = cluster::shared();
    let collector = Collector::start(Behaviour::Takes);
    let (bridge, _, rejected) = start(&kafka, &collector.endpoint(), &[], &[]);
    for (body, code) in [(b"{}".to_vec(), 400), (body("m1", "new"), 200)] {
        assert_eq!(exchange(bridge.ingress, &report(&body)).status, code);
    }
    let spans = collector.wait_for_spans(4);
    let records = read_all(kafka.bootstrap(), &rejected);
    for ([request, sent], (code, answer)) in pairs(&spans)
        .into_iter()
        .zip([(400, "rejected"), (200, "accepted")])
    {
        assert_eq!(content(request), request_content(code, answer));
        let context = context(sent, "01");
        let has_context = |record: &&Record| record.header("traceparent") == Some(&*context);
        let record = records.iter().find(has_context).expect("its record");
        assert_eq!(
            content(sent),
            send_content(&rejected, false, &position_attributes(record))
        );
    }
}

#[test]
fn an_unauthenticated_request_has_no_span_and_spans_have_no_sender_data() {
    let kafka = cluster::shared();
    let collector = Collector::start(Behaviour::Takes);
    let (bridge, ..) = start(&kafka, &collector.endpoint(), &[], &[]);
    let wrong = [("authorization", Some("wrong-secret"))];
    let person = "8613712345678";
    let odd = format!("GET /{person} HTTP/1.1");
    for (line, changes, code) in [
        (post(), &wrong[..], 401),
        (odd, &[], 404),
        (post().replace("POST", "PUT"), &[], 405),
    ] {
        let request = request(&line, changes, &body(person, "read"));
        assert_eq!(exchange(bridge.ingress, &request).status, code);
    }
    let of_sender = [
        ("user-agent", Some("agent-of-a-sender")),
        ("x-forwarded-for", Some("192.0.2.7")),
    ];
    let sound = json!({
        "message_id": "message-of-a-sender", "sender": person, "user_number": "8618799999999", "status": "read",
        "extra-of-a-sender": 1,
    });
    let unsound = json!({ "message_id": "message-of-a-sender", "sender": person });
    for (body, code) in [(sound, 200), (unsound, 400)] {
        let request = request(&post(), &of_sender, body.to_string().as_bytes());
        assert_eq!(exchange(bridge.ingress, &request).status, code);
    }
    let spans = collector.wait_for_spans(4);
    assert_eq!(pairs(&spans).len(), 2);
    let batches = collector.batches();
    let all: Vec<u8> = batches.into_iter().flat_map(|batch| batch.body).collect();
    let has = |part: &str| {
        all.windows(part.len())
            .any(|window| window == part.as_bytes())
    };
    assert!(has(ROUTE) && has("koobridge.answer"));
    for part in [
        CHANNEL,
        PASSWORD,
        "wrong-secret",
        person,
        "8618799999999",
        "of-a-sender",
        "192.0.2.7",
        "127.0.0.1",
        "user_number",
    ] {
        assert!(!has(part), "{part} is in a span");
    }
}

#[test]
fn the_sender_samples_its_traces_and_the_ratio_samples_the_others() {
    let kafka = cluster::shared();
    for (ratio, sampler, flags, recorded) in [
        ("1", "", Some("01"), true),
        ("1", "", Some("00"), false),
        ("0", "", Some("01"), true),
        ("0", "", Some("00"), false),
        ("0", "", None, false),
        ("", "always_on", Some("00"), true),
        ("", "always_off", Some("01"), false),
    ] {
        let collector = Collector::start(Behaviour::Takes);
        let settings = [("traces.sample_ratio", ratio)];
        let settings = if ratio.is_empty() { &[] } else { &settings[..] };
        let environment = [("OTEL_TRACES_SAMPLER", sampler.into())];
        let (mut bridge, topic, _) = start(&kafka, &collector.endpoint(), &environment, settings);
        let answer = match flags {
            Some(flags) => send_traced(&bridge, flags, &body("m1", "read")),
            None => exchange(bridge.ingress, &report(&body("m1", "read"))),
        };
        assert_eq!(answer.status, 200);
        // When the bridge has stopped, it has sent all spans.
        bridge.signal(Signal::TERM);
        assert!(bridge.wait_for_exit().success());
        let spans = collector.spans();
        assert_eq!(
            spans.len(),
            if recorded { 2 } else { 0 },
            "{ratio} {sampler} {flags:?}"
        );
        let records = read_all(kafka.bootstrap(), &topic);
        let header = records[0].header("traceparent").expect("a context");
        assert!(
            header.ends_with(if recorded { "-01" } else { "-00" }),
            "{header}"
        );
        assert_eq!(
            flags.is_some(),
            header.starts_with(&format!("00-{TRACE}-")),
            "{header}"
        );
        assert!(!header.contains(PARENT), "{header}");
        let state = flags.map(|_| "vendor=1,b=2");
        assert_eq!(records[0].header("tracestate"), state);
    }
}

#[test]
fn spans_show_that_a_report_was_spooled_or_not_kept() {
    let kafka = cluster::shared();
    let collector = Collector::start(Behaviour::Takes);
    let [away] = free_addresses();
    let directory = tempfile::tempdir().expect("a directory");
    let spool = directory.path().join("spool").display().to_string();
    for (spool, code, answer, said) in [
        (&*spool, 200, "spooled", ("koobridge.spooled", json!(true))),
        ("", 503, "deadline", ("error.type", json!("deadline"))),
    ] {
        let topic = kafka.topic("events", 1);
        let endpoint = collector.endpoint();
        let settings = [
            ("traces.endpoint", &*endpoint),
            ("spool.directory", spool),
            ("spool.after", "100ms"),
            ("ingress.deadline", "3s"),
            ("kafka.flush_timeout", "0s"),
        ];
        let before = collector.spans().len();
        let bridge = Bridge::start_in(&fast_export(), &away, &topic, "rejected", &settings);
        assert_eq!(send_traced(&bridge, "01", &body("m1", "read")).status, code);
        let spans = collector.wait_for_spans(before + 2);
        let [[request, sent]] = pairs(&spans[before..])[..] else {
            panic!("two spans of one request: {spans:?}");
        };
        assert_eq!(content(request), request_content(code, answer));
        assert_eq!(content(sent), send_content(&topic, code == 503, &[said]));
    }
}

#[test]
fn the_span_of_a_permanently_refused_report_shows_the_redirect() {
    let kafka = cluster::shared();
    let collector = Collector::start(Behaviour::Takes);
    let small = [("min.insync.replicas", "2"), ("max.message.bytes", "4096")];
    let topic = kafka.topic_with("small", 1, 3, &small);
    let rejected = kafka.topic("rejected", 1);
    let endpoint = collector.endpoint();
    let settings = [("traces.endpoint", &*endpoint), ("ingress.deadline", "20s")];
    let bridge = Bridge::start_in(
        &fast_export(),
        kafka.bootstrap(),
        &topic,
        &rejected,
        &settings,
    );
    bridge.wait_until_ready();
    let large = json!({
        "message_id": "m1", "sender": "s", "user_number": "u", "status": "read", "x": "x".repeat(8 << 10),
    });
    assert_eq!(
        send_traced(&bridge, "01", large.to_string().as_bytes()).status,
        200
    );
    let spans = collector.wait_for_spans(2);
    let [[request, sent]] = pairs(&spans)[..] else {
        panic!("two spans of one request: {spans:?}");
    };
    assert_eq!(content(request), request_content(200, "accepted"));
    let redirected = [("koobridge.redirected", json!(true))];
    assert_eq!(content(sent), send_content(&topic, false, &redirected));
    let records = read_all(kafka.bootstrap(), &rejected);
    assert_eq!(
        records[0].header("traceparent"),
        Some(&*context(sent, "01"))
    );
}

#[test]
fn the_certificate_of_a_collector_is_verified() {
    let kafka = cluster::shared();
    let [known, other] = [Authority::new(), Authority::named("other")];
    known.issue("localhost", 1, [2000, 2100]);
    let [certificate, key] = ["localhost.crt", "localhost.key"].map(|name| known.path(name));
    let collector = Collector::with_tls(&certificate, &key);
    let endpoint = collector.endpoint();
    let with = |authority: &Authority| {
        let file = authority.path("ca.crt").into_os_string();
        start(
            &kafka,
            &endpoint,
            &[("OTEL_EXPORTER_OTLP_CERTIFICATE", file)],
            &[],
        )
        .0
    };
    let bridge = with(&known);
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m1", "read"))).status,
        200
    );
    collector.wait_for_spans(2);
    let bridge = with(&other);
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m1", "read"))).status,
        200
    );
    let line = bridge.wait_for_log("can't send traces");
    assert!(line.contains("UnknownIssuer"), "{line}");
    bridge.wait_for_metric(DROPPED, 2);
    assert_eq!(collector.spans().len(), 2);
}

/// Sends reports over several connections at once; all are accepted.
fn load(ingress: SocketAddr, connections: usize, reports: usize) {
    thread::scope(|scope| {
        for number in 0..connections {
            scope.spawn(move || {
                let mut connection = Connection::open(ingress);
                for report_number in 0..reports {
                    let body = body(&format!("m{number}-{report_number}"), "read");
                    connection.send(&report(&body));
                    assert_eq!(connection.answer().status, 200);
                }
            });
        }
    });
}

#[test]
fn a_failing_collector_changes_no_answer_and_delays_no_stop() {
    let kafka = cluster::shared();
    let [nowhere] = free_addresses();
    for behaviour in [
        None,
        Some(Behaviour::Refuses),
        Some(Behaviour::NeverAnswers),
    ] {
        let collector = behaviour.map(Collector::start);
        let endpoint = collector.as_ref().map_or_else(
            || format!("http://{nowhere}/v1/traces"),
            Collector::endpoint,
        );
        let environment = [
            ("OTEL_BSP_MAX_QUEUE_SIZE", "200".into()),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100".into()),
        ];
        let (mut bridge, ..) = start(&kafka, &endpoint, &environment, &[]);
        let started = Instant::now();
        load(bridge.ingress, 8, 50);
        let before = bridge.peak_resident_bytes();
        load(bridge.ingress, 8, 250);
        let grown = bridge.peak_resident_bytes() - before;
        assert!(grown < 8 << 20, "{behaviour:?}: {grown} bytes");
        let spans = 8 * 300 * 2;
        // All spans are dropped, except those that are still in the queue (up to 200).
        eventually(|| match bridge.metric(DROPPED) {
            dropped if (spans - 200..=spans).contains(&dropped) => Ok(()),
            dropped => Err(format!("{dropped} of {spans} spans are dropped")),
        });
        let asked = Instant::now();
        bridge.signal(Signal::TERM);
        assert!(bridge.wait_for_exit().success());
        let took = asked.elapsed();
        // Two seconds for the last spans, and less than one for everything else.
        assert!(
            took < Duration::from_secs(3) + BUSY,
            "{behaviour:?}: {took:?}"
        );
        let lines = bridge.logged();
        let told = lines
            .lines()
            .filter(|line| line.contains("can't send traces"));
        let told = told.count();
        // One line each ten seconds; a batch that is never answered fails after ten seconds.
        let most = 1 + started.elapsed().as_secs() / 10;
        assert!(told as u64 <= most, "{told} lines");
        assert!(
            told > 0 || behaviour == Some(Behaviour::NeverAnswers),
            "{lines}"
        );
        let is_left = lines.contains("the collector did not accept the last spans in time");
        assert!(
            is_left || behaviour != Some(Behaviour::NeverAnswers),
            "{lines}"
        );
    }
}

#[test]
fn without_an_endpoint_there_is_no_thread_for_traces() {
    let kafka = cluster::shared();
    let collector = Collector::start(Behaviour::Takes);
    let threads = |bridge: &Bridge| {
        let tasks = fs::read_dir(format!("/proc/{}/task", bridge.pid())).expect("a process");
        let names = tasks.map(|task| {
            let path = task.expect("a task").path().join("comm");
            fs::read_to_string(path).unwrap_or_default()
        });
        names
            .filter(|name| name.starts_with("OpenTelemetry"))
            .count()
    };
    let (off, ..) = Bridge::with_topics(&kafka, 1, &[]);
    assert_eq!(threads(&off), 0);
    let (on, ..) = start(&kafka, &collector.endpoint(), &[], &[]);
    assert_eq!(threads(&on), 1);
}
