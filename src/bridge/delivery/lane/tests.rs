//! Tests the lane against a model of its surroundings: a broker, a disk, senders, crashes. Each random sequence of
//! events must keep the promises.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

/// Identifies a report in the model.
type Id = u32;

/// Each report whose id is a multiple of this is too large for the topic.
const TOO_LARGE: Id = 11;
const REASON: RejectionCode = "record-too-large";

struct World {
    policy: Policy,
    lane: Lane<Id>,
    generation: Generation,
    next: Number,
    admitted: Id,
    in_flight: Vec<InFlight>,
    /// Records of replaced producers that Kafka has and acknowledges late.
    late: Vec<InFlight>,
    /// The topic, in order.
    log: Vec<Id>,
    /// The rejected topic.
    rejected: Vec<Id>,
    /// Redirected reports that the rejected topic does not have yet, with the rows that keep them.
    redirects: Vec<(Id, Option<Number>)>,
    writes: VecDeque<(Number, Id)>,
    disk: BTreeMap<Number, Id>,
    /// Deleted rows that would reappear after a crash.
    deletions: BTreeSet<Number>,
    /// The reports whose senders were told 2xx, with the number of reports that had been admitted then.
    promised: BTreeMap<Id, Id>,
    /// The reports whose senders were told 503.
    refused: BTreeSet<Id>,
    quarantined: BTreeSet<Id>,
    gone: BTreeSet<Id>,
    /// Reports whose delivery failed or has no result.
    failed: BTreeSet<Id>,
    /// Reports that were on disk when the bridge crashed: it promises no order across restarts.
    interrupted: BTreeSet<Id>,
}

#[derive(Clone, Copy)]
struct InFlight {
    number: Number,
    id: Id,
    generation: Generation,
    appended: bool,
}

impl World {
    fn new(policy: Policy) -> Self {
        Self {
            policy,
            lane: Lane::new(policy),
            generation: 1,
            next: 1,
            admitted: 0,
            in_flight: Vec::new(),
            late: Vec::new(),
            log: Vec::new(),
            rejected: Vec::new(),
            redirects: Vec::new(),
            writes: VecDeque::new(),
            disk: BTreeMap::new(),
            deletions: BTreeSet::new(),
            promised: BTreeMap::new(),
            refused: BTreeSet::new(),
            quarantined: BTreeSet::new(),
            gone: BTreeSet::new(),
            failed: BTreeSet::new(),
            interrupted: BTreeSet::new(),
        }
    }

    fn is_too_large(id: Id) -> bool {
        id.is_multiple_of(TOO_LARGE)
    }

    fn is_awaited(&self, id: Id) -> bool {
        !self.promised.contains_key(&id) && !self.refused.contains(&id) && !self.gone.contains(&id)
    }

    fn promise(&mut self, id: Id) {
        if self.is_awaited(id) {
            self.promised.insert(id, self.admitted);
        }
    }

    fn time_out(&mut self, id: Id) {
        if self.is_awaited(id) {
            self.refused.insert(id);
        }
    }

    fn id(&self, number: Number) -> Id {
        *self.lane.report(number).expect("in memory")
    }

    fn number_of(&self, id: Id) -> Option<Number> {
        let mut reports = self.lane.reports.iter();
        let found = reports.find(|(_, entry)| entry.report == id);
        found.map(|(number, _)| *number)
    }

    /// Picks a report in the lane whose sender waits.
    fn pick_waiting(&self, choice: u8) -> Option<Number> {
        let open: Vec<Id> = (1..=self.admitted)
            .filter(|id| self.is_awaited(*id))
            .collect();
        let id = open.get(usize::from(choice) % open.len().max(1))?;
        self.number_of(*id)
    }

    fn step(&mut self, (action, choice): (u8, u8)) {
        match action % 16 {
            0..=2 => self.admit(choice),
            3 | 4 => self.report_next(choice, true),
            5 => self.append(),
            6 => self.fail(choice),
            7 if choice > 240 => self.handle(Input::SpillAll, true),
            7 => self.spill(choice),
            8 | 9 => self.write(choice),
            10 => self.fail_to_write(choice),
            11 => self.make_deletions_durable(choice),
            12 | 13 => self.drain(choice),
            14 if choice < 60 => self.crash(choice),
            14 if choice < 120 => self.replace_producer(choice),
            14 if choice < 200 => self.deliver_redirect(),
            14 => self.acknowledge_late(),
            _ if choice < 128 => self.give_up(choice),
            _ => self.hang_up(choice),
        }
    }

