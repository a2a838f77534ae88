//! A partition of a topic: it owns a lane and executes the lane's effects. Nothing here blocks. `draining`, which the
//! maintenance thread calls, can block.

mod draining;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{debug, warn};

use super::backoff::Backoff;
use super::given_up::Reason;
use super::lane::{Effect, Effects, Generation, Input, Lane, Mode, Number, RejectionCode};
use super::limits::ReadBackBytes;
use super::pending::{Pending, PublishError};
use super::producers::Producers;
use super::shared::{Shared, SpoolTicket, Ticket};
use crate::contract::Record;
use crate::kafka::{Acknowledged, DeliveryError, partition_for};
use crate::spool::{LaneKey, Mark, WriteError};
use crate::telemetry::Throttle;

/// The longest pause between two probes, with a spool and without one. Without one, senders wait for the next probe.
const LONGEST_PAUSE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(1)];

static REJECTED: Throttle = Throttle::new();
static QUARANTINED: Throttle = Throttle::new();

pub(super) struct Partition {
    number: u32,
    key: LaneKey,
    inbox: LaneKey,
    shared: Arc<Shared>,
    state: Mutex<State>,
    read_back: Arc<ReadBackBytes>,
}

struct State {
    lane: Lane<Pending>,
    /// The number of its producer; `None` until it is bound to one.
    producer: Option<usize>,
    effects: Effects<Pending>,
    backoff: Backoff,
    /// The last error since Kafka has acknowledged a report.
    last_error: Option<Reason>,
}

impl State {
    fn handle(&mut self, input: Input<Pending>) {
        self.lane.handle(input, &mut self.effects);
    }

    fn is_awaited(&self, number: Number) -> bool {
        self.lane.report(number).is_some_and(Pending::is_awaited)
    }
}

