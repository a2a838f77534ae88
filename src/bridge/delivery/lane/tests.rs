//! The lane against a model of everything around it: a broker, a disk, senders, crashes. Every
//! interleaving that the seeds give has to keep the promises.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

/// A report's name in the model.
type Id = u32;

/// One in so many reports is too large for the topic.
const UNFIT: Id = 11;

struct World {
    hedged: bool,
    lane: Lane<Id>,
    generation: Generation,
    admitted: Id,
    flying: Vec<Flying>,
    /// The topic, in order.
    log: Vec<Id>,
    /// The rejected topic.
    rejected: Vec<Id>,
    writes: VecDeque<(Number, Id)>,
    disk: BTreeMap<Number, Id>,
    /// Struck off, but not yet durably.
    strikes: BTreeSet<Number>,
    /// What each sender was told, and when: 2xx or 503.
    promised: BTreeMap<Id, Id>,
    refused: BTreeSet<Id>,
    parked: BTreeSet<Id>,
    gone: BTreeSet<Id>,
    /// Whose delivery failed, or was never reported.
    troubled: BTreeSet<Id>,
    /// How long the log was at each crash: order is promised from one start to the next stop.
    interrupted: BTreeSet<Id>,
}

#[derive(Clone, Copy)]
struct Flying {
    number: Number,
    id: Id,
    generation: Generation,
    appended: bool,
}

impl World {
    fn new(hedged: bool) -> Self {
        Self {
            hedged,
            lane: Lane::new(hedged),
            generation: 1,
            admitted: 0,
            flying: Vec::new(),
            log: Vec::new(),
            rejected: Vec::new(),
            writes: VecDeque::new(),
            disk: BTreeMap::new(),
            strikes: BTreeSet::new(),
            promised: BTreeMap::new(),
            refused: BTreeSet::new(),
            parked: BTreeSet::new(),
            gone: BTreeSet::new(),
            troubled: BTreeSet::new(),
            interrupted: BTreeSet::new(),
        }
    }

    fn is_unfit(id: Id) -> bool {
        id.is_multiple_of(UNFIT)
    }

    fn is_open(&self, id: Id) -> bool {
        !self.promised.contains_key(&id) && !self.refused.contains(&id) && !self.gone.contains(&id)
    }

    fn promise(&mut self, id: Id) {
        if self.is_open(id) {
            self.promised.insert(id, self.admitted);
        }
    }

    fn refuse(&mut self, id: Id) {
        if self.is_open(id) {
            self.refused.insert(id);
        }
    }

    fn number_of(&self, id: Id) -> Option<Number> {
        let mut resident = self.lane.resident.iter();
        resident
            .find(|(_, entry)| entry.rider == id)
            .map(|(number, _)| *number)
    }

    /// A sender that still waits.
    fn waiting(&self, choice: u8) -> Option<Number> {
        let open: Vec<Id> = (1..=self.admitted).filter(|id| self.is_open(*id)).collect();
        let id = open.get(usize::from(choice) % open.len().max(1))?;
        self.number_of(*id)
    }

    fn step(&mut self, (what, choice): (u8, u8)) {
        match what % 16 {
            0..=2 => self.admit(choice),
            3 | 4 => self.land(choice, true),
            5 => self.append(),
            6 => self.fail(choice),
            7 => self.stall(choice),
            8 | 9 => self.write(choice),
            10 => self.fail_to_write(choice),
            11 => self.make_strikes_durable(choice),
            12 | 13 => self.drain(choice),
            14 if choice < 60 => self.crash(choice),
            14 if choice < 120 => self.rebuild(choice),
            14 => self.settle_elsewhere(choice),
            _ if choice < 128 => self.give_up(choice),
            _ => self.hang_up(choice),
        }
    }