    /// Gives the lane an input, and executes its effects. `sends` is whether the producer accepts records.
    fn handle(&mut self, input: Input<Id>, sends: bool) {
        let mut effects = Effects::new();
        self.lane.handle(input, &mut effects);
        for effect in effects {
            self.execute(effect, sends);
        }
    }

    fn execute(&mut self, effect: Effect<Id>, sends: bool) {
        match effect {
            Effect::Send(number) if sends => self.hand_over(number),
            // Half of the reports that are too large are rejected without sending them.
            Effect::Send(number) => {
                let id = self.id(number);
                let is_known = Self::is_too_large(id) && id.is_multiple_of(2);
                self.report_failure(number, None, is_known);
            }
            Effect::Write(number) => self.writes.push_back((number, self.id(number))),
            Effect::ReadBack { from, .. } => self.read_back(from),
            Effect::Kept(number) => self.promise(self.id(number)),
            Effect::Delivered {
                number,
                report,
                is_written,
            } => {
                self.promise(report);
                if is_written {
                    self.deletions.insert(number);
                }
            }
            Effect::Spooled {
                report,
                is_quarantined,
                ..
            } => {
                self.promise(report);
                if is_quarantined {
                    self.quarantined.insert(report);
                }
            }
            Effect::Rejected {
                number,
                report,
                is_written,
                ..
            } => {
                assert!(Self::is_too_large(report), "{report} is sound");
                if !self.policy.redirects {
                    return self.time_out(report);
                }
                self.redirects.push((report, is_written.then_some(number)));
            }
            // The sender is told 503 if it waits.
            Effect::Drop(report) => self.time_out(report),
        }
    }

    fn admit(&mut self, choice: u8) {
        self.admitted += 1;
        let report = self.admitted;
        let must_write = choice > 250;
        let number = self.next;
        self.next += 1;
        let input = Input::Admit {
            number,
            report,
            must_write,
        };
        self.handle(input, choice > 10);
    }

    fn hand_over(&mut self, number: Number) {
        let (id, generation) = (self.id(number), self.generation);
        self.handle(Input::Sent { number, generation }, true);
        self.in_flight.push(InFlight {
            number,
            id,
            generation,
            appended: false,
        });
    }

    fn report_failure(&mut self, number: Number, generation: Option<Generation>, refused: bool) {
        let id = self.lane.report(number).copied();
        let input = Input::Failed {
            number,
            generation,
            rejection: refused.then_some(REASON),
            is_awaited: id.is_some_and(|id| self.is_awaited(id)),
        };
        self.handle(input, true);
    }

    /// Appends the next record to the topic.
    fn append(&mut self) {
        if let Some(next) = self.in_flight.iter_mut().find(|record| !record.appended)
            && !Self::is_too_large(next.id)
        {
            next.appended = true;
            self.log.push(next.id);
        }
    }

    /// Reports the true result of the first record in flight. A batch with a record that is too large fails as a whole.
    fn report_next(&mut self, choice: u8, in_batches: bool) {
        let Some(first) = self.in_flight.first().copied() else {
            return;
        };
        let batch = if in_batches {
            1 + usize::from(choice) % 4
        } else {
            1
        };
        let unsent = self.in_flight.iter().filter(|record| !record.appended);
        let batch: Vec<InFlight> = unsent.take(batch).copied().collect();
        if !first.appended && batch.iter().any(|record| Self::is_too_large(record.id)) {
            for record in batch {
                self.in_flight.retain(|other| other.number != record.number);
                self.failed.insert(record.id);
                self.report_failure(record.number, Some(record.generation), true);
            }
            return;
        }
        if !first.appended {
            self.log.push(first.id);
        }
        self.in_flight.remove(0);
        self.handle(Input::Acknowledged(first.number), true);
    }

    /// Fails a delivery, whether or not the record was appended.
    fn fail(&mut self, choice: u8) {
        if self.in_flight.is_empty() {
            return;
        }
        let record = self
            .in_flight
            .remove(usize::from(choice) % self.in_flight.len());
        self.failed.insert(record.id);
        self.report_failure(record.number, Some(record.generation), false);
    }

    fn spill(&mut self, choice: u8) {
        if let Some(number) = self.pick_waiting(choice) {
            self.handle(Input::Spill(number), true);
        }
    }

