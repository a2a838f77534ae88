//! The spool after a power cut at any moment: a success means that the report is fsynced. `recorder.c` records the
//! changes that a bridge makes to its files. From these, `file_system` makes *images*: possible contents of the disk if
//! the power is cut. Each image's spool must have every report that was answered before the cut and that Kafka did not
//! have, once and complete.

mod file_system;
mod history;
mod images;
mod recording;
mod senders;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::LazyLock;

use rustix::process::Signal;

use self::file_system::{Image, Rules};
use self::history::{History, memory};
use self::images::{Cut, Verdict, events, exported, message_of, verdict, write};
use super::random::{Random, seed};
use super::rig::lasting;
use crate::support::bridge::Bridge;
use crate::support::cluster;
use crate::support::records::read_each;

/// The history that the tests share, and the seed of its images.
fn shared_history() -> (&'static History, u64) {
    static SHARED: LazyLock<(History, u64)> = LazyLock::new(|| {
        let seed = seed();
        (History::of(&mut Random::of(seed)), seed)
    });
    println!("KOOBRIDGE_TEST_SEED={}", SHARED.1);
    (&SHARED.0, SHARED.1)
}

#[test]
fn every_report_that_was_answered_survives_a_power_cut_at_any_moment() {
    let mut tally = Tally::default();
    let (history, seed) = shared_history();
    check(history, seed, &mut tally);
    for further in 1..lasting(1, 4) {
        let seed = seed.wrapping_add(further << 32);
        check(&History::of(&mut Random::of(seed)), seed, &mut tally);
    }
    tally.print("at any moment");
}

/// The long form also has file systems that keep no order.
fn rules() -> Rules {
    lasting(Rules::Journaled, Rules::AnyOrder)
}

fn check(history: &History, seed: u64, tally: &mut Tally) {
    for (cut, image) in images::of(history, rules(), lasting(50, 300), seed) {
        // A separate process for some of the images; the others run the same code in this process.
        let by_command = tally.images.is_multiple_of(10);
        let found = if by_command {
            exported(&image)
        } else {
            events(&image)
        };
        let verdict = verdict(history, &cut, &found);
        verdict.check(&cut, &image);
        tally.add(&verdict);
    }
}

#[test]
fn a_spool_that_does_not_fsync_its_files_is_seen_to_lose_reports() {
    assert_ne!(count_losses(Rules::FilesNotSynced), 0);
}

#[test]
fn a_spool_that_does_not_fsync_its_directory_is_seen_to_lose_reports() {
    assert_ne!(count_losses(Rules::DirectoriesNotSynced), 0);
}

/// How many reports a program that lacks some fsyncs loses.
fn count_losses(rules: Rules) -> usize {
    let (history, seed) = shared_history();
    let images = images::of(history, rules, 20, seed);
    let verdicts = images.map(|(cut, image)| verdict(history, &cut, &events(&image)));
    verdicts.map(|verdict| verdict.lost.len()).sum()
}

#[test]
fn a_second_power_cut_during_the_start_after_the_first_loses_nothing() {
    cut_twice(Rules::Journaled).print("at any moment, and a second one during the start after it");
}

#[test]
fn a_second_power_cut_on_a_file_system_without_order_loses_nothing() {
    cut_twice(Rules::AnyOrder);
}

fn cut_twice(rules: Rules) -> Tally {
    let mut tally = Tally::default();
    let (history, seed) = shared_history();
    let seed = seed.wrapping_add(1 << 16);
    for (first, image) in images::of(history, rules, lasting(3, 20), seed) {
        let start = start_on(&image, history);
        for (second, image) in images::of(&start, rules, lasting(12, 30), seed) {
            let verdict = verdict(&start, &second, &events(&image));
            verdict.check(&format!("{first}then {second}"), &image);
            tally.add(&verdict);
        }
    }
    tally
}

/// Records a start on what a power cut left.
fn start_on(image: &Image, history: &History) -> History {
    let directory = memory();
    write(image, directory.path());
    let inherited = messages(&events(image).expect("a spool that can be read"));
    let earlier = history.sent.keys().cloned().collect();
    let inherited = inherited.into_iter().collect();
    History::of_a_start(directory.path(), &history.topic, inherited, earlier)
}

