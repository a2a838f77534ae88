//! Compares the senders' answers with the places of their reports.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::time::{Duration, Instant};

use koobridge::contract::event_id;

use super::evidence::{Evidence, LocatedReport};
use super::load::SentReport;
use crate::support::bridge::{BUSY, CHANNEL};

/// The bridge's default deadline.
const DEADLINE: Duration = Duration::from_millis(4500);

/// The effects that a scenario's fault may have. No fault excuses the loss of a promised report on a topic that still
/// exists.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "one excuse each")]
pub struct Tolerated {
    /// A report may be on the topic more than once, with one id.
    pub repeats: bool,
    /// `read` may stand before `delivered`.
    pub reordering: bool,
    /// Senders may get no answer: the bridge was killed or stopped.
    pub silence: bool,
    /// A 503 is allowed if its report is not on the topic in the end.
    pub failures: bool,
    /// A 503 is allowed although there is a spool.
    pub refusals: bool,
    /// Promised reports may be on the rejected topic or quarantined, whatever their size.
    pub detours: bool,
    /// Earlier reports may be lost with their deleted topic.
    pub gone_before: Option<Instant>,
    /// The latest time of an answer.
    pub deadline: Duration,
}

impl Tolerated {
    pub const NOTHING: Self = Self {
        repeats: false,
        reordering: false,
        silence: false,
        failures: false,
        refusals: false,
        detours: false,
        gone_before: None,
        deadline: DEADLINE,
    };
}

type Report<'a> = (&'a str, &'a str);

/// The answers, by report.
pub struct Checker<'a> {
    reports: &'a [SentReport],
    tolerated: Tolerated,
    evidence: &'a Evidence,
    /// How often each report is on the topic.
    copies: HashMap<Report<'a>, usize>,
    /// Reports that are on a topic or in the spool.
    kept: HashSet<Report<'a>>,
}

impl<'a> Checker<'a> {
    pub fn new(reports: &'a [SentReport], tolerated: Tolerated, evidence: &'a Evidence) -> Self {
        let mut copies = HashMap::new();
        for landed in &evidence.events {
            *copies.entry(report(landed)).or_default() += 1;
        }
        let elsewhere = evidence
            .rejected
            .iter()
            .chain(&evidence.spooled)
            .map(report);
        let kept = copies.keys().copied().chain(elsewhere).collect();
        Self {
            reports,
            tolerated,
            evidence,
            copies,
            kept,
        }
    }

