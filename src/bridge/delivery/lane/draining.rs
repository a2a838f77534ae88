//! How a lane is drained: what may be handed over next, and what is read back from the spool for it.

use super::{Disk, Entry, Generation, Lane, Next, Number, Road, Standing};

impl<R> Lane<R> {
    /// What may be handed over now, `window` reports at most being in flight; where nothing is due
    /// any more, new reports go direct again.
    pub(in crate::bridge::delivery) fn next(&mut self, window: usize) -> Next {
        let Road::Behind { proven } = self.road else {
            return Next::Wait;
        };
        if self.halted || self.alone.is_some() || self.rest.is_being_read {
            return Next::Wait;
        }
        let is_probe = self.in_flight == 0 && !proven;
        let may_send = self.in_flight == 0 || (proven && self.in_flight < window);
        let head = self.due.first().copied();
        let is_first = |head: Number| head <= self.rest.read_to || head < self.horizon;
        match head {
            _ if !may_send => Next::Wait,
            Some(number) if self.rest.last.is_none() || is_first(number) => {
                let suspect = self.resident[&number].standing == Standing::Suspect;
                if suspect && self.in_flight > 0 {
                    Next::Wait
                } else {
                    Next::Send { number, is_probe }
                }
            }
            _ if self.rest.last.is_some() => {
                self.rest.is_being_read = true;
                Next::Read(self.horizon.max(self.rest.read_to + 1))
            }
            _ => {
                self.road = Road::Direct;
                Next::Wait
            }
        }
    }

    /// What was read back from the spool, in the order of the numbers; `is_all` where there is no
    /// more. It is due now; gives back what was known.
    pub(in crate::bridge::delivery) fn read(
        &mut self,
        rows: Vec<(Number, R)>,
        is_all: bool,
    ) -> Vec<R> {
        let mut known = Vec::new();
        self.rest.is_being_read = false;
        if is_all {
            self.rest.last = None;
        }
        for (number, rider) in rows {
            self.rest.read_to = self.rest.read_to.max(number);
            if number < self.horizon || self.resident.contains_key(&number) {
                known.push(rider);
                continue;
            }
            let entry = Entry {
                rider,
                waits: false,
                flight: None,
                disk: Disk::Written,
                standing: Standing::Sound,
            };
            self.resident.insert(number, entry);
            self.due.insert(number);
        }
        known
    }

    /// The spool could not be read now.
    pub(in crate::bridge::delivery) fn not_read(&mut self) {
        self.rest.is_being_read = false;
    }

    /// Nothing is handed over from here on.
    pub(in crate::bridge::delivery) fn halt(&mut self) {
        self.halted = true;
        self.road = Road::Behind { proven: false };
    }

    pub(in crate::bridge::delivery) fn resume(&mut self) {
        self.halted = false;
    }

    /// What is in flight.
    pub(in crate::bridge::delivery) fn flying(&self) -> impl Iterator<Item = &R> {
        let entries = self.resident.values();
        let flying = entries.filter(|entry| entry.flight.is_some());
        flying.map(|entry| &entry.rider)
    }

    /// Everything that the producer of `generation` was given and has not reported on.
    pub(in crate::bridge::delivery) fn ledger(&self, generation: Generation) -> Vec<Number> {
        let flying = |entry: &Entry<R>| entry.flight == Some(generation);
        let flying = self.resident.iter().filter(|(_, entry)| flying(entry));
        flying.map(|(number, _)| *number).collect()
    }
}
