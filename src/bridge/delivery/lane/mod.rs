//! A lane: the reports of one partition, in the order of their numbers.
//!
//! A state machine and nothing else: it knows neither Kafka nor the spool nor time, and is told what
//! happened. It decides which report goes where next, and when a sender may be answered.

use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod decisions;
mod draining;
#[cfg(test)]
mod tests;

/// A report's place in its lane, for ever.
pub(super) type Number = u64;

/// Which producer a record was handed to: they are numbered as they are started.
pub(super) type Generation = u64;

/// The reports of one partition. `R` is what rides along with a report: its record, who waits.
#[derive(Debug)]
pub(super) struct Lane<R> {
    /// Whether there is a spool to write to.
    hedged: bool,
    next: Number,
    /// One more than the highest number that was ever handed over.
    horizon: Number,
    /// What is in memory.
    resident: BTreeMap<Number, Entry<R>>,
    /// Those in memory that wait to be handed over.
    due: BTreeSet<Number>,
    in_flight: usize,
    /// The one that was sent alone, while it is in flight.
    alone: Option<Number>,
    rest: Rest,
    road: Road,
    /// Nothing may be handed over: the producer is being replaced.
    halted: bool,
}

/// What is due and only on disk: rows at or above the horizon that are not resident.
#[derive(Debug, Default)]
struct Rest {
    /// The highest number among them.
    last: Option<Number>,
    /// Everything up to here has been read back.
    read_to: Number,
    is_being_read: bool,
}

/// Where a new report goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Road {
    /// To the producer.
    Direct,
    /// Behind what is due.
    Behind {
        /// Kafka has acknowledged something since the last trouble.
        proven: bool,
    },
}

#[derive(Debug)]
struct Entry<R> {
    rider: R,
    /// Its sender has not been answered.
    waits: bool,
    flight: Option<Generation>,
    disk: Disk,
    standing: Standing,
}

/// How Kafka has taken a report so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Sound,
    /// It refused a batch with it for size or form: sent alone, it shows whether it was this one.
    Suspect,
    /// It was: on its way to the rejected topic, and not due here.
    Elsewhere,
    /// It can go nowhere.
    Parked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    No,
    Writing,
    Written,
}

/// What to do with a new report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Hand it to the producer.
    Send,
    /// Write it to the spool.
    Write,
    /// Nothing: it waits behind others.
    Hold,
}

/// What an acknowledgement or a write means for a report.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Done<R> {
    pub(super) rider: R,
    /// It is on disk and has to be struck off.
    pub(super) strike: bool,
}

/// What a failed delivery means for a report.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure<R> {
    /// Nothing: the lane knows what to do, or the news is old.
    Known,
    /// Write it to the spool; its sender waits for that.
    Write,
    /// Kafka refuses this very record for its size or form.
    Unfit,
    /// Nobody waits for it and nothing keeps it: it is gone from the lane.
    Dropped(R),
}

/// What a finished write means for a report.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written<R> {
    /// It was acknowledged meanwhile: strike it off.
    Strike,
    /// Its sender may be answered; it stays in memory.
    Stays,
    /// Its sender may be answered; from here on it is only on disk.
    Rests(R),
}

/// What parking means for a report.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parked<R> {
    /// From here on it is only on disk.
    Rests(R),
    /// It will be, when it is written; `write` where that has to be asked for.
    Waits { write: bool },
}

/// What to hand over next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This one. With `is_probe` it is the first since the last trouble.
    Send { number: Number, is_probe: bool },
    /// Read what is on disk first, from this number.
    Read(Number),
    /// Nothing now.
    Wait,
}

impl<R> Lane<R> {
    /// An empty lane. `hedged` where there is a spool.
    pub(super) fn new(hedged: bool) -> Self {
        Self {
            hedged,
            next: 1,
            horizon: 1,
            resident: BTreeMap::new(),
            due: BTreeSet::new(),
            in_flight: 0,
            alone: None,
            rest: Rest::default(),
            road: Road::Direct,
            halted: false,
        }
    }

    /// An empty lane that nothing may pass yet: where its reports go is not known, or others go there
    /// first.
    pub(super) fn behind() -> Self {
        Self {
            road: Road::Behind { proven: false },
            ..Self::new(true)
        }
    }

    /// A lane whose reports `first..=last` were left in the spool; numbers go on from there.
    pub(super) fn restored(first: Number, last: Number) -> Self {
        Self {
            next: last + 1,
            horizon: first,
            rest: Rest {
                last: (first <= last).then_some(last),
                ..Rest::default()
            },
            road: Road::Behind { proven: false },
            ..Self::new(true)
        }
    }

