use std::time::Duration;

use super::super::tests::{at, hedged, section, well};
use super::Tone;
use crate::bridge::metrics::Metrics;
use crate::kafka::Condition;
use crate::spool::Level;

fn row(name: &str, value: &str, tone: Tone) -> (String, String, Tone) {
    (name.to_owned(), value.to_owned(), tone)
}

#[test]
fn each_topic_is_shown_with_its_condition() {
    let mut facts = well();
    let (rows, _) = section(&facts, "kafka");
    assert_eq!(rows[0], row("events", "ready", Tone::Good));
    assert_eq!(rows[2], row("Producers", "up", Tone::Plain));
    assert_eq!(rows[3], row("Partitions that wait", "none", Tone::Plain));
    assert_eq!(
        rows[4],
        row("Reports in flight", "0 of 10,000", Tone::Plain)
    );
    facts.topics[0].state.led[0] = false;
    facts.topics[1].state.condition = Condition::Leaderless(2);
    let (rows, _) = section(&facts, "kafka");
    assert_eq!(
        rows[0],
        row("events", "1 with too few replicas", Tone::Warn)
    );
    assert_eq!(rows[1], row("rejected", "2 without a leader", Tone::Bad));
    facts.silence = Some(Duration::from_secs(1));
    let (rows, _) = section(&facts, "kafka");
    assert_eq!(rows[1], row("rejected", "no answer", Tone::Bad));
}

#[test]
fn a_spool_is_shown_or_that_there_is_none() {
    let (rows, foot) = section(&well(), "spool");
    assert!(
        rows.is_empty() && foot.contains("spool.directory"),
        "{foot}"
    );
    let mut facts = hedged();
    facts.spool = Some(Level {
        reports: 1200,
        quarantined: 200,
        used: 28_848,
        oldest: Some(at(180).as_millisecond()),
        is_writable: true,
        ..Level::default()
    });
    let (rows, foot) = section(&facts, "spool");
    let expected = [
        row("Can be written to", "yes", Tone::Good),
        row("Reports that wait for Kafka", "1,000", Tone::Warn),
        row("The oldest came", "3 min ago", Tone::Plain),
        row("Quarantined", "200", Tone::Warn),
        row("Disk", "28.2 KiB of 1 GiB", Tone::Plain),
    ];
    assert_eq!((&rows[..], &*foot), (&expected[..], ""));
}

#[test]
fn only_reasons_that_occurred_are_shown() {
    let mut facts = well();
    let (rows, foot) = section(&facts, "rejected");
    assert_eq!(
        (rows.len(), &*foot),
        (0, "Nothing has been rejected since the start.")
    );
    let metrics = Metrics::new();
    for reason in ["not-json", "record-too-large", "record-too-large"] {
        metrics.report_rejected(reason);
    }
    facts.counts = metrics.counts();
    let (rows, _) = section(&facts, "rejected");
    let expected = [
        row("record-too-large", "0", Tone::Plain),
        row("not-json", "0", Tone::Plain),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn the_last_channels_are_shown_and_the_others_counted() {
    let mut facts = well();
    facts.channels = vec![("c1".to_owned(), None)];
    let (rows, foot) = section(&facts, "channels");
    let none = "No channel has sent a report since the start. 1 channel is configured.";
    assert_eq!((rows.len(), &*foot), (0, none));
    facts.channels.push(("c2".to_owned(), Some(at(7200))));
    facts.channels.push(("c3".to_owned(), Some(at(4))));
    let (rows, foot) = section(&facts, "channels");
    let expected = [
        row("c3", "4 s ago", Tone::Plain),
        row("c2", "2 h ago", Tone::Plain),
    ];
    assert_eq!(rows, expected);
    assert_eq!(foot, "1 channel has sent none since the start.");
    // Ten thousand, each silent for a second longer than the one before.
    let many = (0..10_000).map(|age| (format!("m{age}"), Some(at(10 + age))));
    facts.channels.extend(many);
    let (rows, foot) = section(&facts, "channels");
    assert_eq!((rows.len(), &*rows[49].0), (50, "m48"));
    assert_eq!(
        foot,
        "And 9,952 more; silent for longest is m9999: 2 h ago. 1 channel has sent none since the start."
    );
}

#[test]
fn a_clock_that_was_set_back_makes_no_report_of_the_future() {
    let mut facts = well();
    facts.channels = vec![("c1".to_owned(), Some(at(-60)))];
    let (rows, _) = section(&facts, "channels");
    assert_eq!(rows, [row("c1", "now", Tone::Plain)]);
}
