//! Compares the files in `schemas/` with the program's records, answers and parser.

use std::fmt::Write as _;
use std::fs;

use jiff::Timestamp;
use jsonschema::Validator;
use koobridge::contract::{Arrival, ChannelId, Channels, Fault, Password, Reason};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::bridge::{Bridge, CHANNEL};
use crate::support::cluster;
use crate::support::http::{body, exchange, path, post, report, request};
use crate::support::records::{Record, read_all};

fn file(name: &str) -> Value {
    let path = format!("{}/schemas/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn validator(schema: &Value) -> Validator {
    jsonschema::options()
        .should_validate_formats(true)
        .build(schema)
        .expect("a schema")
}

fn assert_valid(validator: &Validator, value: &Value) {
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\nin {value:#}");
}

fn headers(record: &Record) -> Value {
    let text =
        |value: &Option<Vec<u8>>| String::from_utf8(value.clone().expect("a value")).expect("text");
    let headers = record.headers.iter();
    headers
        .map(|(name, value)| (name.clone(), Value::from(text(value))))
        .collect::<Map<_, _>>()
        .into()
}

#[test]
fn the_schemas_and_their_examples_are_valid() {
    for name in ["report", "event", "rejected", "problem", "config"] {
        let schema = file(&format!("{name}.schema.json"));
        assert!(jsonschema::meta::is_valid(&schema), "{name}");
        for example in schema["examples"].as_array().into_iter().flatten() {
            assert_valid(&validator(&schema), example);
        }
    }
    let asyncapi = file("asyncapi.json");
    let components = &asyncapi["components"];
    let event = file("event.schema.json");
    let message = |name: &str| {
        components["messages"][name]["examples"]
            .as_array()
            .expect("examples")
    };
    for (name, headers, payload) in [
        ("event", &components["schemas"]["eventHeaders"], &event),
        (
            "structuredEvent",
            &components["schemas"]["structuredEventHeaders"],
            &structured(&event),
        ),
    ] {
        for example in message(name) {
            assert_valid(&validator(headers), &example["headers"]);
            assert_valid(&validator(payload), &example["payload"]);
        }
    }
    let rejected = file("rejected.schema.json");
    for example in message("rejected") {
        assert_valid(
            &validator(&rejected["properties"]["headers"]),
            &example["headers"],
        );
    }
}

/// Returns the schema of the structured envelope, which refers to the event's schema.
fn structured(event: &Value) -> Value {
    let mut schema = json!({ "$ref": "urn:koobridge:schema:event#/$defs/structured" });
    schema["$defs"] = json!({ "event": event });
    schema
}

#[test]
fn published_records_match_the_schemas() {
    let kafka = cluster::shared();
    let asyncapi = file("asyncapi.json");
    let component = |name: &str| validator(&asyncapi["components"]["schemas"][name]);
    let event = file("event.schema.json");
    let rejected_schema = validator(&file("rejected.schema.json"));
    let trace = [(
        "traceparent",
        Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    )];
    let line = post();
    for (mode, payload, headers_schema) in [
        ("binary", validator(&event), component("eventHeaders")),
        (
            "structured",
            validator(&structured(&event)),
            component("structuredEventHeaders"),
        ),
    ] {
        let topic = kafka.topic("schema", 1);
        let rejected = kafka.topic("schema-rejected", 1);
        let settings = [("kafka.event_mode", mode)];
        let bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, &settings);
        let extra = br#"{"message_id":"m","sender":"s","user_number":"u","status":"failed","n":1.0,"o":{}}"#;
        for sent in [body("m1", "delivered"), body("m1", "read"), extra.to_vec()] {
            let answer = exchange(bridge.ingress, &request(&line, &trace, &sent));
            assert_eq!(answer.status, 200);
        }
        for sent in [
            &b"{}"[..],
            b"",
            b"\xff",
            br#"{"message_id":"m","sender":1}"#,
            &body("m2", "new"),
        ] {
            exchange(bridge.ingress, &report(sent));
        }
        for changes in [
            &[("Content-Type", None)][..],
            &[("Content-Type", Some("text/plain"))],
            &[("Content-Encoding", Some("gzip")), trace[0]],
        ] {
            for sent in [&body("m1", "read")[..], b"\x1f\x8b\x08"] {
                let answer = exchange(bridge.ingress, &request(&line, changes, sent));
                assert_eq!(answer.status, 415);
            }
        }
        let events = read_all(kafka.bootstrap(), &topic);
        assert_eq!(events.len(), 3);
        for record in &events {
            assert_valid(&headers_schema, &headers(record));
            let value = record.value.as_ref().expect("never null");
            assert_valid(&payload, &serde_json::from_slice(value).expect("JSON"));
        }
        let rejected = read_all(kafka.bootstrap(), &rejected);
        assert_eq!(rejected.len(), 5 + 6);
        for record in &rejected {
            let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
            let whole = json!({
                "key": record.key.as_ref().map(text),
                "headers": headers(record),
                "value": record.value.as_ref().map(text),
            });
            assert_valid(&rejected_schema, &whole);
        }
    }
}

#[test]
fn answers_match_the_openapi_document() {
    let kafka = cluster::shared();
    let [topic, rejected] = ["openapi", "openapi-rejected"].map(|name| kafka.topic(name, 1));
    let settings = [
        ("ingress.allow", "127.0.0.0/8"),
        ("ingress.trusted_proxies", "127.0.0.1"),
    ];
    let start = |rejected| Bridge::ready(kafka.bootstrap(), &topic, rejected, &settings);
    let [bridge, without_rejected_topic] = [&*rejected, "there-is-no-such-topic"].map(start);
    let openapi = file("openapi.json");
    let documented =
        &openapi["paths"]["/social/on/whatsapp/koomessage/report/{channelId}"]["post"]["responses"];
    let problem = validator(&file("problem.schema.json"));
    let line = post();
    let get = format!("GET {} HTTP/1.1", path(CHANNEL));
    let nowhere = "POST /nowhere HTTP/1.1".to_owned();
    let sound = body("m1", "read");
    let large = (64 << 10) + 1;
    let large = large.to_string();
    for (line, changes, expected) in [
        (&line, &[][..], 200),
        (&line, &[("x-forwarded-for", Some("192.0.2.1"))], 403),
        (&line, &[("Host", None)], 400),
        (&line, &[("Authorization", None)], 401),
        (&get, &[], 405),
        (&nowhere, &[], 404),
        (&line, &[("Expect", Some("nothing"))], 417),
        (&line, &[("Content-Type", None)], 415),
        (&line, &[("Content-Encoding", Some("gzip"))], 415),
        (&line, &[("Content-Length", Some(&*large))], 413),
        (&line, &[("Content-Length", Some("500"))], 408),
    ] {
        let answer = exchange(bridge.ingress, &request(line, changes, &sound));
        assert_eq!(answer.status, expected, "{changes:?}");
        let code = expected.to_string();
        let response = resolve(&openapi, &documented[&code]);
        assert!(response["description"].is_string(), "{code} is documented");
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let header = resolve(&openapi, header);
            let is_there = answer.header(&name.to_ascii_lowercase()).is_some();
            assert!(
                is_there || header["required"] != json!(true),
                "{code}: {name}"
            );
        }
        if expected != 200 {
            assert_valid(&problem, &answer.json());
        }
    }
    for (ingress, expected) in [(bridge.ingress, 400), (without_rejected_topic.ingress, 503)] {
        let answer = exchange(ingress, &report(b"{}"));
        assert_eq!(answer.status, expected);
        assert_valid(&problem, &answer.json());
    }
    let sent = report(&body("m1", "new"));
    let answer = exchange(without_rejected_topic.ingress, &sent);
    assert_eq!(answer.status, 503);
    assert_valid(&problem, &answer.json());
}