    fn admit(&mut self, choice: u8) {
        self.admitted += 1;
        let id = self.admitted;
        let (number, step) = self.lane.admit(id);
        match step {
            Step::Send if choice == 0 => self.report_failure(number, None, id, false),
            Step::Send => self.hand_over(number, id),
            Step::Write => self.writes.push_back((number, id)),
            Step::Hold => {}
        }
    }

    fn hand_over(&mut self, number: Number, id: Id) {
        self.lane.handed_over(number, self.generation);
        let generation = self.generation;
        self.flying.push(Flying {
            number,
            id,
            generation,
            appended: false,
        });
    }

    fn report_failure(
        &mut self,
        number: Number,
        generation: Option<Generation>,
        id: Id,
        unfit: bool,
    ) {
        match self.lane.failed(number, generation, unfit) {
            Failure::Known => {}
            Failure::Write => self.writes.push_back((number, id)),
            Failure::Unfit => assert!(Self::is_unfit(id), "{id} is fit"),
            Failure::Dropped(id) => assert!(!self.is_open(id), "{id} is dropped, its sender waits"),
        }
    }

    /// The broker takes the next record.
    fn append(&mut self) {
        if let Some(next) = self.flying.iter_mut().find(|record| !record.appended)
            && !Self::is_unfit(next.id)
        {
            next.appended = true;
            self.log.push(next.id);
        }
    }

    /// The first record in flight gets its true result; a batch with an unfit one fails as a whole.
    fn land(&mut self, choice: u8, in_batches: bool) {
        let Some(first) = self.flying.first().copied() else {
            return;
        };
        let batch = if in_batches {
            1 + usize::from(choice) % 4
        } else {
            1
        };
        let unsent = self.flying.iter().filter(|record| !record.appended);
        let batch: Vec<Flying> = unsent.take(batch).copied().collect();
        if !first.appended && batch.iter().any(|record| Self::is_unfit(record.id)) {
            for record in batch {
                self.flying.retain(|other| other.number != record.number);
                self.troubled.insert(record.id);
                self.report_failure(record.number, Some(record.generation), record.id, true);
            }
            return;
        }
        if !first.appended {
            self.log.push(first.id);
        }
        self.flying.remove(0);
        self.acknowledge(first.number);
    }

    fn acknowledge(&mut self, number: Number) {
        if let Some(Done { rider, strike }) = self.lane.acknowledged(number) {
            self.promise(rider);
            if strike {
                self.strikes.insert(number);
            }
        }
    }

    /// A delivery fails, whether the record had been appended or not.
    fn fail(&mut self, choice: u8) {
        if self.flying.is_empty() {
            return;
        }
        let record = self.flying.remove(usize::from(choice) % self.flying.len());
        self.troubled.insert(record.id);
        self.report_failure(record.number, Some(record.generation), record.id, false);
    }

    fn stall(&mut self, choice: u8) {
        let Some(number) = self.waiting(choice) else {
            return;
        };
        for number in self.lane.stall(number) {
            let id = *self.lane.rider(number).expect("resident");
            self.writes.push_back((number, id));
        }
    }

    fn write(&mut self, choice: u8) {
        for _ in 0..=choice % 3 {
            let Some((number, id)) = self.writes.pop_front() else {
                return;
            };
            self.disk.insert(number, id);
            match self.lane.written(number) {
                Written::Strike => {
                    self.strikes.insert(number);
                }
                Written::Stays => self.promise(id),
                Written::Rests(rider) => self.promise(rider),
            }
        }
    }

    /// What could not be fsynced can be on disk all the same.
    fn fail_to_write(&mut self, choice: u8) {
        let Some((number, id)) = self.writes.pop_front() else {
            return;
        };
        if choice.is_multiple_of(2) {
            self.disk.insert(number, id);
            self.interrupted.insert(id);
        }
        if let Some(id) = self.lane.not_written(number) {
            self.refuse(id);
        }
    }

