//! The events' schema in a schema registry, and the header with which Confluent's clients find it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::bridge::{Bridge, configuration, koobridge, run};
use crate::support::cluster;
use crate::support::http::{body, exchange, report};
use crate::support::python;
use crate::support::records::{Record, read_all};
use crate::support::registry;

const GUID: &str = "89791762-2336-4186-9674-299b90a802e2";

/// Returns the output, standard error and the exit code.
fn topics(file: &Path, flags: &[&str]) -> (String, String, Option<i32>) {
    let output = run(koobridge()
        .args(["topics", "--config"])
        .arg(file)
        .args(flags));
    let [out, err] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text"));
    (out, err, output.status.code())
}

/// Returns the number after `schema_id = "` in the output.
fn printed_id(text: &str) -> String {
    let (_, id) = text.split_once("schema_id = \"").expect("an id");
    id.trim_end().trim_end_matches('"').to_owned()
}

fn schema_id(record: &Record) -> Option<&[u8]> {
    let mut headers = record.headers.iter();
    let (_, value) = headers.find(|(name, _)| name == "__value_schema_id")?;
    value.as_deref()
}

fn publish(bridge: &Bridge, message_id: &str, status: &str) -> u16 {
    exchange(bridge.ingress, &report(&body(message_id, status))).status
}

#[test]
fn a_confluent_client_finds_the_schema_of_an_event_by_its_header() {
    let kafka = cluster::shared();
    let registry = registry::shared();
    let url = registry.url();
    let home = tempfile::tempdir().expect("a directory");
    let [topic, rejected] = ["named", "named-rejected"].map(|name| kafka.topic(name, 1));
    let file = configuration(home.path(), kafka.bootstrap(), &topic, &rejected);
    let subject = format!("{topic}-value");
    let sound = format!("{topic}: nothing to change\n{rejected}: nothing to change\n");
    let shown = format!(
        "{sound}{subject}: register the events' JSON schema at {url}\n\n\
         Nothing was changed; add --apply to make the changes.\n"
    );
    let flags = ["--schema-registry", &url];
    for _ in 0..2 {
        let printed = topics(&file, &flags);
        assert_eq!(printed, (shown.clone(), String::new(), Some(0)));
    }
    let apply = ["--schema-registry", &url, "--apply"];
    let (done, error, code) = topics(&file, &apply);
    assert_eq!((&*error, code), ("", Some(0)), "{done}");
    let id = printed_id(&done);
    let line =
        format!("add to the section [kafka] of the bridge's configuration: schema_id = \"{id}\"\n");
    assert_eq!(
        done,
        format!(
            "{sound}{subject}: register the events' JSON schema at {url}\n{subject}: done\n{subject}: {line}"
        )
    );
    let again = format!("{sound}{subject}: nothing to change\n{subject}: {line}");
    assert_eq!(topics(&file, &apply), (again, String::new(), Some(0)));
    let named =
        format!("{sound}{subject}: nothing to change\n{subject}: kafka.schema_id is set to it\n");
    let set = ["--set", &format!("kafka.schema_id={id}")];
    let printed = topics(&file, &[&flags[..], &set].concat());
    assert_eq!(printed, (named, String::new(), Some(0)));

    let settings = [("kafka.schema_id", &*id)];
    let bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, &settings);
    assert_eq!(publish(&bridge, "m1", "read"), 200);
    let records = read_all(kafka.bootstrap(), &topic);
    let number: u32 = id.parse().expect("a number");
    let expected = [&[0][..], &number.to_be_bytes()].concat();
    assert_eq!(
        records.iter().map(schema_id).collect::<Vec<_>>(),
        [Some(&*expected)]
    );
    let value: Value =
        serde_json::from_slice(records[0].value.as_deref().expect("a value")).expect("JSON");
    assert_eq!(value["message_id"], "m1");
    let read = python::run("read_event.py", &[kafka.bootstrap(), &topic, &url, "1"], "");
    let read: Value = serde_json::from_str(&read).expect("a line of JSON");
    let schema = json!([number, "urn:koobridge:schema:event"]);
    assert_eq!(read, json!({ "value": value, "schema": schema }));
}

#[test]
fn a_guid_is_in_each_event_and_in_no_rejected_record() {
    let kafka = cluster::exclusive();
    let spool = tempfile::tempdir().expect("a directory");
    let directory = spool.path().display().to_string();
    let settings = [("kafka.schema_id", GUID), ("spool.directory", &directory)];
    let (bridge, topic, rejected) = Bridge::with_topics(&kafka, 1, &settings);
    assert_eq!(publish(&bridge, "m1", "read"), 200);
    assert_eq!(publish(&bridge, "m2", "played"), 200);
    kafka.freeze_all();
    assert_eq!(publish(&bridge, "m3", "read"), 200);
    kafka.thaw_all();
    bridge.wait_for_metric("koobridge_spool_reports", 0);
    let expected = [
        1, 0x89, 0x79, 0x17, 0x62, 0x23, 0x36, 0x41, 0x86, 0x96, 0x74, 0x29, 0x9b, 0x90, 0xa8,
        0x02, 0xe2,
    ];
    let records = read_all(kafka.bootstrap(), &topic);
    let ids: Vec<_> = records.iter().map(schema_id).collect();
    assert_eq!(ids, [Some(&expected[..]); 2]);
    let records = read_all(kafka.bootstrap(), &rejected);
    assert_eq!(records.iter().map(schema_id).collect::<Vec<_>>(), [None]);
}