impl Partition {
    pub(super) fn new(number: u32, lane: Lane<Pending>, shared: Arc<Shared>) -> Self {
        let longest = LONGEST_PAUSE[usize::from(shared.spool.is_none())];
        let state = State {
            lane,
            producer: None,
            effects: Effects::new(),
            backoff: Backoff::new(longest),
            last_error: None,
        };
        Self {
            number,
            key: shared.key(Some(number)),
            inbox: shared.key(None),
            state: Mutex::new(state),
            read_back: Arc::default(),
            shared,
        }
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Returns the number of the producer that the partition is bound to, if it is bound.
    pub(super) fn producer(&self) -> Option<usize> {
        self.state.lock().producer
    }

    /// Binds the partition to a producer if it is not bound yet.
    pub(super) fn bind(&self, producers: &Producers) {
        let mut state = self.state.lock();
        state
            .producer
            .get_or_insert_with(|| producers.bind(self.number));
    }

    /// Returns the result of `read` on the locked lane.
    pub(super) fn lane<T>(&self, read: impl FnOnce(&Lane<Pending>) -> T) -> T {
        read(&self.state.lock().lane)
    }

    /// Returns whether reports are in flight and Kafka has acknowledged nothing for `patience`.
    pub(super) fn is_stuck(&self, patience: Duration) -> bool {
        let state = self.state.lock();
        state.lane.in_flight() > 0 && state.backoff.silence() >= patience
    }

    /// Takes a report from a sender or from the redirects. Returns its number.
    pub(super) fn admit(&self, report: Pending, producers: &Producers) -> Number {
        let mut state = self.state.lock();
        let is_busy = state.lane.mode() == Mode::Direct && state.lane.in_flight() > 0;
        if is_busy && self.shared.is_crowded() {
            state.handle(Input::SpillAll);
        }
        // A redirected report is written at once: its sender waits in the other topic, so no timeout here spills it.
        let must_write = report.is_redirected();
        let number = self.shared.next_number();
        state.handle(Input::Admit {
            number,
            report,
            must_write,
        });
        self.execute(&mut state, Some(producers));
        if state.lane.mode() != Mode::Direct && self.shared.spool.is_none() {
            self.shared.wake();
        }
        number
    }

    /// Gives the lane an input that does not send reports.
    pub(super) fn feed(&self, input: Input<Pending>) {
        let mut state = self.state.lock();
        state.handle(input);
        self.execute(&mut state, None);
    }

    /// Handles the delivery report of a record that Kafka has.
    pub(super) fn acknowledged(&self, number: Number, position: Acknowledged) {
        let mut state = self.state.lock();
        state.backoff.reset();
        state.last_error = None;
        if let Some(producer) = state.producer {
            self.shared.delivered(producer);
        }
        state.handle(Input::Acknowledged(number));
        let delivered = self.execute(&mut state, None);
        let drains = state.lane.mode() != Mode::Direct;
        drop(state);
        if let Some(report) = delivered {
            report.delivered(position, &self.shared.metrics);
        }
        if drains {
            self.shared.wake();
        }
    }

    /// Handles the delivery report of a record that was not delivered.
    pub(super) fn failed(&self, number: Number, generation: Generation, why: DeliveryError) {
        let mut state = self.state.lock();
        // Ignores a late report of a replaced producer: its record already counts as failed.
        if state.lane.is_in_flight(number, generation) {
            self.fail(&mut state, number, Some(generation), why);
            self.execute(&mut state, None);
        }
    }

    /// Handles a report that was not delivered, or not even sent (`generation` is `None`).
    fn fail(
        &self,
        state: &mut State,
        number: Number,
        generation: Option<Generation>,
        why: DeliveryError,
    ) {
        debug!(topic = self.shared.name(), partition = self.number, error = %why, "a record was not delivered");
        state.last_error = Some(Reason::Kafka(why));
        let rejection = why.rejection();
        if why.is_too_large()
            && state.lane.is_sent_alone(number)
            && !self.no_longer_exists()
            && let Some(report) = state.lane.report(number)
        {
            self.shared.rejected_size.learn(report.record.size());
        }
        let is_awaited = state.is_awaited(number);
        state.handle(Input::Failed {
            number,
            generation,
            rejection,
            is_awaited,
        });
        if rejection.is_some() {
            state.backoff.retry_now();
        } else if state.lane.in_flight() == 0 {
            state.backoff.failed();
        }
        self.shared.failed(state.producer.zip(generation), why);
    }

    /// Counts all records in flight with the producer of `generation` or an earlier one as failed, and resumes the
    /// lane. Returns their number.
    pub(super) fn resume(&self, generation: Generation) -> usize {
        let mut state = self.state.lock();
        let unsure = state.lane.in_flight_of(generation);
        for number in &unsure {
            self.fail(&mut state, *number, Some(generation), DeliveryError::PURGED);
        }
        state.handle(Input::Resume);
        self.execute(&mut state, None);
        state.backoff.reset();
        unsure.len()
    }

    /// Lets the next probe be sent at once.
    pub(super) fn retry_now(&self) {
        self.state.lock().backoff.retry_now();
    }

    /// Handles the spool's answer for a row of the lane or of the inbox.
    pub(super) fn written(
        &self,
        number: Number,
        is_in_inbox: bool,
        result: Result<(), WriteError>,
    ) {
        let mut state = self.state.lock();
        let is_awaited = state.is_awaited(number);
        let Some(report) = state.lane.report_mut(number) else {
            if result.is_ok() {
                self.delete(is_in_inbox, number);
            }
            return;
        };
        report.is_in_inbox = is_in_inbox && result.is_ok();
        match result {
            Ok(()) => state.handle(Input::Written(number)),
            Err(why) => {
                state.last_error = Some(why.into());
                state.handle(Input::WriteError { number, is_awaited });
            }
        }
        self.execute(&mut state, None);
        // During a pause, the maintenance thread already knows when the next probe is due.
        let waits = state.lane.next_is_probe() && state.backoff.waits_until().is_some();
        if state.lane.in_flight() == 0 && !waits {
            self.shared.wake();
        }
    }

    /// Executes the effects of the lane in their order. Returns the delivered report, so that its sender is answered
    /// after the lock is released.
    fn execute(&self, state: &mut State, producers: Option<&Producers>) -> Option<Pending> {
        let mut delivered = None;
        while let Some(effect) = state.effects.pop_front() {
            match effect {
                Effect::Send(number) => {
                    self.send(
                        state,
                        number,
                        producers.expect("only inputs with producers send reports"),
                    );
                }
                Effect::Write(number) => self.write(state, number),
                Effect::ReadBack { .. } => unreachable!("`drain` reads back"),
                Effect::Kept(number) => self.kept(state, number),
                Effect::Delivered {
                    number,
                    mut report,
                    is_written,
                } => {
                    if is_written {
                        self.delete(report.is_in_inbox, number);
                    }
                    self.shared.delete_origin(&mut report);
                    delivered = Some(report);
                }
                Effect::Spooled {
                    number,
                    report,
                    is_quarantined,
                } => {
                    let lane = self.lane_key(report.is_in_inbox);
                    if is_quarantined {
                        self.quarantine(lane, number);
                    }
                    self.shared.spooled(lane, number, report);
                }
                Effect::Rejected {
                    number,
                    report,
                    reason,
                    is_written,
                } => {
                    self.rejected(state, number, report, reason, is_written);
                }
                Effect::Drop(report) => {
                    self.shared.dropped(report, state.last_error);
                }
            }
        }
        delivered
    }

    /// Gives a record to the producer. A record that the producer does not accept has failed.
    fn send(&self, state: &mut State, number: Number, producers: &Producers) {
        let report = state.lane.report(number);
        let record = Arc::clone(&report.expect("a sent report is in memory").record);
        let rejected_size = &self.shared.rejected_size;
        if rejected_size.is_known() && rejected_size.covers(record.size()) {
            return self.fail(state, number, None, DeliveryError::TOO_LARGE);
        }
        let producer = state
            .producer
            .get_or_insert_with(|| producers.bind(self.number));
        let current = producers.get(*producer).load();
        let generation = current.generation;
        let ticket = Ticket {
            partition: self.number,
            number,
            generation,
            sent: Instant::now(),
        };
        let topic = self.shared.name();
        match current
            .producer
            .send(topic, self.target(&record), &record, ticket)
        {
            Ok(()) => {
                state.handle(Input::Sent { number, generation });
                state.backoff.sent(state.lane.in_flight());
            }
            Err((why, _)) if why.is_queue_full() && self.shared.spool.is_none() => {
                if let Some(report) = state.lane.withdraw(number) {
                    report.shed(&self.shared.metrics);
                }
            }
            Err((why, _)) => self.fail(state, number, None, why),
        }
    }

    /// Returns whether the topic, created again with fewer partitions, lacks this one.
    fn no_longer_exists(&self) -> bool {
        let partitions = self.shared.known_partitions();
        partitions.is_some_and(|count| self.number >= count)
    }

    /// Returns the partition to send to: another one if this one no longer exists.
    fn target(&self, record: &Record) -> u32 {
        match (self.shared.known_partitions(), &record.key) {
            (Some(count), Some(key)) if self.number >= count => {
                partition_for(key.as_bytes(), count)
            }
            (Some(count), None) => self.number % count,
            _ => self.number,
        }
    }

    fn write(&self, state: &State, number: Number) {
        let (Some(spool), Some(report)) = (&self.shared.spool, state.lane.report(number)) else {
            return;
        };
        let ticket = SpoolTicket {
            topic: self.shared.topic,
            partition: Some(self.number),
            number,
        };
        spool.write(&self.key, number, Arc::clone(&report.record), ticket);
    }

    /// Returns the spool's key of the lane or inbox that has a report's row.
    fn lane_key(&self, is_in_inbox: bool) -> &LaneKey {
        if is_in_inbox { &self.inbox } else { &self.key }
    }

    fn delete(&self, is_in_inbox: bool, number: Number) {
        if let Some(spool) = &self.shared.spool {
            spool.delete(self.lane_key(is_in_inbox), number);
        }
    }

    fn kept(&self, state: &mut State, number: Number) {
        let Some(report) = state.lane.report_mut(number) else {
            return;
        };
        self.shared.delete_origin(report);
        if let (Some(mark), Some(spool)) = (report.kept(), &self.shared.spool) {
            spool.mark(self.lane_key(report.is_in_inbox), number, mark);
        }
    }

    fn rejected(
        &self,
        state: &State,
        number: Number,
        report: Pending,
        reason: RejectionCode,
        is_written: bool,
    ) {
        let Some(redirects) = &self.shared.redirects else {
            let shared = &self.shared;
            return shared.give_up(report, PublishError::Rejected, state.last_error);
        };
        self.shared.metrics.report_rejected(reason);
        if let Some(reports) = REJECTED.count() {
            warn!(
                topic = self.shared.name(),
                reason, reports, "Kafka rejects these reports: they go to the rejected topic"
            );
        }
        let origin = is_written.then(|| (self.lane_key(report.is_in_inbox).clone(), number));
        redirects.add(report.redirect(reason, origin));
    }

    fn quarantine(&self, lane: &LaneKey, number: Number) {
        if let Some(reports) = QUARANTINED.count() {
            warn!(
                topic = self.shared.name(),
                reports,
                "no topic accepts these reports: they are quarantined in the spool; to see them, run `koobridge spool export`"
            );
        }
        if let Some(spool) = &self.shared.spool {
            spool.mark(lane, number, Mark::Quarantined);
        }
    }
}
