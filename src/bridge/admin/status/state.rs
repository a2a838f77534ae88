//! The bridge's state in one line, and what is wrong in a few: each says what to do.

use std::time::Duration;

use crate::bridge::{Identity, Phase};
use crate::kafka::{Condition, Durability};

use super::facts::{Facts, Kafka, Used};
use super::{Note, State, Tone, words};

/// How long before its end a certificate is worth a warning.
pub(super) const RENEW: Duration = Identity::RENEW.unsigned_abs();

/// The state in one line.
pub(super) fn state(facts: &Facts, notes: &[Note]) -> State {
    let worst = notes.iter().map(|note| note.tone).max();
    let (word, tone) = match (facts.phase, facts.kafka(), facts.is_hedged()) {
        (Phase::Draining, ..) => ("Draining, and still taking reports", Tone::Warn),
        (Phase::Closing, ..) => ("Draining", Tone::Warn),
        (Phase::Serving, Kafka::Well, _) => ("Serving", worst.unwrap_or(Tone::Good)),
        (Phase::Serving, Kafka::Unheard, _) => ("Started, waiting for Kafka", Tone::Warn),
        (Phase::Serving, Kafka::Away, true) => {
            ("Serving from the spool while Kafka is away", Tone::Warn)
        }
        (Phase::Serving, Kafka::Troubled, true) => (
            "Serving from the spool: Kafka can't take every report",
            Tone::Warn,
        ),
        (Phase::Serving, Kafka::Away | Kafka::Troubled, false) => ("Not ready", Tone::Bad),
    };
    State { word, tone }
}

/// What is wrong, the worst first.
pub(super) fn notes(facts: &Facts) -> Vec<Note> {
    let mut notes = Vec::new();
    notes.extend(of_phase(facts));
    notes.extend(of_kafka(facts));
    notes.extend(of_rejected_topic(facts));
    notes.extend(of_replicas(facts));
    notes.extend(of_spool(facts));
    notes.extend(of_ceilings(facts));
    notes.extend(of_files(facts));
    notes.sort_by_key(|note| std::cmp::Reverse(note.tone));
    notes
}

fn warn(text: String) -> Note {
    let tone = Tone::Warn;
    Note { tone, text }
}

fn bad(text: String) -> Note {
    let tone = Tone::Bad;
    Note { tone, text }
}

fn of_phase(facts: &Facts) -> Option<Note> {
    let text = match facts.phase {
        Phase::Serving => return None,
        Phase::Draining => {
            "It was told to stop. Reports are taken for ingress.drain_delay, then the listener closes."
        }
        Phase::Closing => "It was told to stop. The last answers wait for Kafka.",
    };
    Some(warn(text.to_owned()))
}

fn of_kafka(facts: &Facts) -> Option<Note> {
    let topic = &facts.topics[0];
    let wrong = match (&topic.state.condition, facts.silence) {
        (Condition::Ready, None) => return None,
        // What is known says more than that nothing new is.
        (condition @ (Condition::Unknown | Condition::Unreachable(_)), _) => {
            format!("{condition}.")
        }
        (_, Some(silence)) => {
            let silence = words::latency(silence.as_secs_f64());
            format!("Kafka has not answered for {silence}.")
        }
        (condition, None) => format!("{}: {condition}.", topic.name),
    };
    let (note, meanwhile): (fn(String) -> Note, _) = if facts.is_hedged() {
        (
            warn,
            "Reports are kept in the spool, and delivered in order once Kafka takes them.",
        )
    } else {
        (
            bad,
            "Reports that Kafka does not take in time are answered 503.",
        )
    };
    Some(note(format!(
        "{wrong} {meanwhile} koobridge needs no restart."
    )))
}

fn of_rejected_topic(facts: &Facts) -> Option<Note> {
    let topic = &facts.topics[1];
    let condition = &topic.state.condition;
    let is_said = matches!(facts.kafka(), Kafka::Away | Kafka::Unheard);
    if is_said || matches!(condition, Condition::Ready | Condition::Unknown) {
        return None;
    }
    let text = format!("{}: {condition}. Sound reports go on.", topic.name);
    Some(warn(text))
}

/// What Kafka keeps less safely than it could, and partitions that wait for it.
fn of_replicas(facts: &Facts) -> Vec<Note> {
    let mut notes = Vec::new();
    let waiting = facts.waiting_lanes;
    if facts.kafka() == Kafka::Well && waiting > 0 {
        notes.push(warn(format!(
            "Partitions whose reports wait for Kafka: {waiting}."
        )));
    }
    for topic in &facts.topics {
        let is_safe = topic.state.durability.is_none_or(Durability::is_safe);
        if !is_safe {
            notes.push(warn(format!(
                "{} does not survive the loss of a broker: raise its replication factor and \
                 min.insync.replicas to at least 2.",
                topic.name
            )));
        }
        if !topic.has_producer {
            notes.push(warn(format!(
                "The producer of {} is being replaced; the log says why.",
                topic.name
            )));
        }
    }
    notes
}

fn of_spool(facts: &Facts) -> Vec<Note> {
    let Some(level) = facts.spool else {
        return Vec::new();
    };
    let mut notes = Vec::new();
    if !level.is_writable {
        notes.push(bad(
            "The spool can't be written to: the disk is full, read-only or fails, or spool.free_space is \
             not free. Make room or mend the disk; koobridge notices by itself."
                .to_owned(),
        ));
    }
    if is_near(Used {
        now: level.used,
        limit: facts.spool_limit,
    }) {
        notes.push(warn(
            "The spool is nearly full: past spool.disk_limit the answer is 503.".to_owned(),
        ));
    }
    if level.quarantined > 0 {
        let quarantined = words::counted(level.quarantined, "report is", "reports are");
        notes.push(warn(format!(
            "{quarantined} quarantined: neither topic accepts reports that are too large or not well formed. \
             koobridge spool export shows it."
        )));
    }
    notes
}

fn of_ceilings(facts: &Facts) -> Vec<Note> {
    let ceilings = [
        (
            facts.reports_in_flight,
            "reports",
            "ingress.reports_in_flight",
        ),
        (facts.bytes_in_flight, "bytes", "ingress.bytes_in_flight"),
        (facts.connections, "connections", "ingress.connections"),
    ];
    let near = ceilings.into_iter().filter(|(used, ..)| is_near(*used));
    near.map(|(_, what, key)| {
        warn(format!(
            "Nearly as many {what} as {key} allows: past it some are turned away."
        ))
    })
    .collect()
}

/// More than four fifths of a ceiling.
pub(super) fn is_near(used: Used) -> bool {
    used.limit > 0 && used.now.saturating_mul(5) > used.limit.saturating_mul(4)
}

/// Certificates, passwords and the configuration.
fn of_files(facts: &Facts) -> Vec<Note> {
    let stale = facts.stale.iter();
    let mut notes: Vec<Note> = stale
        .map(|(part, problem)| {
            warn(format!(
                "What has changed of the {part} is not in force: {problem}. What was good before stays."
            ))
        })
        .collect();
    if let Some(expires) = facts.certificate {
        let left = Duration::try_from(expires.duration_since(facts.now)).unwrap_or_default();
        if left.is_zero() {
            notes.push(bad(
                "The certificate has expired: senders that check it can't connect. Put a new pair in its \
                 place; it is taken over by itself."
                    .to_owned(),
            ));
        } else if left < RENEW {
            notes.push(warn(format!(
                "The certificate expires in {}: put a new pair in its place; it is taken over by itself.",
                words::span(left)
            )));
        }
    }
    notes
}

#[cfg(test)]
mod tests;
