//! Records with unusual keys, headers and values, copied through an archive and printed.

use std::io::Write as _;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::desk::{
    Desk, FIRST, NewRecord, PARTITIONS, Running, WrittenHeader, event, exit_code, stderr,
};
use crate::support::bridge::koobridge;
use crate::support::cluster;
use crate::support::lines::Lines;
use crate::support::records::Record;

/// Year 10000, which RFC 3339 cannot hold.
const FAR: i64 = 253_402_300_800_000;
/// With these settings, a topic accepts and keeps every timestamp.
const ANY_TIMESTAMP: [(&str, &str); 3] = [
    ("min.insync.replicas", "2"),
    ("message.timestamp.after.max.ms", "9223372036854775807"),
    ("retention.ms", "-1"),
];

fn header(name: &str, value: Option<&[u8]>) -> WrittenHeader {
    (name.to_owned(), value.map(<[u8]>::to_vec))
}

/// Returns an event with these additional headers and this `extra`.
fn unusual(number: usize, key: &[u8], headers: Vec<WrittenHeader>, extra: &[u8]) -> NewRecord {
    let mut event = event(number);
    event.key = Some(key.to_vec());
    event.headers.extend(headers);
    let value = event.value.as_mut().expect("a value");
    assert_eq!(value.split_off(value.len() - 3), b"{}}");
    value.extend_from_slice(extra);
    value.push(b'}');
    event
}

fn unusual_events() -> Vec<NewRecord> {
    let repeated = vec![
        header("x", Some(b"first")),
        header("y", None),
        header("x", Some(b"\x00\xfe")),
        header("ce_id", Some(b"id-0")),
        header("x", None),
        header("x", Some(b"")),
        header("", Some(b"no name")),
    ];
    let different = vec![
        header("z", Some(b"")),
        header("a", None),
        header("caf\u{e9}", Some(b"caf\xe9")),
        header("", Some(b"\x00")),
    ];
    let digits = format!("{{\"n\":{} ,\"n\":1e999999}}", "7".repeat(5000));
    let mut late = unusual(
        3,
        b"m1",
        Vec::new(),
        br#"{ "s" : "\ud800\u0000" , "":[ ] }"#,
    );
    late.timestamp = FAR;
    let mut early = unusual(4, b"m1", Vec::new(), b"{}");
    early.timestamp = 1;
    vec![
        unusual(0, b"m0", repeated, b"{}"),
        unusual(1, b"", different, digits.as_bytes()),
        unusual(2, b"\xff\x00", Vec::new(), b"{\"x\":\"\xff\"}"),
        late,
        early,
    ]
}

fn desk_with_unusual_events(kafka: &crate::support::records::Kafka) -> Desk<'_> {
    let mut desk = Desk::new(kafka);
    desk.events = kafka.topic_with("events", PARTITIONS, 3, &ANY_TIMESTAMP);
    desk.write(&desk.events, unusual_events());
    desk
}

fn lines(output: &std::process::Output) -> Vec<String> {
    let text = str::from_utf8(&output.stdout).expect("UTF-8");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Asserts that each copy is its source plus the headers of a replay.
fn assert_same(sources: &[Record], copies: &[Record]) {
    for source in sources {
        let (partition, offset) = (source.partition.to_string(), source.offset.to_string());
        let is_copy = |copy: &&Record| {
            copy.header("replay_partition") == Some(&partition)
                && copy.header("replay_offset") == Some(&offset)
        };
        let copy = copies.iter().find(is_copy).expect("a copy");
        assert_eq!(
            (&copy.key, &copy.value, copy.timestamp),
            (&source.key, &source.value, source.timestamp)
        );
        assert_eq!(copy.headers[..source.headers.len()], source.headers[..]);
        assert_eq!(copy.headers.len(), source.headers.len() + 4);
    }
}

#[test]
fn an_archive_and_a_replay_keep_every_byte_of_a_record() {
    let kafka = cluster::shared();
    let desk = desk_with_unusual_events(&kafka);
    let sources = desk.read(&desk.events);
    let archive = desk.command("replay", &["--since", "beginning", "--to", "-"]);
    assert_eq!(exit_code(&archive), 0, "{}", stderr(&archive));
    assert_eq!(lines(&archive).len(), sources.len(), "{}", stderr(&archive));
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &archive.stdout).expect("it can be written");
    let path = file.path().to_str().expect("a plain path");
    for from in [["--file", path], ["--since", "beginning"]] {
        let target = kafka.topic_with("target", PARTITIONS, 3, &ANY_TIMESTAMP);
        let output = desk.command("replay", &[&from[..], &["--to", &target, "--yes"]].concat());
        assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
        assert_same(&sources, &desk.copies(&target, sources.len()));
    }
    // A second archive is identical.
    let again = desk.command("replay", &["--file", path, "--to", "-"]);
    assert_eq!(lines(&again), lines(&archive));
}

