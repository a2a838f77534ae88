//! The lane against a model of everything around it: a broker, a disk, senders, crashes. Each interleaving that the
//! seeds give must keep the promises.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

/// The name of a report in the model.
type Id = u32;

/// One in so many reports is too large for the topic.
const TOO_LARGE: Id = 11;
const REASON: RefusalCode = "record-too-large";

struct World {
    policy: Policy,
    lane: Lane<Id>,
    generation: Generation,
    next: Number,
    admitted: Id,
    flying: Vec<Flying>,
    /// Records of replaced producers that Kafka has, and that are acknowledged late.
    late: Vec<Flying>,
    /// The topic, in order.
    log: Vec<Id>,
    /// The rejected topic.
    rejected: Vec<Id>,
    /// Reports on their way there, with the rows that keep them.
    redirects: Vec<(Id, Option<Number>)>,
    writes: VecDeque<(Number, Id)>,
    disk: BTreeMap<Number, Id>,
    /// Deleted, but not yet durably.
    deletions: BTreeSet<Number>,
    /// The senders that were told 2xx, and how many reports had been admitted then.
    promised: BTreeMap<Id, Id>,
    /// The senders that were told 503.
    refused: BTreeSet<Id>,
    quarantined: BTreeSet<Id>,
    gone: BTreeSet<Id>,
    /// Reports whose delivery failed, or was never reported on.
    troubled: BTreeSet<Id>,
    /// Reports that were on disk at a crash: order is promised from one start to the next stop.
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
    fn new(policy: Policy) -> Self {
        Self {
            policy,
            lane: Lane::new(policy),
            generation: 1,
            next: 1,
            admitted: 0,
            flying: Vec::new(),
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
            troubled: BTreeSet::new(),
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

    fn refuse(&mut self, id: Id) {
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

    /// A report in the lane whose sender still waits.
    fn waiting(&self, choice: u8) -> Option<Number> {
        let open: Vec<Id> = (1..=self.admitted)
            .filter(|id| self.is_awaited(*id))
            .collect();
        let id = open.get(usize::from(choice) % open.len().max(1))?;
        self.number_of(*id)
    }

    fn step(&mut self, (what, choice): (u8, u8)) {
        match what % 16 {
            0..=2 => self.admit(choice),
            3 | 4 => self.land(choice, true),
            5 => self.append(),
            6 => self.fail(choice),
            7 if choice > 240 => self.handle(Input::SpillAll, true),
            7 => self.spill(choice),
            8 | 9 => self.write(choice),
            10 => self.fail_to_write(choice),
            11 => self.make_deletions_durable(choice),
            12 | 13 => self.drain(choice),
            14 if choice < 60 => self.crash(choice),
            14 if choice < 120 => self.rebuild(choice),
            14 if choice < 200 => self.settle_redirect(),
            14 => self.acknowledge_late(),
            _ if choice < 128 => self.give_up(choice),
            _ => self.hang_up(choice),
        }
    }

    /// Gives the lane an input, and does what it decides. `sends`: the producer has room.
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
            // One in two is refused for a size that is known to be.
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
            Effect::Refused {
                number,
                report,
                is_written,
                ..
            } => {
                assert!(Self::is_too_large(report), "{report} is sound");
                if !self.policy.redirects {
                    return self.refuse(report);
                }
                self.redirects.push((report, is_written.then_some(number)));
            }
            // It was not kept, and its sender is told so, if it waits.
            Effect::Drop(report) => self.refuse(report),
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
        self.flying.push(Flying {
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
            refusal: refused.then_some(REASON),
            is_awaited: id.is_some_and(|id| self.is_awaited(id)),
        };
        self.handle(input, true);
    }

    /// The broker takes the next record.
    fn append(&mut self) {
        if let Some(next) = self.flying.iter_mut().find(|record| !record.appended)
            && !Self::is_too_large(next.id)
        {
            next.appended = true;
            self.log.push(next.id);
        }
    }

    /// The first record in flight gets its true result; a batch with one that is too large fails as a whole.
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
        if !first.appended && batch.iter().any(|record| Self::is_too_large(record.id)) {
            for record in batch {
                self.flying.retain(|other| other.number != record.number);
                self.troubled.insert(record.id);
                self.report_failure(record.number, Some(record.generation), true);
            }
            return;
        }
        if !first.appended {
            self.log.push(first.id);
        }
        self.flying.remove(0);
        self.handle(Input::Acknowledged(first.number), true);
    }

    /// A delivery fails, whether the record had been appended or not.
    fn fail(&mut self, choice: u8) {
        if self.flying.is_empty() {
            return;
        }
        let record = self.flying.remove(usize::from(choice) % self.flying.len());
        self.troubled.insert(record.id);
        self.report_failure(record.number, Some(record.generation), false);
    }

    fn spill(&mut self, choice: u8) {
        if let Some(number) = self.waiting(choice) {
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

    /// A record that could not be fsynced can be on disk all the same.
    fn fail_to_write(&mut self, choice: u8) {
        let Some((number, id)) = self.writes.pop_front() else {
            return;
        };
        if choice.is_multiple_of(2) {
            self.disk.insert(number, id);
            self.interrupted.insert(id);
        }
        let is_awaited = self.is_awaited(id);
        self.handle(Input::NotWritten { number, is_awaited }, true);
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
        // Things happen between the look at the disk and its result.
        self.write(choice);
        self.land(choice, true);
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
        self.deletions.clear();
        self.redirects.clear();
        self.late.clear();
        self.interrupted.extend(self.disk.values());
        // A connection that breaks is no answer: each sender that waited knows nothing.
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

    /// The producer is replaced: true results for some records, the others count as failed.
    fn rebuild(&mut self, choice: u8) {
        self.handle(Input::Pause, true);
        for _ in 0..choice % 3 {
            self.land(0, false);
        }
        for _ in 0..choice % 4 {
            self.append();
        }
        let mut lost = std::mem::take(&mut self.flying);
        // A record that an earlier producer has reported on meanwhile is not waited for.
        let generation = self.generation;
        lost.retain(|record| self.lane.is_in_flight(record.number, generation));
        let in_flight = BTreeSet::from_iter(self.lane.in_flight_of(generation));
        let numbers = lost.iter().map(|record| record.number);
        assert_eq!(in_flight, numbers.collect::<BTreeSet<_>>());
        for record in lost {
            self.troubled.insert(record.id);
            self.report_failure(record.number, Some(record.generation), false);
            // The old producer reports on it later.
            self.report_failure(record.number, Some(record.generation), true);
            self.late.extend(record.appended.then_some(record));
        }
        self.generation += 1;
        self.handle(Input::Resume, true);
    }

    /// A replaced producer reports that Kafka has a record.
    fn acknowledge_late(&mut self) {
        if let Some(record) = self.late.pop() {
            self.handle(Input::Acknowledged(record.number), true);
        }
    }

    /// The rejected topic has the next report.
    fn settle_redirect(&mut self) {
        if self.redirects.is_empty() {
            return;
        }
        let (id, row) = self.redirects.remove(0);
        self.rejected.push(id);
        self.promise(id);
        self.deletions.extend(row);
    }

    fn give_up(&mut self, choice: u8) {
        if let Some(number) = self.waiting(choice) {
            self.refuse(self.id(number));
            self.handle(Input::GiveUp(number), true);
        }
    }

    fn hang_up(&mut self, choice: u8) {
        if let Some(number) = self.waiting(choice) {
            self.gone.insert(self.id(number));
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
        for id in (1..=self.admitted).filter(|id| self.is_awaited(*id)) {
            let is_redirected = self.redirects.iter().any(|(other, _)| *other == id);
            assert!(
                is_redirected || self.number_of(id).is_some(),
                "{id} is awaited and not in memory"
            );
        }
        let in_flight = self.lane.reports.values();
        let in_flight = in_flight.filter(|entry| entry.in_flight_with.is_some());
        assert_eq!(self.lane.in_flight(), in_flight.count());
    }

    /// Everything works again: what was kept must arrive.
    fn heal(&mut self) {
        let mut rounds = 0;
        while !(self.lane.is_idle() && self.lane.mode() == Mode::Direct && self.writes.is_empty()) {
            rounds += 1;
            assert!(
                rounds < 10_000,
                "the lane never comes to rest: {:?}",
                self.lane
            );
            self.write(2);
            self.drain(3);
            self.land(0, false);
            self.settle_redirect();
        }
        while !self.flying.is_empty() || !self.redirects.is_empty() {
            self.land(0, false);
            self.settle_redirect();
        }
    }

    /// Promises 1, 2 and 7, at the end.
    fn check_end(&mut self) {
        while !self.deletions.is_empty() {
            self.make_deletions_durable(3);
        }
        for id in self.promised.keys() {
            let arrived = self.log.contains(id) || self.rejected.contains(id);
            let is_kept = self.quarantined.contains(id) && self.is_somewhere(*id);
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
            let may_repeat = self.troubled.contains(&id) || self.interrupted.contains(&id);
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

fn happens(has_spool: bool, redirects: bool, steps: &[(u8, u8)]) {
    let mut world = World::new(Policy {
        has_spool,
        redirects,
    });
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
        redirects in any::<bool>(),
        steps in proptest::collection::vec((any::<u8>(), any::<u8>()), 1..120)
    ) {
        happens(true, redirects, &steps);
    }

    #[test]
    fn without_a_spool_they_hold_too(
        redirects in any::<bool>(),
        steps in proptest::collection::vec((any::<u8>(), any::<u8>()), 1..120)
    ) {
        happens(false, redirects, &steps);
    }
}
