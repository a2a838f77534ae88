//! A record that was not delivered: it is due again, or Kafka refuses it for good.

use super::{Effect, Effects, Generation, Lane, Mode, Number, RefusalCode, RowState, Standing};

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
        // What an earlier producer has still in flight fails with the one that is replaced now.
        let is_its = match (entry.flight, generation) {
            (Some(of), Some(generation)) => of <= generation,
            (flight, generation) => flight.is_none() && generation.is_none(),
        };
        if !is_its {
            return;
        }
        entry.flight = None;
        let was_alone = self.alone == Some(number) || generation.is_none();
        if refusal.is_some() {
            entry.standing = Standing::Suspect;
        }
        self.due.insert(number);
        if generation.is_some() {
            self.landed(number);
        }
        if refusal.is_none() {
            self.mode = Mode::Spooling;
        } else if generation.is_some() {
            // A refusal is an answer: Kafka is there, and the batch that it refused is due again.
            self.mode = Mode::Recovering;
        }
        if let Some(reason) = refusal.filter(|_| was_alone) {
            self.refused(number, reason, effects);
        } else if self.policy.has_spool {
            self.write(number, effects);
        } else if !is_awaited {
            self.drop(number, effects);
        }
    }

    /// Kafka refuses this very record, for good.
    fn refused(&mut self, number: Number, reason: RefusalCode, effects: &mut Effects<R>) {
        self.due.remove(&number);
        // Its row can be there for a while yet, and must not be read back.
        self.sent_below = self.sent_below.max(number + 1);
        if !self.policy.redirects && self.policy.has_spool {
            self.write(number, effects);
            let entry = self.reports.get_mut(&number).expect("it was refused");
            entry.standing = Standing::Quarantined;
            if entry.row == RowState::Written {
                self.leave_to_spool(number, effects);
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
