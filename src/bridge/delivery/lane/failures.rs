//! Handles records that were not delivered: they are due again, or Kafka refuses them for good.

use super::{Effect, Effects, Generation, Lane, Mode, Number, RefusalCode, RefusalState, RowState};

impl<R> Lane<R> {
    pub(super) fn failed(
        &mut self,
        number: Number,
        generation: Option<Generation>,
        refusal: Option<RefusalCode>,
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
        if refusal.is_some() {
            entry.refusal_state = RefusalState::Suspect;
        }
        self.due.insert(number);
        if generation.is_some() {
            self.remove_in_flight(number);
        }
        if refusal.is_none() {
            self.mode = Mode::Spooling;
        } else if generation.is_some() {
            // A refusal shows that Kafka answers. The refused batch is due again.
            self.mode = Mode::Recovering;
        }
        if let Some(reason) = refusal.filter(|_| was_alone) {
            self.refused(number, reason, effects);
        } else if self.policy.has_spool {
            self.write(number, effects);
        } else if !is_awaited {
            self.discard(number, effects);
        }
    }

    /// Handles a record that Kafka has refused for good.
    fn refused(&mut self, number: Number, reason: RefusalCode, effects: &mut Effects<R>) {
        self.due.remove(&number);
        // Its row may exist for a while, and must not be read back.
        self.sent_below = self.sent_below.max(number + 1);
        if !self.policy.redirects && self.policy.has_spool {
            self.write(number, effects);
            let entry = self.reports.get_mut(&number).expect("it was refused");
            entry.refusal_state = RefusalState::Quarantined;
            if entry.row == RowState::Written {
                self.evict_to_spool(number, effects);
            }
        } else if let Some(entry) = self.reports.remove(&number) {
            effects.push_back(Effect::Refused {
                number,
                report: entry.report,
                reason,
                is_written: entry.row == RowState::Written,
            });
        }
    }
}
