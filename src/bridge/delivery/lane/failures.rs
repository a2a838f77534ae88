//! Handles reports that were not delivered: they are due again, or Kafka rejects them for good.

use super::{
    Effect, Effects, Generation, Lane, Mode, Number, RejectionCode, RejectionState, RowState,
};

impl<R> Lane<R> {
    pub(super) fn failed(
        &mut self,
        number: Number,
        generation: Option<Generation>,
        rejection: Option<RejectionCode>,
        is_awaited: bool,
        effects: &mut Effects<R>,
    ) {
        let Some(entry) = self.reports.get_mut(&number) else {
            return;
        };
        // When a producer is replaced, the reports in flight with earlier generations fail too.
        let concerns_this_attempt = match (entry.in_flight_with, generation) {
            (Some(of), Some(generation)) => of <= generation,
            (flight, generation) => flight.is_none() && generation.is_none(),
        };
        if !concerns_this_attempt {
            return;
        }
        entry.in_flight_with = None;
        let was_alone = self.suspect_in_flight == Some(number) || generation.is_none();
        if rejection.is_some() {
            entry.rejection_state = RejectionState::Suspect;
        }
        self.due.insert(number);
        if generation.is_some() {
            self.remove_in_flight(number);
        }
        if rejection.is_none() {
            self.mode = Mode::Spooling;
        } else if generation.is_some() {
            // A rejection shows that Kafka answers. The rejected batch is due again.
            self.mode = Mode::Recovering;
        }
        if let Some(reason) = rejection.filter(|_| was_alone) {
            self.rejected(number, reason, effects);
        } else if self.policy.has_spool {
            self.write(number, effects);
        } else if !is_awaited {
            self.discard(number, effects);
        }
    }

    /// Handles a record that Kafka has rejected for good.
    fn rejected(&mut self, number: Number, reason: RejectionCode, effects: &mut Effects<R>) {
        self.due.remove(&number);
        // Its row may exist for a while, and must not be read back.
        self.sent_below = self.sent_below.max(number + 1);
        if !self.policy.redirects && self.policy.has_spool {
            self.write(number, effects);
            let entry = self.reports.get_mut(&number).expect("it was refused");
            entry.rejection_state = RejectionState::Quarantined;
            if entry.row == RowState::Written {
                self.evict_to_spool(number, effects);
            }
        } else if let Some(entry) = self.reports.remove(&number) {
            effects.push_back(Effect::Rejected {
                number,
                report: entry.report,
                reason,
                is_written: entry.row == RowState::Written,
            });
        }
    }
}