#[test]
fn replays_copy_the_header_and_a_redriven_event_has_that_of_the_configuration() {
    let kafka = cluster::shared();
    let [topic, rejected] = ["copied", "copied-rejected"].map(|name| kafka.topic(name, 1));
    let settings = [("kafka.schema_id", "7")];
    let bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, &settings);
    assert_eq!(publish(&bridge, "m1", "read"), 200);
    let no_type = crate::support::http::request(
        &crate::support::http::post(),
        &[("Content-Type", Some("text/plain"))],
        &body("m2", "read"),
    );
    assert_eq!(exchange(bridge.ingress, &no_type).status, 415);
    let home = tempfile::tempdir().expect("a directory");
    let file = configuration(home.path(), kafka.bootstrap(), &topic, &rejected);
    let range = [
        "--since",
        "beginning",
        "--yes",
        "--set",
        "kafka.schema_id=8",
    ];
    for command in [&["replay", "--to", &topic][..], &["redrive"]] {
        let output = run(koobridge()
            .args(command)
            .arg("--config")
            .arg(&file)
            .args(range));
        assert!(output.status.success(), "{output:?}");
    }
    let records = read_all(kafka.bootstrap(), &topic);
    let ids: Vec<_> = records
        .iter()
        .map(|record| {
            (
                str::from_utf8(record.key.as_deref().expect("a key")).expect("text"),
                schema_id(record),
            )
        })
        .collect();
    let [seven, eight] = [7, 8].map(|number| [0, 0, 0, 0, number]);
    assert_eq!(
        ids,
        [
            ("m1", Some(&seven[..])),
            ("m1", Some(&seven)),
            ("m2", Some(&eight))
        ]
    );
}

/// Apicurio Registry can't compare schemas of draft 2020-12, and refuses a schema that it would have to compare.
#[test]
fn the_registrys_refusal_is_shown_and_the_subject_stays() {
    let kafka = cluster::shared();
    let registry = registry::shared();
    let url = registry.url();
    let [topic, rejected] = ["other", "other-rejected"].map(|name| kafka.topic(name, 1));
    let subject = format!("{topic}-value");
    let other = json!({ "type": "object", "properties": { "status": { "type": "integer" } } });
    registry.register(&subject, &other);
    let rule = json!({ "compatibility": "BACKWARD" });
    let answer = registry.ask("PUT", &format!("/config/{subject}"), Some(rule));
    assert_eq!(answer.status, 200);
    let home = tempfile::tempdir().expect("a directory");
    let file = configuration(home.path(), kafka.bootstrap(), &topic, &rejected);
    let (_, error, code) = topics(&file, &["--schema-registry", &url, "--apply"]);
    let why = "it answers 500: #: could not determine version";
    let expected = format!("koobridge: the schema registry at {url}: {why}\n");
    assert_eq!((error, code), (expected, Some(1)));
    let versions = registry.ask("GET", &format!("/subjects/{subject}/versions"), None);
    assert_eq!(versions.json(), json!([1]));
    let rule = json!({ "compatibility": "NONE" });
    registry.ask("PUT", &format!("/config/{subject}"), Some(rule));
    let (_, error, code) = topics(&file, &["--schema-registry", &url, "--apply"]);
    assert_eq!((&*error, code), ("", Some(0)));
}

#[test]
fn an_unreachable_registry_is_named_and_no_password_is_shown() {
    let kafka = cluster::shared();
    let [topic, rejected] = ["away", "away-rejected"].map(|name| kafka.topic(name, 1));
    let home = tempfile::tempdir().expect("a directory");
    let file = configuration(home.path(), kafka.bootstrap(), &topic, &rejected);
    let credentials = home.path().join("credentials");
    fs::write(&credentials, "user:hunter2\n").expect("a file");
    let credentials = credentials.to_str().expect("text");
    let structured = ["--set", "kafka.event_mode=structured"];
    for (url, more, code, why) in [
        (
            "http://127.0.0.1:1",
            &["--schema-registry-credentials", credentials][..],
            1,
            "the schema registry at http://127.0.0.1:1: it can't be reached: Connection refused",
        ),
        (
            "http://user:hunter2@127.0.0.1:1",
            &[],
            2,
            "--schema-registry: the URL has a user or a password",
        ),
        ("registry", &[], 2, "--schema-registry: write the address"),
        (
            "http://127.0.0.1:1",
            &structured,
            2,
            "kafka.event_mode is structured",
        ),
        (
            "http://127.0.0.1:1",
            &["--schema-registry-credentials", "missing"],
            2,
            "missing: No such file",
        ),
    ] {
        let flags = [&["--schema-registry", url, "--apply"][..], more].concat();
        let (printed, error, ended) = topics(&file, &flags);
        assert!(error.contains(why), "{url}: {error}");
        assert_eq!(ended, Some(code), "{error}");
        assert!(
            !printed.contains("hunter2") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