#[test]
fn tail_prints_the_lines_of_an_archive_and_masking_changes_only_the_value() {
    let kafka = cluster::shared();
    let desk = desk_with_unusual_events(&kafka);
    let archive = lines(&desk.command("replay", &["--since", "beginning", "--to", "-"]));
    let count = archive.len().to_string();
    let json = ["--since", "beginning", "--json", "-n", &count];
    let shown = desk.command("tail", &[&json[..], &["--show-numbers"]].concat());
    assert_eq!(lines(&shown), archive);
    let unmasked = |line: &String| {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        let members = line.as_object_mut().expect("an object");
        for name in ["value", "value_hex", "masked"] {
            members.remove(name);
        }
        line
    };
    let masked = lines(&desk.command("tail", &json));
    let count = |words| masked.iter().filter(|line| line.contains(words)).count();
    // One value is not UTF-8, so it is not shown.
    assert_eq!((count(r#""masked":true"#), count("8617xxxxxxx66")), (5, 4));
    let sorted = |lines: &[String]| {
        let mut lines: Vec<String> = lines
            .iter()
            .map(|line| unmasked(line).to_string())
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&masked), sorted(&archive));
}

#[test]
fn tail_distinguishes_an_empty_part_from_a_missing_one() {
    let kafka = cluster::shared();
    let desk = Desk::new(&kafka);
    for (at, parts) in [(0, None), (1, Some(Vec::new()))] {
        let record = NewRecord {
            key: parts.clone(),
            headers: vec![("h".to_owned(), parts.clone())],
            value: parts,
            timestamp: FIRST + at,
        };
        desk.write(&desk.events, [record]);
    }
    let arguments = [
        "--since",
        "beginning",
        "--json",
        "--show-numbers",
        "-n",
        "2",
    ];
    let printed = lines(&desk.command("tail", &arguments));
    let parts = printed.iter().map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        json!([
            line["timestamp"],
            line["key"],
            line["headers"],
            line["value"]
        ])
    });
    let mut parts: Vec<Value> = parts.collect();
    parts.sort_by_key(ToString::to_string);
    assert_eq!(
        parts,
        [
            json!(["2026-11-18T11:06:40.001Z", "", { "h": "" }, ""]),
            json!(["2026-11-18T11:06:40Z", null, { "h": null }, null]),
        ]
    );
}

#[test]
fn lines_from_an_open_pipe_are_committed_and_a_signal_ends_the_run_between_them() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, 3);
    let archive = desk.command("replay", &["--since", "beginning", "--to", "-"]);
    let target = kafka.topic("target", PARTITIONS);
    let mut child = koobridge()
        .args(["replay", "--bootstrap", kafka.bootstrap()])
        .args(["--file", "-", "--to", &target, "--yes"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("koobridge starts");
    let mut input = child.stdin.take().expect("a pipe");
    let stderr = Lines::read(child.stderr.take().expect("a pipe"));
    let mut running = Running { child, stderr };
    input.write_all(&archive.stdout).expect("it is read");
    desk.copies(&target, 3);
    kill_process(Pid::from_child(&running.child), Signal::TERM).expect("it runs");
    assert_eq!(running.ended(), 3, "{}", running.stderr.all());
    drop(input);
}