fn resolve<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(reference) => document
            .pointer(reference.strip_prefix('#').expect("inside the document"))
            .expect("the target of the reference"),
        None => value,
    }
}

/// Parses a body from an authenticated sender.
fn parse(body: &str) -> Result<(), Fault> {
    let mut channels = Channels::default();
    let channel = ChannelId::parse(CHANNEL).expect("a channel id");
    channels.insert(channel, Password::parse(b"p").expect("a password"), None);
    let sender = channels
        .authenticate(CHANNEL, Some(b"p"), Timestamp::UNIX_EPOCH)
        .expect("authenticated");
    let arrival = Arrival {
        at: Timestamp::now(),
        trace: None,
    };
    let received = sender.sent(arrival, body.as_bytes().to_vec());
    match received.validate() {
        Err(fault) if fault.reason != Reason::UnknownStatus => Err(fault),
        _ => Ok(()),
    }
}

/// Returns a member's value, usually a valid one.
fn member() -> impl Strategy<Value = Option<Value>> {
    let text = prop_oneof![
        4 => "[ -~é漢😀]{1,20}",
        1 => "\\PC{0,4}",
        1 => "[\u{0}-\u{1f}\u{7f}-\u{9f}a]{1,3}",
        1 => "[a😀]{255,258}",
        1 => Just(String::new()),
    ];
    prop_oneof![
        12 => text.prop_map(|text| Some(Value::from(text))),
        1 => any_json().prop_map(Some),
        1 => Just(None),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1.0e9..1.0e9).prop_map(|number: f64| Value::from(number)),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{0,3}", inner, 0..4)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn document() -> impl Strategy<Value = Value> {
    let status = prop_oneof![
        4 => proptest::sample::select(vec!["delivered", "read", "failed"]).prop_map(|s| Some(Value::from(s))),
        1 => member(),
    ];
    let report = (
        member(),
        member(),
        member(),
        status,
        proptest::option::of(any_json()),
    )
        .prop_map(|(message_id, sender, user_number, status, extra)| {
            let members = [
                ("message_id", message_id),
                ("sender", sender),
                ("user_number", user_number),
                ("status", status),
                ("extra", extra),
            ];
            let present = members
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)));
            Value::from(present.collect::<Map<_, _>>())
        });
    prop_oneof![9 => report, 1 => any_json()]
}

