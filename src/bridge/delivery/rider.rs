//! What rides along with a report through its lane: its record, its place under the ceilings, and
//! whoever waits to be told. Answers and fates are counted here, each once.

use std::sync::Arc;

use super::NotTaken;
use super::ceilings::Place;
use super::cell::Cell;
use super::lane::Number;
use super::postbox::Reply;
use crate::bridge::metrics::{Metrics, ReportFate};
use crate::contract::Record;

/// Who keeps a report that was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeptBy {
    Kafka,
    Spool,
}

/// What whoever waits is told.
pub(super) type Answer = Result<KeptBy, NotTaken>;

/// Whoever waits for a report's answer.
pub(super) enum Waiter {
    Sender(Reply),
    /// This one is a report's way to the rejected topic.
    Origin(Origin),
}

/// A report of another lane that Kafka refuses there, and why.
pub(super) struct Origin {
    pub(super) cell: Arc<Cell>,
    pub(super) number: Number,
    pub(super) code: &'static str,
}

/// A report in memory.
pub(super) struct Rider {
    pub(super) record: Arc<Record>,
    /// Held until its fate is known, or the spool has it; a report from the spool has none.
    place: Option<Place>,
    waiter: Option<Waiter>,
    sender: Sender,
    is_from_spool: bool,
}

/// What its sender knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    /// Nothing yet, or that the report is kept.
    Served,
    /// 503 at the deadline.
    Refused,
    /// It has hung up.
    Gone,
}

impl Rider {
    pub(super) fn new(record: Arc<Record>, place: Option<Place>, waiter: Option<Waiter>) -> Self {
        Self {
            record,
            place,
            waiter,
            sender: Sender::Served,
            is_from_spool: false,
        }
    }

    /// A report that was read back from the spool.
    pub(super) fn from_spool(record: Arc<Record>) -> Self {
        Self {
            is_from_spool: true,
            ..Self::new(record, None, None)
        }
    }

    pub(super) fn is_from_spool(&self) -> bool {
        self.is_from_spool
    }

    /// Whoever waits for it, once.
    pub(super) fn waiter(&mut self) -> Option<Waiter> {
        self.waiter.take()
    }

    pub(super) fn is_on_its_way_from_elsewhere(&self) -> bool {
        matches!(self.waiter, Some(Waiter::Origin(_)))
    }

    /// Its sender was told 503, and the report may still arrive.
    pub(super) fn refuse(&mut self, metrics: &Metrics) {
        self.sender = Sender::Refused;
        metrics.reports_unsure.inc();
    }

    pub(super) fn sender_gone(&mut self) {
        self.sender = Sender::Gone;
    }

    /// Kafka has it. Whoever is told of it finds everything counted.
    pub(super) fn delivered(mut self, metrics: &Metrics) {
        let fate = match self.sender {
            Sender::Served => ReportFate::Delivered,
            Sender::Refused => ReportFate::DeliveredLate,
            Sender::Gone => ReportFate::SenderGone,
        };
        self.settle(fate, metrics);
        self.tell(Ok(KeptBy::Kafka));
    }

    /// Nothing keeps it from here on.
    pub(super) fn failed(mut self, why: NotTaken, metrics: &Metrics) {
        self.settle(ReportFate::Failed, metrics);
        self.tell(Err(why));
    }

    /// It was not taken at all, and has no fate.
    pub(super) fn shed(mut self, why: NotTaken) {
        if let Some(place) = self.place.take() {
            place.withdraw();
        }
        self.tell(Err(why));
    }

    /// The spool has it, and it leaves the memory.
    pub(super) fn rests(mut self, metrics: &Metrics) {
        self.tell(Ok(KeptBy::Spool));
        if self.sender == Sender::Refused {
            metrics.reports_unsure.dec();
        }
        if let Some(place) = self.place.take() {
            place.withdraw();
        }
    }

    fn settle(&mut self, fate: ReportFate, metrics: &Metrics) {
        // What is brought to the rejected topic counts once, where it came from.
        if self.is_on_its_way_from_elsewhere() {
            return;
        }
        if self.sender == Sender::Refused {
            metrics.reports_unsure.dec();
        }
        match self.place.take() {
            Some(place) => place.settle(fate),
            None => metrics.report_settled(fate),
        }
    }

    fn tell(&mut self, answer: Answer) {
        if let Some(waiter) = self.waiter.take() {
            waiter.tell(answer);
        }
    }
}

impl Waiter {
    pub(super) fn tell(self, answer: Answer) {
        match self {
            Self::Sender(reply) => reply.send(answer),
            Self::Origin(origin) => origin.settle(answer),
        }
    }
}

impl Origin {
    /// The rejected topic can't be reached yet.
    pub(super) fn later(self) {
        self.cell.unfit_again(self.number, self.code);
    }

    /// Says whether the rejected topic has it.
    pub(super) fn settle(self, answer: Answer) {
        self.cell.settle_elsewhere(self.number, self.code, answer);
    }
}
