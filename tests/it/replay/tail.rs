//! `tail`.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use super::desk::{Desk, NewRecord, event, exit_code, owned, stderr};
use super::ending::handles_signals;
use super::redrive::{rejected, valid_report};
use crate::support::bridge::{eventually, koobridge};
use crate::support::cluster;
use crate::support::lines::Lines;
use crate::support::ports::free_addresses;

#[test]
fn a_line_shows_the_event_and_masks_the_number() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, 6);
    let output = desk.command(
        "tail",
        &["--since", "beginning", "--message-id", "m1", "-n", "3"],
    );
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).expect("text");
    let words: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let statuses: Vec<&str> = words.iter().map(|words| words[3]).collect();
    assert_eq!(statuses, ["delivered", "read", "failed"]);
    for words in &words {
        assert_eq!(words[..3], ["2026-11-18T11:06:40.000456Z", "c1", "m1"]);
        assert_eq!(words[5], "8618xxxxxxx32");
    }
    let open = desk.command(
        "tail",
        &["--since", "beginning", "-n", "1", "--show-numbers"],
    );
    assert!(String::from_utf8_lossy(&open.stdout).contains("8618722225632"));
    let json = desk.command("tail", &["--since", "beginning", "-n", "6", "--json"]);
    let json = String::from_utf8(json.stdout).expect("text");
    assert_eq!(json.lines().count(), 6);
    assert!(
        !json.contains("8618722225632") && json.contains(r#""masked":true"#),
        "{json}"
    );
}

#[test]
fn a_line_of_a_rejected_report_names_the_member_or_the_value_of_the_header_at_fault() {
    let kafka = cluster::shared();
    let desk = Desk::new(&kafka);
    let with = |mut record: NewRecord, header| {
        record.headers.extend(owned(&[header]));
        record
    };
    let member = rejected("member-missing", "{}", None);
    let header = rejected("content-type", &valid_report("m1"), Some("m1"));
    let records = [
        with(member, ("member", "status")),
        with(header, ("header_value", "text/plain")),
    ];
    desk.write(&desk.rejected, records);
    let arguments = ["--rejected", "--since", "beginning", "-n", "2"];
    let output = desk.command("tail", &arguments);
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).expect("text");
    let mut lines: Vec<&str> = text
        .lines()
        .map(|line| line.rsplit_once("  ").expect("an age").0)
        .collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "2026-11-18T11:06:40.000456Z  c1  -  contract  member-missing (status)",
            "2026-11-18T11:06:40.000456Z  c1  m1  contract  content-type (text/plain)",
        ]
    );
}

#[test]
fn a_tail_follows_new_records_only() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, 30);
    let mut running = desk.start("tail", &["-n", "1"]);
    let mut number = 30;
    eventually(|| {
        desk.write(&desk.events, [event(number)]);
        number += 3;
        let ended = running.child.try_wait().expect("a child");
        ended.map(|_| ()).ok_or_else(|| running.stderr.all())
    });
    let printed = running.printed();
    assert_eq!(printed.lines().count(), 1);
    let message = printed.split_whitespace().nth(2).expect("a message");
    let message: usize = message.trim_start_matches('m').parse().expect("a number");
    assert!((10..).contains(&message), "{printed}");
    let group = kafka
        .admin()
        .inner()
        .fetch_group_list(None, std::time::Duration::from_secs(10));
    let groups = group.expect("Kafka lists its groups");
    assert!(
        groups
            .groups()
            .iter()
            .all(|group| group.name() != "koobridge-reader")
    );
}

#[test]
fn a_signal_ends_a_tail_that_waits_for_kafka() {
    let [address] = free_addresses();
    let mut command = koobridge();
    command.args(["tail", "--bootstrap", &address]);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let stderr = Lines::read(child.stderr.take().expect("a pipe"));
    eventually(|| handles_signals(child.id()));
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    // It would fail with a message if it waited for a broker.
    assert_eq!(stderr.wait_for_end(), "");
}
