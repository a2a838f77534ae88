//! A lane: the ordered queue of one partition's reports.
//!
//! A pure state machine without Kafka, spool or time. It takes inputs ([`Input`]) and decides on actions ([`Effect`]):
//! the next destination of a report, and the answer to its sender.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[cfg(test)]
mod decisions;
mod draining;
mod failures;
mod spooling;
#[cfg(test)]
mod tests;

/// The number of a report in its topic. It is never reused.
pub(super) type Number = u64;

/// The generation of a producer: 1 for the first one, and one more for each replacement.
pub(super) type Generation = u64;

/// The ordered queue of one partition's reports.
#[derive(Debug)]
pub(super) struct Lane<R> {
    policy: Policy,
    /// One more than the highest number that was sent or rejected.
    sent_below: Number,
    reports: BTreeMap<Number, Entry<R>>,
    /// The due reports that are in memory.
    due: BTreeSet<Number>,
    in_flight: usize,
    /// The suspect report that is in flight, sent alone.
    suspect_in_flight: Option<Number>,
    backlog: Backlog,
    mode: Mode,
    is_paused: bool,
}

/// The options of a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    pub(super) has_spool: bool,
    /// Whether a record that Kafka rejects goes to the rejected topic.
    pub(super) redirects: bool,
}

/// Where a new report goes, as in a circuit breaker that is closed, open or half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// To the producer.
    Direct,
    /// To the spool, or without a spool to the end of the queue. One report at a time is sent as a probe.
    Spooling,
    /// As in `Spooling`, while the due reports are sent: Kafka has answered since the last failure.
    Recovering,
}

/// The other due reports, which are only in the spool: rows from `sent_below` on that are not in memory.
#[derive(Debug, Default)]
struct Backlog {
    /// `false` if the spool has no such rows.
    may_have_rows: bool,
    /// All rows up to this number have been read back.
    read_to: Number,
    is_being_read: bool,
}

#[derive(Debug)]
struct Entry<R> {
    report: R,
    /// The generation of the producer that has it, while it is in flight.
    in_flight_with: Option<Generation>,
    row: RowState,
    rejection_state: RejectionState,
}

/// The state of a report's row in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowState {
    None,
    Writing,
    Written,
}

/// Whether Kafka rejects a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RejectionState {
    None,
    /// Kafka rejected its batch because of one record. Sent alone, the report shows whether it is that record.
    Suspect,
    /// Kafka rejects it even alone, and it can't be redirected.
    Quarantined,
}

/// The name of the reason why Kafka rejects a record for good.
pub(super) type RejectionCode = &'static str;

/// An input of the lane.
#[derive(Debug)]
pub(super) enum Input<R> {
    /// A report has arrived, with a number higher than all others. If `must_write`, it is also written to the spool
    /// in mode `Direct`.
    Admit {
        number: Number,
        report: R,
        must_write: bool,
    },
    /// The lane takes over a report of the inbox, whose row is being written.
    Adopt {
        number: Number,
        report: R,
    },
    /// The producer has accepted a report.
    Sent {
        number: Number,
        generation: Generation,
    },
    /// Kafka has a report. Counts from a producer of any generation.
    Acknowledged(Number),
    /// The producer could not deliver a report, or did not accept it (`generation` is `None`).
    Failed {
        number: Number,
        generation: Option<Generation>,
        /// Why Kafka rejects the batch, if it does so because of a record in it.
        rejection: Option<RejectionCode>,
        is_awaited: bool,
    },
    /// A report has waited too long for Kafka.
    Spill(Number),
    /// Every report in memory must be spooled.
    SpillAll,
    /// The spool has fsynced a report. If the report has left the lane, the caller must delete the row.
    Written(Number),
    /// The spool cannot take a report.
    WriteError {
        number: Number,
        is_awaited: bool,
    },
    /// The sender of a report was told 503.
    GiveUp(Number),
    /// The lane may send its next report when fewer than `window` reports are in flight.
    SendNext {
        window: usize,
    },
    /// Rows up to `to` were read back. `reports` are those that are new to the lane. If `is_last`, there are no more
    /// rows.
    ReadBack {
        reports: Vec<(Number, R)>,
        to: Option<Number>,
        is_last: bool,
    },
    /// Rows were not read back.
    NotReadBack,
    /// Nothing may be sent, because the producer is being replaced or the bridge stops.
    Pause,
    Resume,
}

