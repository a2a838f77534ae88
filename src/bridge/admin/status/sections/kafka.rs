//! The topics, what waits for them, and how long Kafka takes.

use super::{Counts, Facts, NO_HEADS, Row, Section, Tone, latency, state, words};
use crate::bridge::admin::status::facts::{Topic, Used};
use crate::kafka::{Condition, Durability};

pub(super) fn section(facts: &Facts) -> Section {
    let mut rows: Vec<Row> = facts
        .topics
        .iter()
        .map(|known| topic(facts, known))
        .collect();
    rows.push(producers(&facts.topics));
    let waiting = match facts.waiting_lanes {
        0 => "none".to_owned(),
        waiting => waiting.to_string(),
    };
    rows.push(
        Row::plain("Partitions that wait", waiting).when(facts.waiting_lanes > 0, Tone::Warn),
    );
    rows.push(of_ceiling(
        "Reports in flight",
        facts.reports_in_flight,
        words::count,
    ));
    rows.push(of_ceiling(
        "Memory that they hold",
        facts.bytes_in_flight,
        words::bytes,
    ));
    Section {
        id: "kafka",
        title: "Kafka",
        heads: NO_HEADS,
        rows,
        foot: String::new(),
    }
}

fn of_ceiling(name: &str, used: Used, words: fn(u64) -> String) -> Row {
    let value = format!("{} of {}", words(used.now), words(used.limit));
    Row::plain(name, value).when(state::is_near(used), Tone::Warn)
}

fn producers(topics: &[Topic; 2]) -> Row {
    let down: Vec<&str> = topics
        .iter()
        .filter(|topic| !topic.has_producer)
        .map(|topic| topic.name.as_str())
        .collect();
    if down.is_empty() {
        return Row::plain("Producers", "up");
    }
    let replaced = format!("Being replaced: {}.", down.join(", "));
    Row::plain("Producers", "down")
        .with_note(replaced)
        .in_tone(Tone::Warn)
}

fn topic(facts: &Facts, topic: &Topic) -> Row {
    let (value, tone) = condition(facts, topic);
    Row::plain(&topic.name, value)
        .with_note(shape(topic))
        .in_tone(tone)
}

/// The topic's condition in a few words; those of the notes above say more.
fn condition(facts: &Facts, topic: &Topic) -> (String, Tone) {
    let thin = topic.thin_partitions();
    match (&topic.state.condition, facts.silence) {
        (Condition::Unknown, _) => ("not heard of yet".to_owned(), Tone::Warn),
        (Condition::Unreachable(_), _) | (_, Some(_)) => ("no answer".to_owned(), Tone::Bad),
        (Condition::Missing, _) => ("does not exist".to_owned(), Tone::Bad),
        (Condition::Refused(_), _) => ("refused".to_owned(), Tone::Bad),
        (Condition::Leaderless(count), _) => (format!("{count} without a leader"), Tone::Bad),
        (Condition::Ready, _) if thin > 0 => (format!("{thin} with too few replicas"), Tone::Warn),
        (Condition::Ready, _) => ("ready".to_owned(), Tone::Good),
    }
}

/// How large the topic is, and how safe.
fn shape(topic: &Topic) -> String {
    let Some(partitions) = topic.state.partitions else {
        return String::new();
    };
    let partitions = words::counted(partitions.into(), "partition", "partitions");
    let Some(Durability {
        replication,
        min_insync,
    }) = topic.state.durability
    else {
        return partitions;
    };
    let replicas = words::counted(replication.into(), "replica", "replicas");
    format!("{partitions}, {replicas}, min.insync.replicas {min_insync}")
}

pub(super) fn acknowledgements(minute: &Counts, recent: &Counts) -> Section {
    let row = |name: &str, counts: &Counts| {
        let none = || ["–", "–"].map(str::to_owned);
        let [median, slow] = latency::in_words(&counts.acknowledged).unwrap_or_else(none);
        Row::plain(name, median).with_second(slow)
    };
    let is_empty = |counts: &Counts| counts.acknowledged.last().is_none_or(|(_, all)| *all == 0);
    let foot = if is_empty(recent) {
        "Kafka has acknowledged nothing in 15 minutes."
    } else {
        "Half of all records, and 99 of 100, took no longer; estimated from a histogram."
    };
    Section {
        id: "acknowledgements",
        title: "Acknowledged within",
        heads: ["p50", "p99"],
        rows: vec![row("Last minute", minute), row("15 minutes", recent)],
        foot: foot.to_owned(),
    }
}