/// Escapes every character that is not ASCII.
fn escaped(document: &str) -> String {
    let mut text = String::new();
    for c in document.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(text, "\\u{unit:04x}").expect("writing to memory can't fail");
            }
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_report_schema_and_the_parser_agree(document in document()) {
        thread_local! {
            static SCHEMA: Validator = validator(&file("report.schema.json"));
        }
        let valid = SCHEMA.with(|schema| schema.is_valid(&document));
        let compact = document.to_string();
        let pretty = serde_json::to_string_pretty(&document).expect("JSON");
        for text in [&compact, &pretty, &escaped(&compact)] {
            prop_assert_eq!(parse(text).is_ok(), valid, "{}: {:?}", text, parse(text));
        }
    }
}

#[test]
fn the_parser_checks_rules_that_the_schema_cannot() {
    let sound = r#""sender":"s","user_number":"u","message_id":"m","status":"read""#;
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for (text, expected) in [
        (format!("{{{sound},\"n\":1e400}}"), None),
        (format!("{{{sound},\"n\":\"\\ud800\"}}"), None),
        (format!("{{{sound},\"\\ud800\":1}}"), None),
        (format!("{{{sound},\"n\":{}}}", deep(63)), None),
        (
            format!("{{{sound},\"n\":{}}}", deep(64)),
            Some(Reason::TooDeep),
        ),
        (
            format!("{{{sound},\"n\":1,\"n\":1}}"),
            Some(Reason::DuplicateMember),
        ),
        (
            format!("{{{sound},\"status\":\"read\"}}"),
            Some(Reason::DuplicateMember),
        ),
        (format!("{{{sound}}}x"), Some(Reason::NotJson)),
    ] {
        assert_eq!(
            parse(&text).err().map(|fault| fault.reason),
            expected,
            "{text}"
        );
    }
}
