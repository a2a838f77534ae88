//! The commands `tail`, `replay` and `redrive`.

mod archives;
mod brokers;
pub mod desk;
mod documentation;
mod ending;
mod foreign;
mod leaders;
mod ranges;
mod redrive;
mod resume;
mod rights;
mod tail;
mod unattended;

use std::collections::BTreeMap;

use desk::{
    Desk, FIRST, NewRecord, PARTITIONS, event, exit_code, keys_and_ids, large_event, owned, stderr,
};
use rdkafka::admin::AdminOptions;
use rdkafka::{Offset, TopicPartitionList};

use crate::support::bridge::eventually;
use crate::support::cluster;
use crate::support::records::{Record, block_on, read_all};

/// Returns the records of each key, in their order.
fn by_key(records: &[Record]) -> BTreeMap<String, Vec<String>> {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, id) in keys_and_ids(records) {
        keys.entry(key).or_default().push(id);
    }
    keys
}

#[test]
fn a_replayed_record_is_unchanged_and_has_its_position_in_headers() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, 300);
    let target = kafka.topic("target", 3);
    let output = desk.command(
        "replay",
        &["--since", "beginning", "--to", &target, "--yes"],
    );
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("300 records ("),
        "{}",
        stderr(&output)
    );

    let (sources, copies) = (desk.read(&desk.events), desk.copies(&target, 300));
    assert_eq!(by_key(&copies), by_key(&sources));
    let ids: Vec<&str> = copies
        .iter()
        .filter_map(|copy| copy.header("replay_id"))
        .collect();
    assert!(ids.len() == 300 && ids.iter().all(|id| *id == ids[0]));
    for copy in &copies {
        let number = |name| {
            copy.header(name)
                .expect("a header")
                .parse::<i64>()
                .expect("a number")
        };
        let (partition, offset) = (number("replay_partition"), number("replay_offset"));
        let stood =
            |source: &&Record| i64::from(source.partition) == partition && source.offset == offset;
        let source = sources.iter().find(stood).expect("it stood there");
        assert_eq!(copy.header("replay_topic"), Some(&*desk.events));
        assert_eq!((&copy.key, &copy.value), (&source.key, &source.value));
        assert_eq!(copy.timestamp, source.timestamp);
        assert_eq!(copy.headers[..source.headers.len()], source.headers[..]);
        assert_eq!(copy.headers.len(), source.headers.len() + 4);
    }
}

#[test]
fn filters_and_times_select_the_records_and_a_dry_run_counts_them() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, 300);
    let target = kafka.topic("target", PARTITIONS);
    // 2026-11-18T11:06:40.030Z to .090Z: the numbers 30 to 89, a third of them `read`.
    let range = [
        "--since",
        "2026-11-18T11:06:40.03Z",
        "--until",
        "2026-11-18T11:06:40.09Z",
    ];
    let filtered = [
        &range[..],
        &["--status", "read", "--channel", "c0", "--to", &target],
    ]
    .concat();
    let look = desk.command("replay", &[&filtered[..], &["--dry-run"]].concat());
    assert_eq!(exit_code(&look), 0);
    assert!(
        stderr(&look).contains("  records     10 ("),
        "{}",
        stderr(&look)
    );
    assert!(
        stderr(&look).contains("  read        10\n"),
        "{}",
        stderr(&look)
    );
    assert!(
        stderr(&look).contains("2026-11-18T11:06:40.031Z to 2026-11-18T11:06:40.085Z"),
        "{}",
        stderr(&look)
    );
    assert_eq!(desk.read(&target), []);

    let output = desk.command("replay", &[&filtered[..], &["--yes"]].concat());
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    let copies = desk.copies(&target, 10);
    let mut ids: Vec<String> = keys_and_ids(&copies)
        .into_iter()
        .map(|(_, id)| id)
        .collect();
    ids.sort();
    let expected = (30..90)
        .filter(|n| n % 3 == 1 && n / 3 % 2 == 0)
        .map(|n| format!("id-{n}"));
    assert_eq!(ids, expected.collect::<Vec<_>>());
}