    /// Asserts everything that must hold after the bridge has settled.
    pub fn check(&self) {
        assert!(!self.reports.is_empty(), "no report was sent");
        self.answers_are_sound();
        self.nothing_promised_is_lost();
        self.nothing_is_invented();
        self.ids_are_right();
        self.assert_places();
        self.statuses_are_in_order();
        if !self.tolerated.refusals {
            let is_refused = |report: &&SentReport| report.code == Some(503);
            none(
                "refused although there is a spool",
                self.reports,
                is_refused,
            );
        }
        if !self.tolerated.failures {
            let is_missing =
                |report: &&SentReport| report.code == Some(503) && !self.is_kept(report);
            none("answered 503 and never delivered", self.reports, is_missing);
        }
        let is_repeated = |copies: &&(&Report<'_>, &usize)| *copies.1 > 1;
        let copies: Vec<_> = self.copies.iter().collect();
        if !self.tolerated.repeats {
            none("more than once on the topic", &copies, is_repeated);
        }
    }

    /// Returns the number of records on the topic beyond the first of each report.
    pub fn repeats(&self) -> usize {
        self.evidence.events.len() - self.copies.len()
    }

    fn answers_are_sound(&self) {
        let is_late = |report: &&SentReport| report.took() > self.tolerated.deadline + BUSY;
        none("answered too late or never", self.reports, is_late);
        let is_odd = |report: &&SentReport| match report.code {
            Some(code) => code != 200 && code != 503,
            None => !self.tolerated.silence,
        };
        none("answered neither 200 nor 503", self.reports, is_odd);
    }

    /// Returns the number of different reports on the topic.
    pub fn delivered(&self) -> usize {
        self.copies.len()
    }

    /// Returns the promised reports that are nowhere.
    pub fn lost(&self) -> usize {
        self.reports
            .iter()
            .filter(|report| self.is_lost(report))
            .count()
    }

    /// Asserts the conditions that hold at any time, if nothing is being delivered.
    pub fn nothing_promised_is_lost(&self) {
        none("answered 2xx and lost", self.reports, |report| {
            self.is_lost(report)
        });
    }

    fn is_lost(&self, report: &SentReport) -> bool {
        let is_gone = self
            .tolerated
            .gone_before
            .is_some_and(|at| report.sent < at);
        report.is_promised() && !is_gone && !self.is_kept(report)
    }

    fn is_kept(&self, report: &SentReport) -> bool {
        self.kept.contains(&(&*report.message_id, report.status))
    }

    fn nothing_is_invented(&self) {
        let sent = self
            .reports
            .iter()
            .map(|report| (&*report.message_id, report.status));
        let sent: HashSet<Report<'_>> = sent.collect();
        let is_stranger = |landed: &&LocatedReport| !sent.contains(&report(landed));
        none("that no sender sent", &self.evidence.events, is_stranger);
        none(
            "rejected that no sender sent",
            &self.evidence.rejected,
            is_stranger,
        );
    }

    fn ids_are_right(&self) {
        let is_wrong = |landed: &&LocatedReport| {
            let id = event_id(CHANNEL, &landed.message_id, &landed.status);
            landed.event_id != id.to_string()
        };
        none("with a wrong id", &self.evidence.events, is_wrong);
        none(
            "rejected with a wrong id",
            &self.evidence.rejected,
            is_wrong,
        );
    }

    /// Asserts that only reports that are too large for the topic are rejected, that they are not on the topic, and
    /// that the spool is empty.
    fn assert_places(&self) {
        if self.tolerated.detours {
            return;
        }
        let big = self.reports.iter().filter(|report| report.big);
        let big: HashSet<_> = big
            .map(|report| (&*report.message_id, report.status))
            .collect();
        let is_big = |landed: &&LocatedReport| big.contains(&report(landed));
        none(
            "on the topic, too large for it",
            &self.evidence.events,
            is_big,
        );
        let is_small = |landed: &&LocatedReport| !is_big(landed);
        none(
            "rejected without a reason",
            &self.evidence.rejected,
            is_small,
        );
        none("left in the spool", &self.evidence.spooled, |_| true);
    }

    fn statuses_are_in_order(&self) {
        if self.tolerated.reordering {
            return;
        }
        let mut places = HashMap::new();
        for (place, landed) in self.evidence.events.iter().enumerate() {
            places.entry(report(landed)).or_insert(place);
        }
        let place =
            |report: &SentReport, status| places.get(&(&*report.message_id, status)).copied();
        let is_behind = |report: &&SentReport| {
            let places = place(report, "delivered").zip(place(report, "read"));
            let promised_first = report.status == "delivered" && report.is_promised();
            promised_first && places.is_some_and(|(delivered, read)| delivered > read)
        };
        none(
            "of which `read` stands before `delivered`",
            self.reports,
            is_behind,
        );
    }
}

fn report(landed: &LocatedReport) -> Report<'_> {
    (&landed.message_id, &landed.status)
}

/// Asserts that the list of reports is empty.
fn none<T: Debug>(what: &str, reports: &[T], is_so: impl Fn(&&T) -> bool) {
    let found: Vec<_> = reports.iter().filter(is_so).collect();
    let (count, first) = (found.len(), first(&found));
    assert!(found.is_empty(), "{count} reports {what}: {first:?}");
}

/// As many as are needed to find the cause.
fn first<T>(all: &[T]) -> &[T] {
    &all[..all.len().min(5)]
}
