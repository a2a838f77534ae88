//! What senders were told, and what was rejected for which reason.

use super::{Counts, Facts, Row, Section, Tone, words};
use crate::bridge::metrics::{REASONS, ReportAnswer};
use crate::contract::Reason;

const HEADS: [&str; 2] = ["15 min", "since start"];

pub(super) fn answers(facts: &Facts, recent: &Counts) -> Section {
    let counts = facts.counts.answers.into_iter().zip(recent.answers);
    let rows = ReportAnswer::ALL.into_iter().zip(counts);
    Section {
        id: "answers",
        title: "Senders were told",
        heads: HEADS,
        rows: rows
            .map(|(answer, (total, recent))| {
                let (name, note) = told(answer);
                let is_refusal = matches!(answer, ReportAnswer::Shed | ReportAnswer::Deadline);
                in_fifteen(name, recent, total)
                    .with_note(note)
                    .when(is_refusal && recent > 0, Tone::Warn)
            })
            .collect(),
        foot: String::new(),
    }
}

fn in_fifteen(name: &str, recent: u64, total: u64) -> Row {
    Row::plain(name, words::count(recent)).with_second(words::count(total))
}

fn told(answer: ReportAnswer) -> (&'static str, &'static str) {
    match answer {
        ReportAnswer::Accepted => ("Accepted", "Kafka has it."),
        ReportAnswer::Spooled => (
            "Accepted into the spool",
            "It is on disk, and Kafka gets it.",
        ),
        ReportAnswer::Rejected => (
            "Rejected, 400 or 415",
            "The rejected topic has it, or the spool on its way there.",
        ),
        ReportAnswer::Shed => ("Turned away, 503", "A ceiling, no topic, or no room."),
        ReportAnswer::Deadline => ("Not in time, 503", "It may still arrive."),
    }
}

pub(super) fn rejected(facts: &Facts, recent: &Counts) -> Section {
    let counts = facts.counts.reasons.into_iter().zip(recent.reasons);
    let mut reasons: Vec<_> = REASONS
        .into_iter()
        .zip(counts)
        .filter(|(_, (total, _))| *total > 0)
        .collect();
    reasons.sort_by_key(|(_, (total, recent))| std::cmp::Reverse((*recent, *total)));
    let foot = if reasons.is_empty() {
        "Nothing has been rejected since the start."
    } else {
        "koobridge tail --rejected shows them whole."
    };
    Section {
        id: "rejected",
        title: "Rejected, by reason",
        heads: HEADS,
        rows: reasons
            .into_iter()
            .map(|(reason, (total, recent))| {
                in_fifteen(reason, recent, total)
                    .with_note(detail(reason))
                    .when(recent > 0, Tone::Warn)
            })
            .collect(),
        foot: foot.to_owned(),
    }
}

fn detail(code: &str) -> &'static str {
    let reason = Reason::ALL.into_iter().find(|reason| reason.code() == code);
    reason.map_or("Kafka refuses it for its size or form.", Reason::detail)
}
