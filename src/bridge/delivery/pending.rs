//! A pending report: its record, its permit, and the sender that waits for it. Fates are counted here, each once.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use parking_lot::Mutex;

use super::limits::{Permit, ReadBack, ReadBackShare};
use super::replies::Replies;
use crate::bridge::metrics::{Metrics, ReportFate};
use crate::contract::{Record, refused_by_kafka};
use crate::kafka::Acknowledged;
use crate::spool::{LaneKey, Mark, Row};

/// Proof that a report is kept: every in-sync replica has it, at least `min.insync.replicas` of them, or the spool
/// has it, fsynced. Only a delivery report or an fsync makes one, and only with one is a sender told 2xx.
#[derive(Debug)]
pub struct Promised(Kept);

/// What keeps a report, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) by: KeptBy,
    /// Its place on the topic that it was sent to; `None` if the spool has it, or another topic.
    pub(super) place: Option<Acknowledged>,
}

/// The place that keeps a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeptBy {
    Kafka,
    Spool,
}

/// Why a report is not promised to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// A limit is reached, or librdkafka's queue is full.
    Overloaded,
    /// There is no topic to send to.
    NoTopic,
    /// Kafka cannot take it now, and neither can the spool.
    NoRoom,
    /// Both topics refuse the record for its size, form or timestamp, and there is no spool.
    Refused,
    /// It was not kept by the deadline; the record may still arrive.
    Deadline,
}

/// What a sender is told.
pub(super) type Reply = Result<Kept, NotTaken>;

/// A report in memory.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) record: Arc<Record>,
    pub(super) sender: Arc<Sender>,
    /// Held until the fate is known or only the spool keeps the report.
    share: Share,
    /// The row that keeps it until the rejected topic has it.
    pub(super) origin: Option<(LaneKey, u64)>,
    /// Whether its row is in the inbox.
    pub(super) is_in_inbox: bool,
    is_redirected: bool,
}