/// An action that the partition executes. The order of effects matters.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect<R> {
    /// Send a report. Answered with `Sent` or `Failed`.
    Send(Number),
    /// Write a report to the spool. Answered with `Written` or `WriteError`.
    Write(Number),
    /// Read rows back from this number on, a single one for a probe. Answered with `ReadBack` or `NotReadBack`.
    ReadBack { from: Number, is_probe: bool },
    /// Tell the sender that the spool has the report.
    Kept(Number),
    /// Kafka has the report, and it has left the lane. If `is_written`, its row must be deleted.
    Delivered {
        number: Number,
        report: R,
        is_written: bool,
    },
    /// The report has left the lane, and only the spool has it now. If `is_quarantined`, its row must be marked.
    Spooled {
        number: Number,
        report: R,
        is_quarantined: bool,
    },
    /// Kafka rejects the report for good, and it has left the lane. If `is_written`, its row still keeps it.
    Rejected {
        number: Number,
        report: R,
        reason: RejectionCode,
        is_written: bool,
    },
    /// The report has left the lane, and neither Kafka nor the spool has it.
    Drop(R),
}

/// Effects that are not executed yet.
pub(super) type Effects<R> = VecDeque<Effect<R>>;

impl<R> Lane<R> {
    /// Creates an empty lane.
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            sent_below: 1,
            reports: BTreeMap::new(),
            due: BTreeSet::new(),
            in_flight: 0,
            suspect_in_flight: None,
            backlog: Backlog::default(),
            mode: Mode::Direct,
            is_paused: false,
        }
    }

    /// Creates a lane with rows in the spool from `first` on.
    pub(super) fn with_backlog(policy: Policy, first: Number) -> Self {
        Self {
            sent_below: first,
            backlog: Backlog {
                may_have_rows: true,
                ..Backlog::default()
            },
            mode: Mode::Spooling,
            ..Self::new(policy)
        }
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Returns whether the report is in flight with the producer of `generation`.
    pub(super) fn is_in_flight(&self, number: Number, generation: Generation) -> bool {
        let entry = self.reports.get(&number);
        entry.is_some_and(|entry| entry.in_flight_with == Some(generation))
    }

    /// Returns the reports in flight with producers up to `generation`.
    pub(super) fn in_flight_of(&self, generation: Generation) -> Vec<Number> {
        let entries = self.reports.iter();
        let in_flight =
            entries.filter(|(_, entry)| entry.in_flight_with.is_some_and(|of| of <= generation));
        in_flight.map(|(number, _)| *number).collect()
    }

    /// Returns whether the lane has no reports, in memory or in the spool.
    pub(super) fn is_idle(&self) -> bool {
        self.reports.is_empty() && !self.backlog.may_have_rows
    }

    /// Returns the number of reports that are only in memory.
    pub(super) fn count_unwritten(&self) -> usize {
        let unwritten = |entry: &&Entry<R>| entry.row != RowState::Written;
        self.reports.values().filter(unwritten).count()
    }

    pub(super) fn report(&self, number: Number) -> Option<&R> {
        self.reports.get(&number).map(|entry| &entry.report)
    }

    pub(super) fn report_mut(&mut self, number: Number) -> Option<&mut R> {
        self.reports.get_mut(&number).map(|entry| &mut entry.report)
    }

    /// Returns whether a suspect report is in flight alone, so that a rejection concerns this record.
    pub(super) fn is_sent_alone(&self, number: Number) -> bool {
        self.suspect_in_flight == Some(number)
    }

    /// Removes a report that the producer has not accepted.
    pub(super) fn withdraw(&mut self, number: Number) -> Option<R> {
        self.remove(number)
    }

    /// Handles an input, and adds the resulting actions to `effects`.
    pub(super) fn handle(&mut self, input: Input<R>, effects: &mut Effects<R>) {
        match input {
            Input::Admit {
                number,
                report,
                must_write,
            } => self.admit(number, report, must_write, effects),
            Input::Adopt { number, report } => self.adopt(number, report),
            Input::Sent { number, generation } => self.sent(number, generation),
            Input::Acknowledged(number) => self.acknowledged(number, effects),
            Input::Failed {
                number,
                generation,
                rejection,
                is_awaited,
            } => self.failed(number, generation, rejection, is_awaited, effects),
            Input::Spill(number) => self.spill(number, effects),
            Input::SpillAll => self.spill_all(effects),
            Input::Written(number) => self.written(number, effects),
            Input::WriteError { number, is_awaited } => {
                self.not_written(number, is_awaited, effects);
            }
            Input::GiveUp(number) => self.give_up(number, effects),
            Input::SendNext { window } => self.send_next(window, effects),
            Input::ReadBack {
                reports,
                to,
                is_last,
            } => self.read_back(reports, to, is_last),
            Input::NotReadBack => self.backlog.is_being_read = false,
            Input::Pause => (self.is_paused, self.mode) = (true, Mode::Spooling),
            Input::Resume => self.is_paused = false,
        }
    }

    fn admit(&mut self, number: Number, report: R, must_write: bool, effects: &mut Effects<R>) {
        let is_direct = self.mode == Mode::Direct;
        let writes = self.policy.has_spool && (must_write || !is_direct);
        let row = if writes {
            effects.push_back(Effect::Write(number));
            RowState::Writing
        } else {
            RowState::None
        };
        self.reports.insert(number, Entry::new(report, row));
        if is_direct {
            effects.push_back(Effect::Send(number));
        } else {
            self.due.insert(number);
        }
    }

    fn adopt(&mut self, number: Number, report: R) {
        let entry = Entry::new(report, RowState::Writing);
        self.reports.insert(number, entry);
        self.due.insert(number);
        self.mode = Mode::Spooling;
    }

    fn sent(&mut self, number: Number, generation: Generation) {
        let entry = self.reports.get_mut(&number);
        let entry = entry.expect("a sent report is in memory");
        entry.in_flight_with = Some(generation);
        if entry.rejection_state == RejectionState::Suspect {
            self.suspect_in_flight = Some(number);
        }
        self.due.remove(&number);
        self.in_flight += 1;
        self.sent_below = self.sent_below.max(number + 1);
    }

    fn acknowledged(&mut self, number: Number, effects: &mut Effects<R>) {
        let Some(entry) = self.reports.remove(&number) else {
            return;
        };
        self.due.remove(&number);
        if entry.in_flight_with.is_some() {
            self.remove_in_flight(number);
        }
        if self.mode == Mode::Spooling {
            self.mode = Mode::Recovering;
        }
        effects.push_back(Effect::Delivered {
            number,
            report: entry.report,
            is_written: entry.row == RowState::Written,
        });
    }

    fn give_up(&mut self, number: Number, effects: &mut Effects<R>) {
        let entry = self.reports.get(&number);
        if entry.is_some_and(|entry| entry.in_flight_with.is_none() && entry.row == RowState::None)
        {
            self.discard(number, effects);
        }
    }

    fn remove_in_flight(&mut self, number: Number) {
        self.in_flight -= 1;
        if self.suspect_in_flight == Some(number) {
            self.suspect_in_flight = None;
        }
    }

    fn discard(&mut self, number: Number, effects: &mut Effects<R>) {
        effects.extend(self.remove(number).map(Effect::Drop));
    }

    fn remove(&mut self, number: Number) -> Option<R> {
        self.due.remove(&number);
        self.reports.remove(&number).map(|entry| entry.report)
    }
}

impl<R> Entry<R> {
    fn new(report: R, row: RowState) -> Self {
        Self {
            report,
            in_flight_with: None,
            row,
            rejection_state: RejectionState::None,
        }
    }
}
