//! A lane at work: what happens to a report is told to its lane, and what the lane decides is done.
//! Everything here is quick; what can block is the keeper's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::NotTaken;
use super::ceilings::Place;
use super::lane::{Done, Failure, Generation, Lane, Next, Number, Parked, Step, Written};
use super::pace::Pace;
use super::receipt::Receipt;
use super::rider::{Answer, Keeper, Origin, Rider, Waiter};
use super::route::Route;
use crate::contract::Record;
use crate::kafka::Failed;
use crate::spool::{LaneKey, NotWritten, Row};

/// How many reports of one lane may be in flight while it drains.
const WINDOW: usize = 10_000;
/// How many are handed over before others get at the lane.
const AT_ONCE: usize = 128;

/// A lane and what goes with it.
pub(super) struct Cell {
    pub(super) key: LaneKey,
    state: Mutex<State>,
    route: Arc<Route>,
}

struct State {
    lane: Lane<Rider>,
    pace: Pace,
    /// Bytes of what was read back from the spool and is not acknowledged yet.
    read_back: usize,
}

impl State {
    /// A report leaves the memory.
    fn leaves(&mut self, rider: &Rider) {
        if rider.is_from_spool() {
            self.read_back = self.read_back.saturating_sub(rider.record.size());
        }
    }
}

/// What librdkafka holds for each record until its delivery report.
pub(super) struct Ticket {
    cell: Arc<Cell>,
    number: Number,
    generation: Generation,
}

/// What the spool holds for each record until it is written.
pub(super) struct SpoolTicket {
    cell: Arc<Cell>,
    number: Number,
}