/// What a report takes of the memory; given back when dropped.
#[derive(Debug)]
enum Share {
    /// Of the limits on what is in flight.
    Limits(#[expect(dead_code, reason = "it is only held")] Permit),
    /// Of its lane's room for what is read back.
    ReadBack(#[expect(dead_code, reason = "it is only held")] ReadBackShare),
}

/// The sender of a report.
#[derive(Debug)]
pub(super) struct Sender {
    state: Mutex<State>,
    replies: Option<Arc<Replies>>,
}

#[derive(Debug)]
enum State {
    Waiting(Option<Waker>),
    /// The report goes with the answer if nothing else keeps it in memory: the sender's thread has allocated it, and
    /// takes less time to free it than another thread.
    Told(Reply, Option<(Arc<Record>, Share)>),
    /// The deadline came first: the sender was told 503.
    Refused,
    /// The sender has hung up.
    Gone,
}

impl Promised {
    pub(super) fn by(kept: Kept) -> Self {
        Self(kept)
    }

    /// Returns whether the spool keeps it, and Kafka is still to get it.
    pub fn is_spooled(&self) -> bool {
        self.0.by == KeptBy::Spool
    }

    /// Returns its place on the topic that it was sent to; `None` if the spool has it, or the rejected topic instead.
    pub fn place(&self) -> Option<Acknowledged> {
        self.0.place
    }
}

impl Kept {
    pub(super) const BY_SPOOL: Self = Self {
        by: KeptBy::Spool,
        place: None,
    };
}

impl Pending {
    /// A report whose sender waits on this thread's runtime.
    pub(super) fn new(record: Record, permit: Permit) -> Self {
        Self {
            record: Arc::new(record),
            sender: Sender::new(State::Waiting(None)),
            share: Share::Limits(permit),
            origin: None,
            is_in_inbox: false,
            is_redirected: false,
        }
    }

    /// A report from the spool.
    pub(super) fn read_back(row: Row, room: &Arc<ReadBack>, metrics: &Metrics) -> Self {
        let share = Share::ReadBack(room.take(row.record.footprint()));
        let state = match row.mark {
            Some(Mark::Refused) => {
                metrics.reports_unsure.inc();
                State::Refused
            }
            Some(Mark::Gone) => State::Gone,
            Some(Mark::Quarantined) | None => State::Told(Ok(Kept::BY_SPOOL), None),
        };
        Self {
            record: row.record,
            sender: Sender::new(state),
            share,
            origin: None,
            is_in_inbox: row.is_in_inbox,
            is_redirected: false,
        }
    }

    /// Makes it a report for the rejected topic. `origin` is the row that keeps it meanwhile.
    pub(super) fn redirect(self, reason: &'static str, origin: Option<(LaneKey, u64)>) -> Self {
        Self {
            record: Arc::new(refused_by_kafka(&self.record, reason)),
            origin,
            is_in_inbox: false,
            is_redirected: true,
            ..self
        }
    }

    pub(super) fn is_redirected(&self) -> bool {
        self.is_redirected
    }

    /// Returns whether its sender still waits for an answer.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(*self.sender.state.lock(), State::Waiting(_))
    }

    /// The spool has it too. It stays in memory. Returns how its row is to be marked.
    pub(super) fn kept(&self) -> Option<Mark> {
        let mut mark = None;
        self.sender
            .tell(Ok(Kept::BY_SPOOL), None, |fate| mark = mark_of(fate));
        mark
    }

    /// Kafka has it.
    pub(super) fn delivered(self, place: Acknowledged, metrics: &Metrics) {
        let kept = Kept {
            by: KeptBy::Kafka,
            place: (!self.is_redirected).then_some(place),
        };
        self.leave(Ok(kept), metrics, |fate| {
            metrics.report_settled(fate);
        });
    }

    /// From here on only the spool keeps it. Returns how its row is to be marked.
    pub(super) fn spooled(self, metrics: &Metrics) -> Option<Mark> {
        let mut mark = None;
        self.leave(Ok(Kept::BY_SPOOL), metrics, |fate| mark = mark_of(fate));
        mark
    }

    /// Nothing keeps it from here on.
    pub(super) fn failed(self, why: NotTaken, metrics: &Metrics) {
        self.leave(Err(why), metrics, |_| {
            metrics.report_settled(ReportFate::Failed);
        });
    }

    /// It was not admitted, and has no fate.
    pub(super) fn shed(self, metrics: &Metrics) {
        self.leave(Err(NotTaken::Overloaded), metrics, |_| ());
    }

    /// It leaves the memory. A sender that is told finds it counted.
    fn leave(self, answer: Reply, metrics: &Metrics, count: impl FnOnce(ReportFate)) {
        let Self {
            sender,
            record,
            share,
            ..
        } = self;
        sender.tell(answer, Some((record, share)), |fate| {
            if fate == ReportFate::DeliveredLate {
                metrics.reports_unsure.dec();
            }
            count(fate);
        });
    }
}

/// Returns how the row of a report is to be marked that has this fate if Kafka has it.
fn mark_of(fate: ReportFate) -> Option<Mark> {
    match fate {
        ReportFate::DeliveredLate => Some(Mark::Refused),
        ReportFate::SenderGone => Some(Mark::Gone),
        ReportFate::Delivered | ReportFate::Failed => None,
    }
}

impl Sender {
    fn new(state: State) -> Arc<Self> {
        let replies = matches!(state, State::Waiting(_)).then(Replies::here);
        Arc::new(Self {
            state: Mutex::new(state),
            replies: replies.flatten(),
        })
    }

