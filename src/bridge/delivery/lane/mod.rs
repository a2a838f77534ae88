//! A lane: the reports of one partition, in the order of their numbers.
//!
//! A state machine and nothing else: it knows neither Kafka nor the spool nor time. It takes events ([`Input`]) and
//! decides on actions ([`Effect`]): which report goes where next, and when a sender may be answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[cfg(test)]
mod decisions;
mod draining;
mod failures;
mod spooling;
#[cfg(test)]
mod tests;

/// The number of a report in its topic. It is never used again.
pub(super) type Number = u64;

/// The number of a producer: the first one of a topic has 1.
pub(super) type Generation = u64;

/// The reports of one partition.
#[derive(Debug)]
pub(super) struct Lane<R> {
    policy: Policy,
    /// One more than the highest number that was ever sent.
    sent_below: Number,
    reports: BTreeMap<Number, Entry<R>>,
    /// The reports in memory that wait to be sent.
    due: BTreeSet<Number>,
    in_flight: usize,
    /// The suspect that was sent alone, while it is in flight.
    suspect_in_flight: Option<Number>,
    backlog: Backlog,
    mode: Mode,
    is_paused: bool,
}

/// What a lane can count on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    pub(super) has_spool: bool,
    /// Whether a record that Kafka refuses goes to another topic.
    pub(super) redirects: bool,
}

/// Where a new report goes, as in a circuit breaker that is closed, open or half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// To the producer.
    Direct,
    /// To the spool, or without one behind the reports that are due. One report at a time is sent as a probe.
    Spooling,
    /// The same, while the reports that are due are sent: Kafka has acknowledged something since the last failure.
    Recovering,
}

/// Reports that are due and only on disk: rows from `sent_below` on that are not in memory.
#[derive(Debug, Default)]
struct Backlog {
    /// Whether there may be any.
    may_have_rows: bool,
    /// Every row up to this number has been read back.
    read_to: Number,
    is_being_read: bool,
}

#[derive(Debug)]
struct Entry<R> {
    report: R,
    /// The producer that has it.
    in_flight_with: Option<Generation>,
    row: RowState,
    refusal_state: RefusalState,
}

/// How far a report's row in the spool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowState {
    None,
    Writing,
    Written,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RefusalState {
    None,
    /// Kafka refused its batch for a record in it. Sent alone, it shows whether it is that record.
    Suspect,
    /// Kafka refused it, sent alone, and there is no other topic for it.
    Quarantined,
}

/// The name of a reason for which Kafka refuses a record for good.
pub(super) type RefusalCode = &'static str;

/// An event that concerns the lane.
#[derive(Debug)]
pub(super) enum Input<R> {
    /// A report has arrived, with a number above all others. `must_write`: it is written in any mode.
    Admit {
        number: Number,
        report: R,
        must_write: bool,
    },
    /// A report of the inbox belongs here. Its row is being written.
    Adopt {
        number: Number,
        report: R,
    },
    /// The producer has taken a report.
    Sent {
        number: Number,
        generation: Generation,
    },
    /// Kafka has a report, whichever producer says so.
    Acknowledged(Number),
    /// The producer could not deliver a report, or did not take it (`generation` is `None`).
    Failed {
        number: Number,
        generation: Option<Generation>,
        /// Why Kafka refuses the batch for a record in it, if it does.
        refusal: Option<RefusalCode>,
        is_awaited: bool,
    },
    /// A report has waited for Kafka for too long.
    Spill(Number),
    /// Every report in memory must be written.
    SpillAll,
    /// The spool has a report, fsynced. The row of a report that has left the lane meanwhile must be deleted.
    Written(Number),
    /// The spool cannot take a report.
    NotWritten {
        number: Number,
        is_awaited: bool,
    },
    /// The sender of a report was told 503.
    GiveUp(Number),
    /// There is time to send more, with `window` reports in flight at most.
    SendNext {
        window: usize,
    },
    /// Rows up to `to` were read back. `reports` has those that the lane does not know; `is_last`: there are no more.
    ReadBack {
        reports: Vec<(Number, R)>,
        to: Option<Number>,
        is_last: bool,
    },
    /// Rows could not be read now.
    NotReadBack,
    /// The producer is being replaced: nothing may be sent.
    Pause,
    Resume,
}

/// An action that the partition executes, in the order of the effects.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect<R> {
    /// Send a report: then comes `Sent` or `Failed`.
    Send(Number),
    /// Write a report to the spool: then comes `Written` or `NotWritten`.
    Write(Number),
    /// Read rows back from this number on: then comes `ReadBack` or `NotReadBack`.
    ReadBack { from: Number, is_probe: bool },
    /// Tell the sender that the spool has it.
    Kept(Number),
    /// Kafka has it. `is_written`: its row must be deleted.
    Delivered {
        number: Number,
        report: R,
        is_written: bool,
    },
    /// It left the memory: only the spool has it now. `is_quarantined`: its row must be marked so.
    Spooled {
        number: Number,
        report: R,
        is_quarantined: bool,
    },
    /// Kafka refuses it here for good, and it left the lane. `is_written`: its row still keeps it.
    Refused {
        number: Number,
        report: R,
        reason: RefusalCode,
        is_written: bool,
    },
    /// Nothing keeps it any longer.
    Drop(R),
}

/// Effects that are still to be executed.
pub(super) type Effects<R> = VecDeque<Effect<R>>;

impl<R> Lane<R> {
    /// An empty lane.
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

    /// A lane with rows in the spool, from `first` on.
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

    /// Returns whether the producer of `generation` has the report and has not reported on it.
    pub(super) fn is_in_flight(&self, number: Number, generation: Generation) -> bool {
        let entry = self.reports.get(&number);
        entry.is_some_and(|entry| entry.in_flight_with == Some(generation))
    }

    /// Returns the reports that producers up to `generation` have not reported on.
    pub(super) fn in_flight_of(&self, generation: Generation) -> Vec<Number> {
        let entries = self.reports.iter();
        let flying =
            entries.filter(|(_, entry)| entry.in_flight_with.is_some_and(|of| of <= generation));
        flying.map(|(number, _)| *number).collect()
    }

    /// Returns whether nothing is left to do.
    pub(super) fn is_idle(&self) -> bool {
        self.reports.is_empty() && !self.backlog.may_have_rows
    }

    /// Returns how many reports only the memory has.
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

    /// Returns whether a report is in flight alone: a refusal is then about this very record.
    pub(super) fn is_sent_alone(&self, number: Number) -> bool {
        self.suspect_in_flight == Some(number)
    }

    /// Takes back a report that nothing has taken.
    pub(super) fn withdraw(&mut self, number: Number) -> Option<R> {
        self.remove(number)
    }

    /// Takes an input, and adds what must be done to `effects`.
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
                refusal,
                is_awaited,
            } => self.failed(number, generation, refusal, is_awaited, effects),
            Input::Spill(number) => self.spill(number, effects),
            Input::SpillAll => self.spill_all(effects),
            Input::Written(number) => self.written(number, effects),
            Input::NotWritten { number, is_awaited } => {
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
        let entry = entry.expect("a report that is sent is in memory");
        entry.in_flight_with = Some(generation);
        if entry.refusal_state == RefusalState::Suspect {
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
            refusal_state: RefusalState::None,
        }
    }
}