    pub(super) fn is_direct(&self) -> bool {
        self.road == Road::Direct
    }

    /// Whether Kafka has acknowledged something since the last trouble.
    pub(super) fn is_proven(&self) -> bool {
        self.road != Road::Behind { proven: false }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether nothing is left to do here.
    pub(super) fn is_idle(&self) -> bool {
        self.resident.is_empty() && self.rest.last.is_none()
    }

    /// Whether there is nothing to hand over and nothing in flight.
    pub(super) fn is_clear(&self) -> bool {
        self.due.is_empty() && self.in_flight == 0 && self.rest.last.is_none()
    }

    /// How many reports only the memory holds.
    pub(super) fn count_unwritten(&self) -> usize {
        self.resident
            .values()
            .filter(|entry| entry.disk != Disk::Written)
            .count()
    }

    pub(super) fn rider(&self, number: Number) -> Option<&R> {
        self.resident.get(&number).map(|entry| &entry.rider)
    }

    pub(super) fn rider_mut(&mut self, number: Number) -> Option<&mut R> {
        self.resident.get_mut(&number).map(|entry| &mut entry.rider)
    }

    /// Takes a report in and gives it its number.
    pub(super) fn admit(&mut self, rider: R) -> (Number, Step) {
        let number = self.next;
        self.next += 1;
        let step = match self.road {
            Road::Direct => Step::Send,
            Road::Behind { .. } if self.hedged => Step::Write,
            Road::Behind { .. } => Step::Hold,
        };
        let entry = Entry {
            rider,
            waits: true,
            flight: None,
            disk: if step == Step::Write {
                Disk::Writing
            } else {
                Disk::No
            },
            standing: Standing::Sound,
        };
        self.resident.insert(number, entry);
        if step != Step::Send {
            self.due.insert(number);
        }
        (number, step)
    }

    /// The producer has taken it.
    pub(super) fn handed_over(&mut self, number: Number, generation: Generation) {
        let entry = self
            .resident
            .get_mut(&number)
            .expect("what is sent is resident");
        entry.flight = Some(generation);
        if entry.standing == Standing::Suspect {
            self.alone = Some(number);
        }
        self.due.remove(&number);
        self.in_flight += 1;
        self.horizon = self.horizon.max(number + 1);
    }

    /// Kafka has it, whichever producer says so.
    pub(super) fn acknowledged(&mut self, number: Number) -> Option<Done<R>> {
        let entry = self.resident.remove(&number)?;
        self.due.remove(&number);
        if entry.flight.is_some() {
            self.landed(number);
        }
        self.prove();
        Some(Done {
            rider: entry.rider,
            strike: entry.disk == Disk::Written,
        })
    }

    /// The producer of `generation` could not deliver it, or did not take it at all (`None`).
    /// `unfit` where Kafka says that it has to do with size or form.
    pub(super) fn failed(
        &mut self,
        number: Number,
        generation: Option<Generation>,
        unfit: bool,
    ) -> Failure<R> {
        let Some(entry) = self.resident.get_mut(&number) else {
            return Failure::Known;
        };
        if entry.flight != generation {
            return Failure::Known;
        }
        entry.flight = None;
        let was_alone = self.alone == Some(number) || generation.is_none();
        if generation.is_some() {
            self.landed(number);
        }
        if !unfit {
            self.road = Road::Behind { proven: false };
        } else if generation.is_some() {
            // A refusal is an answer: Kafka is there, and what it refused is due again.
            self.road = Road::Behind { proven: true };
        }
        let entry = self.resident.get_mut(&number).expect("just seen");
        if unfit && was_alone {
            entry.standing = Standing::Elsewhere;
            self.due.remove(&number);
            return Failure::Unfit;
        }
        if unfit {
            entry.standing = Standing::Suspect;
        }
        self.due.insert(number);
        self.keep(number)
    }

    /// Sees that a report which came back is kept by something.
    fn keep(&mut self, number: Number) -> Failure<R> {
        let entry = self
            .resident
            .get_mut(&number)
            .expect("what came back is resident");
        if entry.disk != Disk::No {
            return Failure::Known;
        }
        if self.hedged {
            entry.disk = Disk::Writing;
            return Failure::Write;
        }
        if entry.waits {
            return Failure::Known;
        }
        self.forget(number).map_or(Failure::Known, Failure::Dropped)
    }

    /// A report has waited too long for Kafka: gives what has to be written. Every new report goes
    /// behind these.
    pub(super) fn stall(&mut self, number: Number) -> Vec<Number> {
        let waits = |entry: &Entry<R>| entry.waits && entry.disk == Disk::No;
        if !self.hedged || !self.resident.get(&number).is_some_and(waits) {
            return Vec::new();
        }
        if self.is_direct() || self.resident[&number].flight.is_some() {
            return self.stall_all();
        }
        self.unwritten()
    }

    /// The same where there is no telling which report has waited.
    pub(super) fn stall_all(&mut self) -> Vec<Number> {
        self.road = Road::Behind { proven: false };
        self.unwritten()
    }

    /// What is in memory alone: it is being written from here on.
    pub(super) fn unwritten(&mut self) -> Vec<Number> {
        let mut unwritten = Vec::new();
        for (number, entry) in &mut self.resident {
            if entry.disk == Disk::No {
                entry.disk = Disk::Writing;
                unwritten.push(*number);
            }
        }
        unwritten
    }

    /// The spool has it, fsynced.
    pub(super) fn written(&mut self, number: Number) -> Written<R> {
        let Some(entry) = self.resident.get_mut(&number) else {
            return Written::Strike;
        };
        entry.disk = Disk::Written;
        entry.waits = false;
        if entry.standing == Standing::Parked {
            return Written::Rests(self.forget(number).expect("just seen"));
        }
        let is_ahead = number >= self.horizon && number > self.rest.read_to;
        if self.due.contains(&number) && is_ahead && !self.rest.is_being_read {
            self.rest.last = self.rest.last.max(Some(number));
            return Written::Rests(self.forget(number).expect("just seen"));
        }
        Written::Stays
    }

    /// The spool can't take it. Gives it back where nothing else keeps it: its sender is told so.
    pub(super) fn not_written(&mut self, number: Number) -> Option<R> {
        let proven = self.road != Road::Behind { proven: false };
        let entry = self.resident.get_mut(&number)?;
        entry.disk = Disk::No;
        let waits_for_kafka = entry.flight.is_some() || entry.standing == Standing::Elsewhere;
        // Behind a lane that drains it has a chance until its deadline.
        if waits_for_kafka || (proven && entry.waits) {
            return None;
        }
        self.forget(number)
    }

    /// Its sender is told 503: `Err` where it has been answered already, `Ok(Some)` where nothing
    /// keeps the report from here on, `Ok(None)` where it may still arrive.
    pub(super) fn give_up(&mut self, number: Number) -> Result<Option<R>, ()> {
        let entry = self.resident.get_mut(&number).filter(|entry| entry.waits);
        let entry = entry.ok_or(())?;
        entry.waits = false;
        let is_kept = entry.flight.is_some()
            || entry.disk != Disk::No
            || entry.standing == Standing::Elsewhere;
        Ok(if is_kept { None } else { self.forget(number) })
    }

    /// Takes back a report that nothing has taken: its sender is told so.
    pub(super) fn withdraw(&mut self, number: Number) -> Option<R> {
        self.forget(number)
    }

    /// Its sender has hung up without an answer. What is not kept by anything else stays due.
    pub(super) fn sender_gone(&mut self, number: Number) -> Option<&mut R> {
        let entry = self.resident.get_mut(&number).filter(|entry| entry.waits)?;
        entry.waits = false;
        Some(&mut entry.rider)
    }

    /// The rejected topic has what is unfit for this one. Gives it back.
    pub(super) fn settled_elsewhere(&mut self, number: Number) -> Option<Done<R>> {
        let entry = self.resident.remove(&number)?;
        Some(Done {
            rider: entry.rider,
            strike: entry.disk == Disk::Written,
        })
    }

    /// It can go nowhere: it leaves the memory as soon as it is written. Says whether it has to be
    /// written yet.
    pub(super) fn park(&mut self, number: Number) -> Parked<R> {
        let Some(entry) = self.resident.get_mut(&number) else {
            return Parked::Waits { write: false };
        };
        entry.standing = Standing::Parked;
        match entry.disk {
            Disk::Written => self
                .forget(number)
                .map_or(Parked::Waits { write: false }, Parked::Rests),
            Disk::Writing => Parked::Waits { write: false },
            Disk::No => {
                entry.disk = Disk::Writing;
                Parked::Waits { write: true }
            }
        }
    }

    fn landed(&mut self, number: Number) {
        self.in_flight -= 1;
        if self.alone == Some(number) {
            self.alone = None;
        }
    }

    fn prove(&mut self) {
        if let Road::Behind { proven } = &mut self.road {
            *proven = true;
        }
    }

    fn forget(&mut self, number: Number) -> Option<R> {
        self.due.remove(&number);
        self.resident.remove(&number).map(|entry| entry.rider)
    }
}