    /// Waits for the answer.
    pub(super) async fn answer(&self) -> Reply {
        poll_fn(|context| match &mut *self.state.lock() {
            State::Waiting(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            State::Told(answer, report) => {
                drop(report.take());
                Poll::Ready(*answer)
            }
            State::Refused | State::Gone => Poll::Ready(Err(NotTaken::Deadline)),
        })
        .await
    }

    /// Tells a sender that still waits. Before that `count` runs, with the fate of the report if Kafka has it: under
    /// the lock, so that no sender sees its answer earlier.
    fn tell(
        &self,
        answer: Reply,
        report: Option<(Arc<Record>, Share)>,
        count: impl FnOnce(ReportFate),
    ) {
        let mut state = self.state.lock();
        let (fate, waker) = match &mut *state {
            State::Waiting(waker) => (ReportFate::Delivered, waker.take()),
            State::Told(..) => (ReportFate::Delivered, None),
            State::Refused => (ReportFate::DeliveredLate, None),
            State::Gone => (ReportFate::SenderGone, None),
        };
        count(fate);
        if matches!(*state, State::Waiting(_)) {
            *state = State::Told(answer, report);
        }
        drop(state);
        match (waker, &self.replies) {
            (Some(waker), Some(replies)) => replies.add(waker),
            (Some(waker), None) => waker.wake(),
            (None, _) => {}
        }
    }

    /// The deadline has come. Returns whether that is the answer: there may be one already.
    pub(super) fn refuse(&self, metrics: &Metrics) -> bool {
        self.end(State::Refused, || {
            metrics.reports_unsure.inc();
        })
    }

    /// The sender waits no longer.
    pub(super) fn hang_up(&self) {
        self.end(State::Gone, || ());
    }

    /// Ends the wait for an answer, and counts that: before the report can have a fate. Returns whether there was none.
    fn end(&self, end: State, count: impl FnOnce()) -> bool {
        let mut state = self.state.lock();
        let is_first = matches!(*state, State::Waiting(_));
        if is_first {
            count();
            *state = end;
        }
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::{InFlight, InFlightLimits};
    use super::*;

    const PLACE: Acknowledged = Acknowledged {
        partition: 1,
        offset: Some(7),
    };

    fn pending() -> Pending {
        let limits = Arc::new(InFlightLimits::new(InFlight {
            reports: 1,
            bytes: 1 << 20,
        }));
        let record = Record {
            key: None,
            headers: Vec::new(),
            value: Vec::new(),
            timestamp: 0,
        };
        Pending::new(record, limits.report(1).expect("a permit"))
    }

    fn fates(metrics: &Metrics) -> Vec<String> {
        let text = metrics.text();
        let fates = text
            .lines()
            .filter(|line| line.starts_with("koobridge_report_fates_total"));
        let counted = fates.filter(|line| !line.ends_with(" 0"));
        counted
            .map(|line| line["koobridge_report_fates_total".len()..].to_owned())
            .collect()
    }

    /// However often it was written and read back meanwhile.
    #[test]
    fn a_report_has_the_fate_that_its_sender_saw() {
        for (end, mark, fate) in [
            ("answered", None, "delivered"),
            ("refused", Some(Mark::Refused), "delivered_late"),
            ("gone", Some(Mark::Gone), "sender_gone"),
        ] {
            let metrics = Metrics::new();
            let report = pending();
            let record = Arc::clone(&report.record);
            match end {
                "refused" => assert!(report.sender.refuse(&metrics)),
                "gone" => report.sender.hang_up(),
                _ => {}
            }
            assert_eq!(report.is_awaited(), mark.is_none());
            assert_eq!(report.kept(), mark);
            assert_eq!(report.spooled(&metrics), mark, "{end}");
            assert_eq!(metrics.reports_unsure.get(), 0);
            let row = Row {
                number: 1,
                record,
                is_in_inbox: false,
                mark,
            };
            let read_back = Pending::read_back(row, &Arc::default(), &metrics);
            assert_eq!(metrics.reports_unsure.get(), i64::from(end == "refused"));
            read_back.delivered(PLACE, &metrics);
            assert_eq!(fates(&metrics), [format!("{{fate=\"{fate}\"}} 1")]);
            assert_eq!(metrics.reports_unsure.get(), 0);
        }
    }

    #[tokio::test]
    async fn the_first_end_counts_for_the_sender() {
        let metrics = Metrics::new();
        let report = pending();
        let sender = Arc::clone(&report.sender);
        assert_eq!(report.kept(), None);
        assert!(!sender.refuse(&metrics));
        sender.hang_up();
        assert_eq!(sender.answer().await, Ok(Kept::BY_SPOOL));
        report.failed(NotTaken::NoRoom, &metrics);
        assert_eq!(sender.answer().await, Ok(Kept::BY_SPOOL));
    }
    #[tokio::test]
    async fn a_sender_learns_the_place_on_the_topic_that_its_report_was_sent_to() {
        let metrics = Metrics::new();
        for (is_redirected, place) in [(false, Some(PLACE)), (true, None)] {
            let report = pending();
            let sender = Arc::clone(&report.sender);
            let report = if is_redirected {
                report.redirect("record-too-large", None)
            } else {
                report
            };
            report.delivered(PLACE, &metrics);
            let kept = Kept {
                by: KeptBy::Kafka,
                place,
            };
            assert_eq!(sender.answer().await, Ok(kept));
        }
    }
}