#[test]
fn message_ids_from_a_file_are_read_from_their_partitions_only() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, 300);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "m7\r\n\nm8\n").expect("it can be written");
    let path = file.path().to_str().expect("a plain path");
    let arguments = ["--since", "beginning", "--message-ids", path, "--to", "-"];
    let whole = desk.command("replay", &arguments);
    let narrow = desk.command("replay", &[&arguments[..], &["--key-partition"]].concat());
    assert_eq!((exit_code(&whole), exit_code(&narrow)), (0, 0));
    assert_eq!(String::from_utf8_lossy(&whole.stdout).lines().count(), 6);
    let sorted = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&whole.stdout), sorted(&narrow.stdout));
    assert!(
        stderr(&narrow).contains(" of 6 partitions: "),
        "{}",
        stderr(&narrow)
    );
}

#[test]
fn a_replay_onto_its_own_topic_ends_and_is_not_replayed_itself() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, 300);
    let own = desk.events.clone();
    for (expected, extra) in [(600, &[][..]), (900, &[]), (1800, &["--include-replays"])] {
        let arguments = [&["--since", "beginning", "--to", &own, "--yes"], extra].concat();
        let output = desk.command("replay", &arguments);
        assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
        desk.copies(&own, expected);
    }
}

#[test]
fn foreign_records_are_skipped_and_counted() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, 3);
    let strange = |key: Option<&str>, value: Option<&[u8]>| NewRecord {
        key: key.map(Into::into),
        headers: Vec::new(),
        value: value.map(<[u8]>::to_vec),
        timestamp: FIRST,
    };
    let mut later_version = event(0);
    later_version.headers.retain(|(name, _)| name != "ce_type");
    let type_2 = ("ce_type", "com.huaweicloud.koomessage.report.v2");
    later_version.headers.extend(owned(&[type_2]));
    let strangers = [
        strange(None, None),
        strange(Some("m1"), None),
        strange(Some("m1"), Some(b"\xff\x00")),
        later_version,
    ];
    desk.write(&desk.events, strangers);
    let target = kafka.topic("target", PARTITIONS);
    let output = desk.command(
        "replay",
        &["--since", "beginning", "--to", &target, "--yes"],
    );
    assert_eq!(exit_code(&output), 0);
    assert!(
        stderr(&output).contains("4 that are not events or rejected reports"),
        "{}",
        stderr(&output)
    );
    desk.copies(&target, 3);
}

#[test]
fn an_archive_can_be_published_again() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, 60);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a plain path");
    let archive = desk.command("replay", &["--since", "beginning", "--to", "-"]);
    std::fs::write(file.path(), &archive.stdout).expect("it can be written");
    let target = kafka.topic("target", PARTITIONS);
    let output = desk.command("replay", &["--file", path, "--to", &target, "--yes"]);
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("at least once"),
        "{}",
        stderr(&output)
    );
    let copies = desk.copies(&target, 60);
    assert_eq!(by_key(&copies), by_key(&desk.read(&desk.events)));

    // Masked output of `tail` is not an archive.
    let masked = desk.command("tail", &["--since", "beginning", "--json", "-n", "1"]);
    std::fs::write(file.path(), &masked.stdout).expect("it can be written");
    let refused = desk.command("replay", &["--file", path, "--to", &target, "--yes"]);
    assert_eq!(exit_code(&refused), 1);
    assert!(stderr(&refused).contains("masked"), "{}", stderr(&refused));
    assert_eq!(desk.read(&target).len(), 60);
}

