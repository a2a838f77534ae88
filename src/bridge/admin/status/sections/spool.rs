//! The spool, or that there is none.

use jiff::Timestamp;

use super::{Facts, NO_HEADS, Row, Section, Tone, state, words};
use crate::bridge::admin::status::facts::Used;
use crate::spool::Level;

pub(super) fn section(facts: &Facts) -> Section {
    let (rows, foot) = match &facts.spool {
        Some(level) => (rows(facts, level), ""),
        None => (
            Vec::new(),
            "There is none: what Kafka can't take in time rests on the senders' sending it again. \
             spool.directory makes one.",
        ),
    };
    Section {
        id: "spool",
        title: "Spool",
        heads: NO_HEADS,
        rows,
        foot: foot.to_owned(),
    }
}

fn rows(facts: &Facts, level: &Level) -> Vec<Row> {
    let waiting = level.reports.saturating_sub(level.quarantined);
    let used = Used {
        now: level.used,
        limit: facts.spool_limit,
    };
    let writable = if level.is_writable {
        Row::plain("Can be written to", "yes").in_tone(Tone::Good)
    } else {
        Row::plain("Can be written to", "no").in_tone(Tone::Bad)
    };
    vec![
        writable,
        Row::plain("Reports that wait for Kafka", words::count(waiting))
            .when(waiting > 0, Tone::Warn),
        Row::plain("The oldest came", oldest(facts, level)),
        Row::plain("Quarantined", words::count(level.quarantined))
            .when(level.quarantined > 0, Tone::Warn),
        Row::plain(
            "Disk",
            format!("{} of {}", words::bytes(used.now), words::bytes(used.limit)),
        )
        .when(state::is_near(used), Tone::Warn),
    ]
}

fn oldest(facts: &Facts, level: &Level) -> String {
    let at = level
        .oldest
        .and_then(|at| Timestamp::from_millisecond(at).ok());
    at.map_or_else(|| "–".to_owned(), |at| words::ago(facts.since(at)))
}