    fn write(&mut self, choice: u8) {
        for _ in 0..=choice % 3 {
            let Some((number, id)) = self.writes.pop_front() else {
                return;
            };
            self.disk.insert(number, id);
            if self.lane.report(number).is_none() {
                self.deletions.insert(number);
            }
            self.handle(Input::Written(number), true);
        }
    }

    /// Fails a write. The record may be on disk nevertheless.
    fn fail_to_write(&mut self, choice: u8) {
        let Some((number, id)) = self.writes.pop_front() else {
            return;
        };
        if choice.is_multiple_of(2) {
            self.disk.insert(number, id);
            self.interrupted.insert(id);
        }
        let is_awaited = self.is_awaited(id);
        self.handle(Input::WriteError { number, is_awaited }, true);
    }

    fn make_deletions_durable(&mut self, choice: u8) {
        for _ in 0..=choice % 4 {
            if let Some(number) = self.deletions.pop_first() {
                self.disk.remove(&number);
            }
        }
    }

    fn drain(&mut self, choice: u8) {
        for _ in 0..=choice % 4 {
            self.handle(Input::SendNext { window: 3 }, true);
        }
    }

    fn read_back(&mut self, from: Number) {
        let choice = u8::try_from(from % 7).expect("small");
        if choice == 6 && !self.writes.is_empty() {
            return self.handle(Input::NotReadBack, true);
        }
        let rows: Vec<(Number, Id)> = self.due_on_disk(from).take(2).collect();
        let is_last = rows.len() < 2;
        // Other events can happen between the read and its result.
        self.write(choice);
        self.report_next(choice, true);
        let to = rows.last().map(|(number, _)| *number);
        let new = rows
            .into_iter()
            .filter(|(number, _)| self.lane.is_new(*number));
        let reports = new.collect();
        let input = Input::ReadBack {
            reports,
            to,
            is_last,
        };
        self.handle(input, true);
    }

    fn due_on_disk(&self, from: Number) -> impl Iterator<Item = (Number, Id)> {
        let rows = self.disk.range(from..).map(|(number, id)| (*number, *id));
        rows.filter(|(_, id)| !self.quarantined.contains(id))
    }

    fn crash(&mut self, choice: u8) {
        // Some actions in progress still complete, in order.
        for _ in 0..choice % 3 {
            self.append();
        }
        self.in_flight.clear();
        for (index, (number, id)) in std::mem::take(&mut self.writes).into_iter().enumerate() {
            if (usize::from(choice) + index).is_multiple_of(3) {
                self.disk.insert(number, id);
            }
        }
        self.deletions.clear();
        self.redirects.clear();
        self.late.clear();
        self.interrupted.extend(self.disk.values());
        // Senders that waited lose their connection and get no answer.
        for id in 1..=self.admitted {
            if self.is_awaited(id) {
                self.gone.insert(id);
            }
        }
        self.generation += 1;
        self.next = self.disk.keys().next_back().map_or(1, |last| last + 1);
        let first = self.due_on_disk(0).next();
        self.lane = match first {
            Some((first, _)) => Lane::with_backlog(self.policy, first),
            None => Lane::new(self.policy),
        };
    }

    /// Replaces the producer: some records get their true results, the others count as failed.
    fn replace_producer(&mut self, choice: u8) {
        self.handle(Input::Pause, true);
        for _ in 0..choice % 3 {
            self.report_next(0, false);
        }
        for _ in 0..choice % 4 {
            self.append();
        }
        let mut lost = std::mem::take(&mut self.in_flight);
        // Drops records that an earlier producer has reported on.
        let generation = self.generation;
        lost.retain(|record| self.lane.is_in_flight(record.number, generation));
        let in_flight = BTreeSet::from_iter(self.lane.in_flight_of(generation));
        let numbers = lost.iter().map(|record| record.number);
        assert_eq!(in_flight, numbers.collect::<BTreeSet<_>>());
        for record in lost {
            self.failed.insert(record.id);
            self.report_failure(record.number, Some(record.generation), false);
            // The old producer reports on it later.
            self.report_failure(record.number, Some(record.generation), true);
            self.late.extend(record.appended.then_some(record));
        }
        self.generation += 1;
        self.handle(Input::Resume, true);
    }

    /// Reports an acknowledgement of a replaced producer.
    fn acknowledge_late(&mut self) {
        if let Some(record) = self.late.pop() {
            self.handle(Input::Acknowledged(record.number), true);
        }
    }