#[test]
fn a_spool_directory_that_the_bridge_made_survives_a_power_cut() {
    let directory = memory();
    let nothing = BTreeSet::new;
    let start = History::of_a_start(directory.path(), "events", nothing(), nothing());
    for (cut, image) in images::of(&start, Rules::Journaled, 30, seed()) {
        let has_spool = image.contains_key("spool");
        let found = if has_spool {
            events(&image)
        } else {
            Ok(Vec::new())
        };
        verdict(&start, &cut, &found).check(&cut, &image);
    }
}

#[test]
fn a_bridge_delivers_each_report_of_a_spool_once_after_a_power_cut() {
    let mut tally = Tally::default();
    let (history, seed) = shared_history();
    let kafka = cluster::shared();
    kafka.create_topic(&history.topic, 6, 3, &[("min.insync.replicas", "2")]);
    let rejected = kafka.topic("power-rejected", 6);
    let mut ends = BTreeMap::new();
    let seed = seed.wrapping_add(1 << 20);
    for (cut, image) in images::of(history, rules(), lasting(5, 60), seed) {
        let found = events(&image);
        let verdict = verdict(history, &cut, &found);
        verdict.check(&cut, &image);
        deliver(kafka.bootstrap(), [&history.topic, &rejected], &cut, &image);
        let mut expected = messages(&found.unwrap_or_default());
        let mut delivered = new_messages(kafka.bootstrap(), &history.topic, &mut ends);
        expected.sort();
        delivered.sort();
        assert_eq!(delivered, expected, "{cut}");
        tally.add(&verdict);
    }
    tally.print("at any moment; a bridge delivers what it left");
}

/// A row of the table of power cuts: a test that finds a report lost or twice fails.
#[derive(Default)]
struct Tally {
    images: usize,
    promised: usize,
}

impl Tally {
    fn add(&mut self, verdict: &Verdict) {
        self.images += 1;
        self.promised += verdict.promised;
    }

    fn print(&self, which: &str) {
        let Self { images, promised } = self;
        println!("| power cut {which} | {images} | {promised} | 0 | 0 |");
    }
}

fn messages(events: &[String]) -> Vec<String> {
    let message = |event: &String| message_of(event).expect("a whole event");
    events.iter().map(message).collect()
}

/// Runs a bridge on an image until its spool is empty.
fn deliver(bootstrap: &str, [topic, rejected]: [&str; 2], cut: &Cut, image: &Image) {
    let directory = memory();
    write(image, directory.path());
    let spool = directory.path().join("spool");
    let setting = spool.display().to_string();
    let mut bridge = Bridge::ready(
        bootstrap,
        topic,
        rejected,
        &[
            ("spool.directory", &*setting),
            ("spool.disk_limit", "16MiB"),
        ],
    );
    bridge.wait_for_metric("koobridge_spool_reports", 0);
    bridge.signal(Signal::TERM);
    assert_eq!(
        bridge.wait_for_exit().code(),
        Some(0),
        "{cut}\n{}",
        bridge.logged()
    );
    let names = fs::read_dir(spool).expect("a directory").flatten();
    let names: BTreeSet<_> = names
        .map(|entry| entry.file_name().into_string().expect("text"))
        .collect();
    let aside: Vec<_> = names
        .iter()
        .filter(|name| name.contains(".aside-"))
        .collect();
    assert!(
        aside.is_empty(),
        "a power cut is no damage: {aside:?}, {cut}"
    );
}

/// The messages on a topic since the last look; `ends` are the partitions' ends at that look.
fn new_messages(bootstrap: &str, topic: &str, ends: &mut BTreeMap<i32, i64>) -> Vec<String> {
    let records = read_each(bootstrap, topic, |record| {
        let event = String::from_utf8(record.value.expect("a value")).expect("text");
        (
            record.partition,
            record.offset,
            message_of(&event).expect("a whole event"),
        )
    });
    let mut messages = Vec::new();
    for (partition, offset, message) in records {
        let end = ends.entry(partition).or_default();
        if offset >= *end {
            *end = offset + 1;
            messages.push(message);
        }
    }
    messages
}
