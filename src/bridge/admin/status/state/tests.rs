use super::super::tests::{at, hedged, section, status, well};
use super::*;
use crate::spool::Level;

fn condition(mut facts: Facts, condition: Condition) -> Facts {
    facts.topics[0].state.condition = condition;
    facts
}

fn silent(mut facts: Facts) -> Facts {
    facts.silence = Some(Duration::from_millis(1300));
    facts
}

fn said(facts: &Facts) -> (&'static str, Tone) {
    let State { word, tone } = status(facts).state;
    (word, tone)
}

fn notes_of(facts: &Facts) -> Vec<String> {
    status(facts)
        .notes
        .into_iter()
        .map(|note| note.text)
        .collect()
}

#[test]
fn each_state_has_its_words() {
    let unreachable = || Condition::Unreachable("no broker answers".to_owned().into());
    for (facts, expected) in [
        (well(), ("Serving", Tone::Good)),
        (hedged(), ("Serving", Tone::Good)),
        (silent(well()), ("Not ready", Tone::Bad)),
        (condition(well(), unreachable()), ("Not ready", Tone::Bad)),
        (
            condition(well(), Condition::Missing),
            ("Not ready", Tone::Bad),
        ),
        (
            silent(hedged()),
            ("Serving from the spool while Kafka is away", Tone::Warn),
        ),
        (
            condition(hedged(), unreachable()),
            ("Serving from the spool while Kafka is away", Tone::Warn),
        ),
        (
            condition(hedged(), Condition::Leaderless(2)),
            (
                "Serving from the spool: Kafka can't take every report",
                Tone::Warn,
            ),
        ),
        (
            condition(well(), Condition::Unknown),
            ("Started, waiting for Kafka", Tone::Warn),
        ),
        (
            silent(condition(hedged(), Condition::Unknown)),
            ("Started, waiting for Kafka", Tone::Warn),
        ),
    ] {
        assert_eq!(said(&facts), expected, "{facts:?}");
    }
}

#[test]
fn a_stopping_bridge_is_draining_whatever_kafka_does() {
    for (phase, word) in [
        (Phase::Draining, "Draining, and still taking reports"),
        (Phase::Closing, "Draining"),
    ] {
        for mut facts in [well(), silent(hedged())] {
            facts.phase = phase;
            assert_eq!(said(&facts), (word, Tone::Warn));
            assert!(
                notes_of(&facts)
                    .iter()
                    .any(|note| note.starts_with("It was told to stop."))
            );
        }
    }
}

#[test]
fn a_spool_that_cannot_be_written_to_is_none() {
    let mut facts = silent(hedged());
    facts.spool = Some(Level::default());
    assert_eq!(said(&facts), ("Not ready", Tone::Bad));
    facts.silence = None;
    assert_eq!(said(&facts), ("Serving", Tone::Bad));
    let [note] = &notes_of(&facts)[..] else {
        panic!("one note");
    };
    assert!(
        note.starts_with("The spool can't be written to: the disk is full"),
        "{note}"
    );
}

#[test]
fn where_all_is_well_nothing_is_said() {
    assert_eq!(notes_of(&well()), [""; 0]);
    assert_eq!(notes_of(&hedged()), [""; 0]);
}

#[test]
fn what_is_wrong_with_kafka_is_said_once_and_what_becomes_of_reports() {
    assert_eq!(
        notes_of(&silent(well())),
        [
            "Kafka has not answered for 1.3 s. Reports that Kafka does not take in time are answered 503. \
          koobridge needs no restart."
        ]
    );
    let mut missing = condition(hedged(), Condition::Missing);
    missing.topics[1].state.condition = Condition::Missing;
    assert_eq!(
        notes_of(&missing),
        [
            "events: the topic does not exist; create it, koobridge does not. Reports are kept in the \
             spool, and delivered in order once Kafka takes them. koobridge needs no restart.",
            "rejected: the topic does not exist; create it, koobridge does not. Sound reports go on.",
        ]
    );
    assert_eq!(status(&missing).notes[0].tone, Tone::Warn);
}

#[test]
fn without_the_rejected_topic_it_serves_with_a_warning() {
    let mut facts = well();
    facts.topics[1].state.condition =
        Condition::Refused("Broker: Topic authorization failed".to_owned());
    assert_eq!(said(&facts), ("Serving", Tone::Warn));
    let expected = "rejected: Kafka refuses the topic: Broker: Topic authorization failed; grant this client \
                    DESCRIBE and WRITE on it. Sound reports go on.";
    assert_eq!(notes_of(&facts), [expected]);
}

#[test]
fn what_kafka_keeps_unsafely_and_what_waits_is_said() {
    let mut facts = well();
    facts.topics[0].state.durability = Some(Durability {
        replication: 1,
        min_insync: 1,
    });
    facts.topics[1].has_producer = false;
    facts.waiting_lanes = 2;
    assert_eq!(
        notes_of(&facts),
        [
            "Partitions whose reports wait for Kafka: 2.",
            "events does not survive the loss of a broker: raise its replication factor and \
             min.insync.replicas to at least 2.",
            "The producer of rejected is being replaced; the log says why.",
        ]
    );
    // Of a Kafka that is away it goes without saying.
    facts.silence = Some(Duration::from_secs(1));
    assert!(
        !notes_of(&facts)[1..]
            .iter()
            .any(|note| note.contains("wait for Kafka"))
    );
}

#[test]
fn ceilings_are_told_of_before_they_are_reached() {
    let mut facts = hedged();
    facts.reports_in_flight.now = 8000;
    assert_eq!(said(&facts), ("Serving", Tone::Good));
    facts.reports_in_flight.now = 8001;
    facts.spool = facts.spool.map(|level| Level {
        used: 1 << 30,
        reports: 7,
        quarantined: 7,
        ..level
    });
    assert_eq!(
        notes_of(&facts),
        [
            "The spool is nearly full: past spool.disk_limit the answer is 503.",
            "7 reports are quarantined: neither topic accepts reports that are too large or not well formed. \
             koobridge spool export shows it.",
            "Nearly as many reports as ingress.reports_in_flight allows: past it some are turned away.",
        ]
    );
}

#[test]
fn a_certificate_is_told_of_two_weeks_before_its_end() {
    const DAY: i64 = 24 * 3600;
    let with = |days: i64| {
        let mut facts = well();
        facts.certificate = Some(at(-days * DAY));
        let (rows, _) = section(&facts, "bridge");
        let row = rows.into_iter().find(|(name, ..)| name == "Certificate");
        let (_, value, tone) = row.expect("a row");
        (value, tone, said(&facts).1)
    };
    assert_eq!(with(14), ("14 d left".to_owned(), Tone::Good, Tone::Good));
    assert_eq!(with(13), ("13 d left".to_owned(), Tone::Warn, Tone::Warn));
    assert_eq!(with(0), ("expired".to_owned(), Tone::Bad, Tone::Bad));
    assert_eq!(with(-1), ("expired".to_owned(), Tone::Bad, Tone::Bad));
}

#[test]
fn what_could_not_be_taken_over_is_said() {
    let mut facts = well();
    let problem = "/etc/koobridge/channels/1: holds no password; write one on a line";
    facts.stale.insert("channels", problem.to_owned());
    assert_eq!(said(&facts), ("Serving", Tone::Warn));
    assert_eq!(
        notes_of(&facts),
        [format!(
            "What has changed of the channels is not in force: {problem}. What was good before stays."
        )]
    );
}