    fn make_strikes_durable(&mut self, choice: u8) {
        for _ in 0..=choice % 4 {
            if let Some(number) = self.strikes.pop_first() {
                self.disk.remove(&number);
            }
        }
    }

    fn drain(&mut self, choice: u8) {
        for _ in 0..=choice % 4 {
            match self.lane.next(3) {
                Next::Send { number, .. } => {
                    let id = *self.lane.rider(number).expect("resident");
                    self.hand_over(number, id);
                }
                Next::Read(from) => {
                    // Things happen between the look at the disk and its result.
                    let rows: Vec<(Number, Id)> = self.due_on_disk(from).take(2).collect();
                    let is_all = rows.len() < 2;
                    self.write(choice);
                    self.land(choice, true);
                    let _known = self.lane.read(rows, is_all);
                }
                Next::Wait => return,
            }
        }
    }

    fn due_on_disk(&self, from: Number) -> impl Iterator<Item = (Number, Id)> {
        let rows = self.disk.range(from..).map(|(number, id)| (*number, *id));
        rows.filter(|(_, id)| !self.parked.contains(id))
    }

    fn crash(&mut self, choice: u8) {
        // Some of what was under way happens all the same, in order.
        for _ in 0..choice % 3 {
            self.append();
        }
        self.flying.clear();
        for (index, (number, id)) in std::mem::take(&mut self.writes).into_iter().enumerate() {
            if (usize::from(choice) + index).is_multiple_of(3) {
                self.disk.insert(number, id);
            }
        }
        self.strikes.clear();
        self.interrupted.extend(self.disk.values());
        // A connection that breaks is no answer: every sender that waited knows nothing.
        for id in 1..=self.admitted {
            if self.is_open(id) {
                self.gone.insert(id);
            }
        }
        self.generation += 1;
        let last = self.disk.keys().next_back().copied();
        self.lane = match last {
            Some(last) => {
                let first = self.due_on_disk(0).next();
                Lane::restored(first.map_or(last + 1, |(number, _)| number), last)
            }
            None => Lane::new(self.hedged),
        };
    }

    /// The producer is replaced: true results for some, the rest is unsure.
    fn rebuild(&mut self, choice: u8) {
        self.lane.halt();
        for _ in 0..choice % 3 {
            self.land(0, false);
        }
        for _ in 0..choice % 4 {
            self.append();
        }
        let lost = std::mem::take(&mut self.flying);
        assert_eq!(
            BTreeSet::from_iter(self.lane.ledger(self.generation)),
            lost.iter()
                .map(|record| record.number)
                .collect::<BTreeSet<_>>()
        );
        for record in lost {
            self.troubled.insert(record.id);
            self.report_failure(record.number, Some(record.generation), record.id, false);
            // What the old producer says later is no news.
            self.report_failure(record.number, Some(record.generation), record.id, true);
        }
        self.generation += 1;
        self.lane.resume();
    }

    fn settle_elsewhere(&mut self, choice: u8) {
        let elsewhere = |(number, entry): (&Number, &Entry<Id>)| {
            (entry.standing == Standing::Elsewhere).then_some(*number)
        };
        let Some(number) = self.lane.resident.iter().find_map(elsewhere) else {
            return;
        };
        if choice.is_multiple_of(5) && self.hedged {
            return self.park(number);
        }
        let Done { rider, strike } = self.lane.settled_elsewhere(number).expect("resident");
        self.rejected.push(rider);
        self.promise(rider);
        if strike {
            self.strikes.insert(number);
        }
    }

    fn park(&mut self, number: Number) {
        let id = *self.lane.rider(number).expect("resident");
        self.parked.insert(id);
        if self.lane.park(number) == (Parked::Waits { write: true }) {
            self.writes.push_back((number, id));
        }
    }

    fn give_up(&mut self, choice: u8) {
        if let Some(number) = self.waiting(choice) {
            let id = *self.lane.rider(number).expect("resident");
            assert!(self.lane.give_up(number).is_ok());
            self.refuse(id);
        }
    }

