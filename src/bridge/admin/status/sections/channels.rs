//! The channels: who was heard from last, and who is silent. Their ids are labels of metrics too.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::{Facts, NO_HEADS, Row, Section, words};

/// How many are shown one by one.
const SHOWN: usize = 50;

pub(super) fn section(facts: &Facts) -> Section {
    let mut heard: Vec<(&str, Timestamp)> = facts
        .channels
        .iter()
        .filter_map(|(channel, last)| Some((channel.as_str(), (*last)?)))
        .collect();
    // Of those of one second the order must not change from look to look.
    heard.sort_unstable_by_key(|(channel, last)| (Reverse(last.as_second()), *channel));
    let silent = facts.channels.len() - heard.len();
    let shown = &heard[..heard.len().min(SHOWN)];
    Section {
        id: "channels",
        title: "Last report of each channel",
        heads: NO_HEADS,
        rows: shown
            .iter()
            .map(|(channel, last)| Row::plain(*channel, words::ago(facts.since(*last))))
            .collect(),
        foot: foot(facts, &heard[shown.len()..], heard.is_empty(), silent),
    }
}

/// What is said of those that are not shown one by one.
fn foot(facts: &Facts, more: &[(&str, Timestamp)], is_empty: bool, silent: usize) -> String {
    let silent = u64::try_from(silent).unwrap_or(u64::MAX);
    if is_empty {
        let channels = words::counted(silent, "channel is", "channels are");
        return format!("No channel has sent a report since the start. {channels} configured.");
    }
    let mut sentences = Vec::new();
    if let Some((channel, last)) = more.last() {
        let count = words::count(u64::try_from(more.len()).unwrap_or(u64::MAX));
        let longest = words::ago(facts.since(*last));
        sentences.push(format!(
            "And {count} more; silent for longest is {channel}: {longest}."
        ));
    }
    if silent > 0 {
        let channels = words::counted(silent, "channel has", "channels have");
        sentences.push(format!("{channels} sent none since the start."));
    }
    sentences.join(" ")
}