impl Cell {
    pub(super) fn new(key: LaneKey, lane: Lane<Rider>, route: Arc<Route>) -> Arc<Self> {
        let pace = Pace::new(route.longest_pause());
        let state = Mutex::new(State {
            lane,
            pace,
            read_back: 0,
        });
        Arc::new(Self { key, state, route })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_direct(&self) -> bool {
        self.lock().lane.is_direct()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lock().lane.is_idle()
    }

    /// Takes a report in; the receipt tells what became of it.
    pub(super) fn admit(self: &Arc<Self>, record: Arc<Record>, place: Place) -> Receipt {
        let (sender, answered) = oneshot::channel();
        let rider = Rider::new(record, Some(place), Some(Waiter::Sender(sender)));
        let number = self.take_in(rider);
        Receipt::new(answered, Arc::clone(self), number, self.route.stall_after)
    }

    /// Takes in what a lane of another topic could not deliver.
    pub(super) fn admit_from(self: &Arc<Self>, record: Arc<Record>, origin: Origin) {
        self.take_in(Rider::new(record, None, Some(Waiter::Origin(origin))));
    }

    /// The same for a report that comes while the lane keeps what came before, or `None`.
    pub(super) fn admit_behind(
        self: &Arc<Self>,
        record: &Arc<Record>,
        place: Place,
    ) -> Result<Receipt, Place> {
        if self.is_direct() {
            return Err(place);
        }
        Ok(self.admit(Arc::clone(record), place))
    }

    fn take_in(self: &Arc<Self>, rider: Rider) -> Number {
        let mut state = self.lock();
        let hurry = state.lane.is_direct() && state.lane.in_flight() > 0;
        if hurry && self.route.is_crowded() {
            let unwritten = state.lane.stall_all();
            self.write_all(&state, unwritten);
        }
        let (number, step) = state.lane.admit(rider);
        match step {
            Step::Send => self.hand_over(&mut state, number),
            Step::Write => self.write(&state, number),
            Step::Hold => self.route.wake(),
        }
        number
    }

    /// Gives the producer a record; what it does not take has failed.
    fn hand_over(self: &Arc<Self>, state: &mut State, number: Number) {
        let current = self.route.producer();
        let record = Arc::clone(
            &state
                .lane
                .rider(number)
                .expect("what is sent is resident")
                .record,
        );
        let partition = self.route.partition(&self.key, &record);
        let generation = current.generation;
        let ticket = Ticket {
            cell: Arc::clone(self),
            number,
            generation,
        };
        match current
            .producer
            .send(&self.key.topic, partition, &record, ticket)
        {
            Ok(()) => {
                state.lane.handed_over(number, generation);
                state.pace.handed_over(state.lane.in_flight());
            }
            Err((why, _)) if why.is_queue_full() && !self.route.is_hedged() => {
                if let Some(rider) = state.lane.withdraw(number) {
                    rider.shed(NotTaken::Overloaded);
                }
            }
            Err((why, _)) => self.failed(state, number, None, why),
        }
    }

    fn write(self: &Arc<Self>, state: &State, number: Number) {
        let (Some(spool), Some(rider)) = (&self.route.spool, state.lane.rider(number)) else {
            return;
        };
        let row = Row {
            number,
            record: Arc::clone(&rider.record),
        };
        spool.write(
            &self.key,
            row,
            SpoolTicket {
                cell: Arc::clone(self),
                number,
            },
        );
    }

    fn write_all(self: &Arc<Self>, state: &State, numbers: Vec<Number>) {
        for number in numbers {
            self.write(state, number);
        }
    }

    fn strike(&self, number: Number) {
        if let Some(spool) = &self.route.spool {
            spool.strike(&self.key, number);
        }
    }

    fn acknowledged(&self, number: Number) {
        let mut state = self.lock();
        state.pace.acknowledged();
        self.route.delivered();
        let Some(done) = state.lane.acknowledged(number) else {
            return;
        };
        let is_direct = state.lane.is_direct();
        self.done(state, number, done);
        if !is_direct {
            self.route.wake();
        }
    }

    fn done(&self, mut state: MutexGuard<'_, State>, number: Number, done: Done<Rider>) {
        state.leaves(&done.rider);
        // Whoever is told may take another lane's lock.
        drop(state);
        if done.strike {
            self.strike(number);
        }
        done.rider.delivered(&self.route.metrics);
    }

    fn failed(
        self: &Arc<Self>,
        state: &mut State,
        number: Number,
        generation: Option<Generation>,
        why: Failed,
    ) {
        debug!(topic = &*self.key.topic, error = %why, "a record was not delivered");
        let unfit = why.is_about_size_or_form();
        match state.lane.failed(number, generation, unfit) {
            Failure::Known => {}
            Failure::Write => self.write(state, number),
            Failure::Unfit => self.route.unfit(Arc::clone(self), number, why.code()),
            Failure::Dropped(rider) => rider.failed(NotTaken::Deadline, &self.route.metrics),
        }
        if unfit {
            state.pace.acknowledged();
        } else if state.lane.in_flight() == 0 {
            state.pace.failed();
        }
        self.route.trouble(why);
    }

    /// A report has waited for Kafka as long as it is to.
    pub(super) fn stall(self: &Arc<Self>, number: Number) {
        let mut state = self.lock();
        let unwritten = state.lane.stall(number);
        self.write_all(&state, unwritten);
    }

    /// Its sender is told 503, unless it has been answered.
    pub(super) fn give_up(&self, number: Number) -> Result<(), ()> {
        let mut state = self.lock();
        if let Some(rider) = state.lane.give_up(number)? {
            drop(state);
            rider.failed(NotTaken::Deadline, &self.route.metrics);
        } else if let Some(rider) = state.lane.rider_mut(number) {
            rider.refuse(&self.route.metrics);
        }
        Ok(())
    }

    pub(super) fn sender_gone(&self, number: Number) {
        if let Some(rider) = self.lock().lane.sender_gone(number) {
            rider.sender_gone();
        }
    }

    fn written(&self, number: Number, result: Result<(), NotWritten>) {
        let mut state = self.lock();
        if result.is_err() {
            let rider = state.lane.not_written(number);
            drop(state);
            if let Some(rider) = rider {
                rider.failed(NotTaken::NoRoom, &self.route.metrics);
            }
            return;
        }
        let is_idle = state.lane.in_flight() == 0;
        match state.lane.written(number) {
            Written::Strike => {
                drop(state);
                self.strike(number);
            }
            Written::Stays => {
                let waiter = state.lane.rider_mut(number).and_then(Rider::waiter);
                drop(state);
                if let Some(waiter) = waiter {
                    waiter.tell(Ok(Keeper::Spool));
                }
            }
            Written::Rests(rider) => {
                drop(state);
                rider.rests(&self.route.metrics);
            }
        }
        if is_idle {
            self.route.wake();
        }
    }

    /// The rejected topic has what this one refuses, or it does not.
    pub(super) fn settle_elsewhere(
        self: &Arc<Self>,
        number: Number,
        code: &'static str,
        answer: Answer,
    ) {
        match answer {
            Ok(Keeper::Kafka) => {
                let mut state = self.lock();
                if let Some(done) = state.lane.settled_elsewhere(number) {
                    self.done(state, number, done);
                }
            }
            Ok(Keeper::Spool) => {
                let mut state = self.lock();
                if let Some(Done { rider, strike }) = state.lane.settled_elsewhere(number) {
                    state.leaves(&rider);
                    drop(state);
                    // It is in the spool twice now; one of them is enough.
                    if strike {
                        self.strike(number);
                    }
                    rider.rests(&self.route.metrics);
                }
            }
            Err(NotTaken::Unfit) => self.park(number),
            Err(_) if self.route.is_hedged() => self.unfit_again(number, code),
            Err(why) => {
                let rider = self.lock().lane.withdraw(number);
                if let Some(rider) = rider {
                    rider.failed(why, &self.route.metrics);
                }
            }
        }
    }

    /// The rejected topic can't take it now.
    pub(super) fn unfit_again(self: &Arc<Self>, number: Number, code: &'static str) {
        self.route.unfit_again(Arc::clone(self), number, code);
    }

    /// Kafka refuses it on this topic, and it has nowhere else to go.
    pub(super) fn park(self: &Arc<Self>, number: Number) {
        let mut state = self.lock();
        let Some(rider) = state.lane.rider(number) else {
            return;
        };
        let comes_from_elsewhere = rider.is_on_its_way_from_elsewhere();
        let Some(spool) = self.route.spool.as_ref().filter(|_| !comes_from_elsewhere) else {
            let rider = state.lane.withdraw(number);
            drop(state);
            if let Some(rider) = rider {
                rider.failed(NotTaken::Unfit, &self.route.metrics);
            }
            return;
        };
        warn!(
            topic = &*self.key.topic,
            "neither topic takes a report: it is parked in the spool; `koobridge spool export` shows it"
        );
        let parked = state.lane.park(number);
        if matches!(parked, Parked::Waits { write: true }) {
            self.write(&state, number);
        }
        spool.park(&self.key, number);
        if let Parked::Rests(rider) = parked {
            state.leaves(&rider);
            drop(state);
            rider.rests(&self.route.metrics);
        }
    }

    /// The record of a report that Kafka refuses.
    pub(super) fn record(&self, number: Number) -> Option<Arc<Record>> {
        self.lock()
            .lane
            .rider(number)
            .map(|rider| Arc::clone(&rider.record))
    }

    /// Hands over what is due, as far as it may be; says when to come back, where time decides.
    pub(super) fn drain(self: &Arc<Self>) -> Option<Instant> {
        loop {
            let mut state = self.lock();
            for _ in 0..AT_ONCE {
                match state.lane.next(WINDOW) {
                    Next::Wait => return None,
                    Next::Send { number, is_probe } => {
                        if is_probe && let Some(later) = state.pace.not_yet() {
                            return Some(later);
                        }
                        self.hand_over(&mut state, number);
                    }
                    Next::Read(from) => {
                        let proven = state.lane.is_proven();
                        let room = self.route.memory_per_lane();
                        if proven && state.read_back >= room {
                            state.lane.not_read();
                            return None;
                        }
                        drop(state);
                        // A probe is one report: no more is read for it.
                        self.read(from, if proven { room / 2 } else { 1 })?;
                        break;
                    }
                }
            }
        }
    }

    /// Reads what is due back from the spool; `None` where that worked.
    fn read(&self, from: Number, bytes: usize) -> Option<()> {
        let spool = self.route.spool.as_ref()?;
        let found = spool.read(&self.key, from, bytes);
        let mut state = self.lock();
        match found {
            Ok((rows, is_all)) => {
                state.read_back += rows.iter().map(|row| row.record.size()).sum::<usize>();
                let riders = rows
                    .into_iter()
                    .map(|Row { number, record }| (number, Rider::from_spool(record)));
                let known = state.lane.read(riders.collect(), is_all);
                state.read_back -= known.iter().map(|rider| rider.record.size()).sum::<usize>();
                Some(())
            }
            Err(error) => {
                state.lane.not_read();
                state.pace.failed();
                warn!(%error, "can't read from the spool; trying again");
                None
            }
        }
    }

    /// Nothing is handed over from here on; `true` where `generation` has reported everything.
    pub(super) fn halt(&self) {
        self.lock().lane.halt();
    }

    pub(super) fn has_landed(&self, generation: Generation) -> bool {
        self.lock().lane.ledger(generation).is_empty()
    }

    /// Counts what the producer of `generation` has not reported on as failed, and goes on.
    pub(super) fn resume(self: &Arc<Self>, generation: Generation) -> usize {
        let mut state = self.lock();
        let unsure = state.lane.ledger(generation);
        let count = unsure.len();
        for number in unsure {
            self.failed(&mut state, number, Some(generation), Failed::UNSURE);
        }
        state.lane.resume();
        state.pace.acknowledged();
        count
    }

    /// Whether Kafka has not acknowledged anything for so long, though something is in flight.
    pub(super) fn is_stuck(&self, patience: Duration) -> bool {
        let state = self.lock();
        state.lane.in_flight() > 0 && state.pace.silence() >= patience
    }

    /// Has everything that only the memory holds written.
    pub(super) fn save(self: &Arc<Self>) {
        let mut state = self.lock();
        let unwritten = state.lane.unwritten();
        self.write_all(&state, unwritten);
    }

    /// How many reports only the memory holds.
    pub(super) fn unwritten(&self) -> u64 {
        self.lock().lane.count_unwritten() as u64
    }

    /// Has the next probe sent at once.
    pub(super) fn hurry(&self) {
        self.lock().pace.acknowledged();
    }
}

impl Ticket {
    /// Takes the delivery report. Runs on the producer's polling thread.
    pub(super) fn settle(self, result: Result<(), Failed>) {
        match result {
            Ok(()) => self.cell.acknowledged(self.number),
            Err(why) => {
                let mut state = self.cell.lock();
                self.cell
                    .failed(&mut state, self.number, Some(self.generation), why);
            }
        }
    }
}

impl SpoolTicket {
    /// Takes the spool's answer. Runs on the spool's thread.
    pub(super) fn settle(self, result: Result<(), NotWritten>) {
        self.cell.written(self.number, result);
    }
}
