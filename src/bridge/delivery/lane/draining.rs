//! Drains a lane: decides which report is sent next, and when rows are read back.

use super::{Effect, Effects, Entry, Lane, Mode, Number, RejectionState, RowState};

impl<R> Lane<R> {
    /// Returns whether the next report is a probe, whose result shows whether Kafka is back.
    pub(in crate::bridge::delivery) fn next_is_probe(&self) -> bool {
        let is_due = !self.due.is_empty() || self.backlog.may_have_rows;
        self.mode == Mode::Spooling && self.in_flight == 0 && is_due
    }

    /// Returns whether a row is new to the lane: neither in memory nor sent or rejected before.
    pub(in crate::bridge::delivery) fn is_new(&self, number: Number) -> bool {
        number >= self.sent_below && !self.reports.contains_key(&number)
    }

    /// Sends one more report if that is allowed. When no report is due, the lane goes to mode `Direct`.
    pub(super) fn send_next(&mut self, window: usize, effects: &mut Effects<R>) {
        let must_wait =
            self.is_paused || self.suspect_in_flight.is_some() || self.backlog.is_being_read;
        let has_room = match self.mode {
            Mode::Direct => return,
            Mode::Spooling => self.in_flight == 0,
            Mode::Recovering => self.in_flight < window.max(1),
        };
        if must_wait || !has_room {
            return;
        }
        let first = self.due.first().copied();
        let precedes_backlog = |number| number <= self.backlog.read_to || number < self.sent_below;
        match (first, self.backlog.may_have_rows) {
            (None, false) => self.mode = Mode::Direct,
            (Some(number), is_due) if !is_due || precedes_backlog(number) => {
                let is_suspect = self.reports[&number].rejection_state == RejectionState::Suspect;
                if !is_suspect || self.in_flight == 0 {
                    effects.push_back(Effect::Send(number));
                }
            }
            _ => {
                self.backlog.is_being_read = true;
                effects.push_back(Effect::ReadBack {
                    from: self.sent_below.max(self.backlog.read_to + 1),
                    is_probe: self.next_is_probe(),
                });
            }
        }
    }

    pub(super) fn read_back(
        &mut self,
        reports: Vec<(Number, R)>,
        to: Option<Number>,
        is_last: bool,
    ) {
        self.backlog.is_being_read = false;
        self.backlog.read_to = self.backlog.read_to.max(to.unwrap_or_default());
        if is_last {
            self.backlog.may_have_rows = false;
        }
        for (number, report) in reports {
            let entry = Entry::new(report, RowState::Written);
            self.reports.insert(number, entry);
            self.due.insert(number);
        }
    }
}
