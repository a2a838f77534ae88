//! Decides which reports are spooled, and handles the spool's answers.

use super::{Effect, Effects, Lane, Mode, Number, RejectionState, RowState};

impl<R> Lane<R> {
    pub(super) fn spill(&mut self, number: Number, effects: &mut Effects<R>) {
        let entry = self.reports.get(&number);
        let Some(entry) = entry.filter(|entry| entry.row == RowState::None) else {
            return;
        };
        if self.mode == Mode::Direct || entry.in_flight_with.is_some() {
            self.mode = Mode::Spooling;
        }
        self.write_all(effects);
    }

    pub(super) fn spill_all(&mut self, effects: &mut Effects<R>) {
        self.mode = Mode::Spooling;
        self.write_all(effects);
    }

    fn write_all(&mut self, effects: &mut Effects<R>) {
        if !self.policy.has_spool {
            return;
        }
        for (number, entry) in &mut self.reports {
            if entry.row == RowState::None {
                entry.row = RowState::Writing;
                effects.push_back(Effect::Write(*number));
            }
        }
    }

    pub(super) fn write(&mut self, number: Number, effects: &mut Effects<R>) {
        if let Some(entry) = self.reports.get_mut(&number)
            && entry.row == RowState::None
        {
            entry.row = RowState::Writing;
            effects.push_back(Effect::Write(number));
        }
    }

    pub(super) fn written(&mut self, number: Number, effects: &mut Effects<R>) {
        let Some(entry) = self.reports.get_mut(&number) else {
            return;
        };
        entry.row = RowState::Written;
        if entry.rejection_state == RejectionState::Quarantined {
            return self.evict_to_spool(number, effects);
        }
        let is_unread = number >= self.sent_below && number > self.backlog.read_to;
        if is_unread && self.due.contains(&number) && !self.backlog.is_being_read {
            self.backlog.may_have_rows = true;
            self.evict_to_spool(number, effects);
        } else {
            effects.push_back(Effect::Kept(number));
        }
    }

    pub(super) fn not_written(
        &mut self,
        number: Number,
        is_awaited: bool,
        effects: &mut Effects<R>,
    ) {
        let Some(entry) = self.reports.get_mut(&number) else {
            return;
        };
        entry.row = RowState::None;
        // In mode `Recovering` it may still be sent before its deadline.
        let may_still_be_sent =
            self.mode != Mode::Spooling && self.due.contains(&number) && is_awaited;
        if entry.in_flight_with.is_none() && !may_still_be_sent {
            self.discard(number, effects);
        }
    }

    pub(super) fn evict_to_spool(&mut self, number: Number, effects: &mut Effects<R>) {
        self.due.remove(&number);
        if let Some(entry) = self.reports.remove(&number) {
            effects.push_back(Effect::Spooled {
                number,
                report: entry.report,
                is_quarantined: entry.rejection_state == RejectionState::Quarantined,
            });
        }
    }
}