#[test]
fn a_record_that_the_target_refuses_is_named_and_the_others_are_copied() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, 90);
    desk.write(&desk.events, [large_event(90, 5000)]);
    desk.write(&desk.events, (91..200).map(event));
    let small = [("min.insync.replicas", "2"), ("max.message.bytes", "4000")];
    let target = kafka.topic_with("target", PARTITIONS, 3, &small);
    let arguments = ["--since", "beginning", "--to", &target, "--yes"];
    let skipping = [&arguments[..], &["--skip-refused"]].concat();
    let mut running = desk.start("replay", &skipping);
    assert_eq!(running.ended(), 4, "{}", running.stderr.all());
    let stderr = running.stderr.all();
    for words in [" refuses offset ", "1 refused by the target"] {
        assert!(stderr.contains(words), "{stderr}");
    }
    let mut expected = by_key(&desk.read(&desk.events));
    expected
        .get_mut("m30")
        .expect("its message")
        .retain(|id| id != "id-90");
    assert_eq!(by_key(&desk.copies(&target, 199)), expected);
}

#[test]
fn records_that_retention_deletes_during_a_run_are_reported() {
    let kafka = cluster::shared();
    let desk = Desk::new(&kafka);
    // More than a consumer prefetches.
    desk.write(
        &desk.events,
        (0..6000).map(|number| large_event(number, 4000)),
    );
    let target = kafka.topic("target", PARTITIONS);
    let arguments = [
        "--since",
        "beginning",
        "--to",
        &target,
        "--yes",
        "--rate",
        "1000",
    ];
    let mut running = desk.start("replay", &arguments);
    eventually(|| match read_all(kafka.bootstrap(), &target).len() {
        0 => Err("nothing is replayed yet".to_owned()),
        _ => Ok(()),
    });
    let mut gone = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let added = gone.add_partition_offset(&desk.events, partition, Offset::Offset(900));
        added.expect("an offset");
    }
    let admin = kafka.admin();
    let deleted = block_on(admin.delete_records(&gone, &AdminOptions::new()));
    deleted.expect("records can be deleted");
    assert_eq!(running.ended(), 4, "{}", running.stderr.all());
    let stderr = running.stderr.all();
    assert!(stderr.contains("Kafka has deleted offsets "), "{stderr}");
    let missing = missing_of(&stderr);
    desk.copies(&target, 6000 - missing);
}

/// Returns the number of deleted offsets in the summary.
fn missing_of(stderr: &str) -> usize {
    let (before, _) = stderr
        .split_once(" offsets deleted")
        .expect("it is summed up");
    let number = before.rsplit(' ').next().expect("a number");
    number.replace(',', "").parse().expect("a number")
}

#[test]
fn wrong_command_lines_are_refused_with_a_message() {
    let kafka = cluster::shared();
    let desk = Desk::new(&kafka);
    let (events, rejected) = (desk.events.clone(), desk.rejected.clone());
    let cases: [(&[&str], i32, &str); 7] = [
        (
            &["--to", &events, "--yes"],
            2,
            "no range: name the records with --since 2h",
        ),
        (
            &["--to", &rejected, "--since", "2h"],
            2,
            "the topic of rejected reports",
        ),
        (
            &["--to", "nowhere", "--since", "2h", "--yes"],
            1,
            "there is no topic nowhere",
        ),
        (
            &["--to", &events, "--offsets", "6:0-", "--yes"],
            2,
            "has the partitions 0 to 5",
        ),
        (
            &["--to", &events, "--since", "soon"],
            2,
            "\"soon\" is not a time; write 2026-11-22T08:00:00Z",
        ),
        (
            &["--to", &events, "--since", "2h", "--key-partition"],
            2,
            "needs --message-id",
        ),
        (
            &["--to", &events, "--resume", "x", "--yes"],
            1,
            "Kafka has no record of it",
        ),
    ];
    for (arguments, expected, words) in cases {
        let output = desk.command("replay", arguments);
        assert_eq!(
            exit_code(&output),
            expected,
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(words),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
    desk.write(&events, [event(0)]);
    let unasked = desk.command("replay", &["--to", &events, "--since", "beginning"]);
    assert_eq!(exit_code(&unasked), 2);
    assert!(
        stderr(&unasked).contains("add --yes"),
        "{}",
        stderr(&unasked)
    );
    assert_eq!(desk.read(&events).len(), 1);
}