    fn hang_up(&mut self, choice: u8) {
        if let Some(number) = self.waiting(choice) {
            let id = *self.lane.sender_gone(number).expect("it waits");
            self.gone.insert(id);
        }
    }

    fn is_somewhere(&self, id: Id) -> bool {
        let on_disk = self.disk.values().any(|row| *row == id);
        on_disk || self.log.contains(&id) || self.rejected.contains(&id)
    }

    /// Promises 1 and 2, at every moment.
    fn check(&self) {
        for id in self.promised.keys() {
            assert!(self.is_somewhere(*id), "{id} was promised and is nowhere");
        }
        for id in (1..=self.admitted).filter(|id| self.is_open(*id)) {
            assert!(
                self.number_of(id).is_some(),
                "{id} waits and nobody knows it"
            );
        }
        let in_flight = self
            .lane
            .resident
            .values()
            .filter(|entry| entry.flight.is_some());
        assert_eq!(self.lane.in_flight(), in_flight.count());
    }

    /// Everything works again: what was kept must arrive.
    fn heal(&mut self) {
        let mut rounds = 0;
        while !(self.lane.is_idle() && self.lane.is_direct() && self.writes.is_empty()) {
            rounds += 1;
            assert!(
                rounds < 10_000,
                "the lane never comes to rest: {:?}",
                self.lane
            );
            self.write(2);
            self.drain(3);
            self.land(0, false);
            self.settle_elsewhere(1);
        }
        while !self.flying.is_empty()
            || self
                .lane
                .resident
                .values()
                .any(|entry| entry.standing == Standing::Elsewhere)
        {
            self.land(0, false);
            self.settle_elsewhere(1);
        }
        self.make_strikes_durable(3);
    }

    /// Promises 1, 2 and 7, at the end.
    fn check_end(&mut self) {
        while !self.strikes.is_empty() {
            self.make_strikes_durable(3);
        }
        for id in self.promised.keys() {
            let arrived = self.log.contains(id) || self.rejected.contains(id);
            let is_parked = self.parked.contains(id) && self.is_somewhere(*id);
            assert!(
                arrived || is_parked,
                "{id} was promised and has not arrived"
            );
        }
        let left = self.disk.values().filter(|id| !self.parked.contains(id));
        assert_eq!(
            left.filter(|id| !self.interrupted.contains(id)).count(),
            0,
            "left on disk"
        );
        for id in 1..=self.admitted {
            let copies = self.log.iter().filter(|other| **other == id).count();
            let may_repeat = self.troubled.contains(&id) || self.interrupted.contains(&id);
            assert!(copies <= 1 || may_repeat, "{id} is there {copies} times");
        }
        self.check_order();
    }

    /// A report that was answered before another was sent stands before it.
    fn check_order(&self) {
        let place = |id: Id| self.log.iter().position(|other| *other == id);
        for (id, answered) in &self.promised {
            let Some(mine) = place(*id).filter(|_| !self.troubled.contains(id)) else {
                continue;
            };
            for later in answered + 1..=self.admitted {
                if let Some(other) = place(later) {
                    assert!(mine < other, "{later} overtook {id}");
                }
            }
        }
    }
}

fn happens(hedged: bool, steps: &[(u8, u8)]) {
    let mut world = World::new(hedged);
    for step in steps {
        world.step(*step);
        world.check();
    }
    world.heal();
    world.check();
    world.check_end();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn with_a_spool_the_promises_hold_whatever_happens(
        steps in proptest::collection::vec((any::<u8>(), any::<u8>()), 1..120)
    ) {
        happens(true, &steps);
    }

    #[test]
    fn without_a_spool_they_hold_too(
        steps in proptest::collection::vec((any::<u8>(), any::<u8>()), 1..120)
    ) {
        // Without one nothing is ever asked to be written.
        happens(false, &steps);
    }
}