    /// Delivers the next redirected report to the rejected topic.
    fn deliver_redirect(&mut self) {
        if self.redirects.is_empty() {
            return;
        }
        let (id, row) = self.redirects.remove(0);
        self.rejected.push(id);
        self.promise(id);
        self.deletions.extend(row);
    }

    fn give_up(&mut self, choice: u8) {
        if let Some(number) = self.pick_waiting(choice) {
            self.time_out(self.id(number));
            self.handle(Input::GiveUp(number), true);
        }
    }

    fn hang_up(&mut self, choice: u8) {
        if let Some(number) = self.pick_waiting(choice) {
            self.gone.insert(self.id(number));
        }
    }

    fn is_stored(&self, id: Id) -> bool {
        let on_disk = self.disk.values().any(|row| *row == id);
        on_disk || self.log.contains(&id) || self.rejected.contains(&id)
    }

    /// Checks promises 1 and 2, which hold at every moment.
    fn check(&self) {
        for id in self.promised.keys() {
            assert!(self.is_stored(*id), "{id} was promised and is not stored");
        }
        for id in (1..=self.admitted).filter(|id| self.is_awaited(*id)) {
            let is_redirected = self.redirects.iter().any(|(other, _)| *other == id);
            assert!(
                is_redirected || self.number_of(id).is_some(),
                "{id} is awaited and not in memory"
            );
        }
        let entries = self.lane.reports.values();
        let in_flight = entries.filter(|entry| entry.in_flight_with.is_some());
        assert_eq!(self.lane.in_flight(), in_flight.count());
    }

    /// Lets everything work until all kept reports have arrived.
    fn drain_all(&mut self) {
        let mut rounds = 0;
        while !(self.lane.is_idle() && self.lane.mode() == Mode::Direct && self.writes.is_empty()) {
            rounds += 1;
            assert!(
                rounds < 10_000,
                "the lane never becomes idle: {:?}",
                self.lane
            );
            self.write(2);
            self.drain(3);
            self.report_next(0, false);
            self.deliver_redirect();
        }
        while !self.in_flight.is_empty() || !self.redirects.is_empty() {
            self.report_next(0, false);
            self.deliver_redirect();
        }
    }

    /// Checks promises 1, 2 and 7 at the end.
    fn check_end(&mut self) {
        while !self.deletions.is_empty() {
            self.make_deletions_durable(3);
        }
        for id in self.promised.keys() {
            let arrived = self.log.contains(id) || self.rejected.contains(id);
            let is_kept = self.quarantined.contains(id) && self.is_stored(*id);
            assert!(arrived || is_kept, "{id} was promised and has not arrived");
        }
        let left = self
            .disk
            .values()
            .filter(|id| !self.quarantined.contains(id));
        let left = left.filter(|id| !self.interrupted.contains(id));
        assert_eq!(left.count(), 0, "left on disk");
        for id in 1..=self.admitted {
            let copies = self.log.iter().filter(|other| **other == id).count();
            let may_repeat = self.failed.contains(&id) || self.interrupted.contains(&id);
            assert!(copies <= 1 || may_repeat, "{id} is there {copies} times");
            let rejected = self.rejected.iter().filter(|other| **other == id).count();
            let may_repeat = self.interrupted.contains(&id);
            assert!(
                rejected <= 1 || may_repeat,
                "{id} is rejected {rejected} times"
            );
        }
        self.check_order();
    }

    /// Checks that a report that was answered before another arrived precedes it on the topic.
    fn check_order(&self) {
        let place = |id: Id| self.log.iter().position(|other| *other == id);
        for (id, answered) in &self.promised {
            let Some(mine) = place(*id).filter(|_| !self.failed.contains(id)) else {
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

fn check_steps(has_spool: bool, redirects: bool, steps: &[(u8, u8)]) {
    let mut world = World::new(Policy {
        has_spool,
        redirects,
    });
    for step in steps {
        world.step(*step);
        world.check();
    }
    world.drain_all();
    world.check();
    world.check_end();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn with_a_spool_the_promises_hold_whatever_happens(
        redirects in any::<bool>(),
        steps in proptest::collection::vec((any::<u8>(), any::<u8>()), 1..120)
    ) {
        check_steps(true, redirects, &steps);
    }

    #[test]
    fn without_a_spool_the_promises_hold_too(
        redirects in any::<bool>(),
        steps in proptest::collection::vec((any::<u8>(), any::<u8>()), 1..120)
    ) {
        check_steps(false, redirects, &steps);
    }
}
