//! A lane at work: what happens to a report is told to its lane, and what the lane decides is done.
//! Everything here is quick; what can block is the keeper's.

mod elsewhere;
mod keeping;

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

use tracing::debug;

use super::NotTaken;
use super::ceilings::Place;
use super::lane::{Done, Failure, Generation, Lane, Number, Step, Written};
use super::pace::Pace;
use super::postbox::Reply;
use super::receipt::Receipt;
use super::rider::{KeptBy, Origin, Rider, Waiter};
use super::route::Route;
use crate::contract::Record;
use crate::kafka::Failed;
use crate::spool::{LaneKey, NotWritten};

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
            self.read_back = self.read_back.saturating_sub(rider.record.footprint());
        }
    }
}

/// What librdkafka holds for each record until its delivery report.
pub(super) struct Ticket {
    cell: Arc<Cell>,
    number: Number,
    generation: Generation,
    handed_over: Instant,
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
        self.state.lock()
    }

    pub(super) fn is_direct(&self) -> bool {
        self.lock().lane.is_direct()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lock().lane.is_idle()
    }

    pub(super) fn is_clear(&self) -> bool {
        self.lock().lane.is_clear()
    }

    /// Takes a report in; the receipt tells what became of it.
    pub(super) fn admit(self: &Arc<Self>, record: Arc<Record>, place: Place) -> Receipt {
        self.admit_to(self.lock(), record, place)
    }

    /// The same for a report that comes while the lane keeps what came before; else its
    /// place is given back.
    pub(super) fn admit_behind(
        self: &Arc<Self>,
        record: &Arc<Record>,
        place: Place,
    ) -> Result<Receipt, Place> {
        let state = self.lock();
        if state.lane.is_direct() {
            return Err(place);
        }
        Ok(self.admit_to(state, Arc::clone(record), place))
    }

    fn admit_to(
        self: &Arc<Self>,
        state: MutexGuard<'_, State>,
        record: Arc<Record>,
        place: Place,
    ) -> Receipt {
        let (reply, answered) = Reply::channel();
        let rider = Rider::new(record, Some(place), Some(Waiter::Sender(reply)));
        let number = self.take_in(state, rider);
        Receipt::new(answered, Arc::clone(self), number, self.route.stall_after)
    }

    /// Takes in what a lane of another topic could not deliver.
    pub(super) fn admit_from(self: &Arc<Self>, record: Arc<Record>, origin: Origin) {
        let rider = Rider::new(record, None, Some(Waiter::Origin(origin)));
        self.take_in(self.lock(), rider);
    }

    /// The same while the lane keeps what came before; else whoever waits is given back.
    pub(super) fn admit_from_behind(
        self: &Arc<Self>,
        record: &Arc<Record>,
        origin: Origin,
    ) -> Result<(), Origin> {
        let state = self.lock();
        if state.lane.is_direct() {
            return Err(origin);
        }
        let waiter = Some(Waiter::Origin(origin));
        self.take_in(state, Rider::new(Arc::clone(record), None, waiter));
        Ok(())
    }

    fn take_in(self: &Arc<Self>, mut state: MutexGuard<'_, State>, rider: Rider) -> Number {
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
        if self.route.refused.covers(record.size()) {
            return self.failed(state, number, None, Failed::TOO_LARGE);
        }
        let partition = self.route.partition(&self.key, &record);
        let generation = current.generation;
        let ticket = Ticket {
            cell: Arc::clone(self),
            number,
            generation,
            handed_over: Instant::now(),
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
        spool.write(
            &self.key,
            number,
            Arc::clone(&rider.record),
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
            spool.delete(&self.key, number);
        }
    }

    fn acknowledged(&self, number: Number) {
        let mut state = self.lock();
        state.pace.acknowledged();
        self.route.delivered();
        let Some(done) = state.lane.acknowledged(number) else {
            return;
        };
        // The last report without a place of its own is what all others wait for.
        let is_awaited = !state.lane.is_direct() || self.key.partition.is_none();
        self.done(state, number, done);
        if is_awaited {
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
            Failure::Unfit => {
                self.route.metrics.report_rejected(why.code());
                if let Some(rider) = state.lane.rider(number)
                    && why.is_too_large()
                    && generation.is_some()
                {
                    self.route.refused.learn(rider.record.size());
                }
                self.route.unfit(Arc::clone(self), number, why.code());
            }
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
                    waiter.tell(Ok(KeptBy::Spool));
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
}

impl Ticket {
    /// Takes the delivery report. Runs on the producer's polling thread.
    pub(super) fn settle(self, result: Result<(), Failed>) {
        match result {
            Ok(()) => {
                let metrics = &self.cell.route.metrics;
                metrics.acknowledged(self.handed_over.elapsed());
                self.cell.acknowledged(self.number);
            }
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
