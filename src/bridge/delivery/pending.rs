//! A pending report: its record, its permit, and the sender that waits for it. Counts the fate of each report once.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use parking_lot::Mutex;

use super::limits::{Permit, ReadBackBytes, ReadBackShare};
use super::replies::Replies;
use crate::bridge::metrics::{Metrics, ReportFate};
use crate::contract::{Record, rejected_by_kafka};
use crate::kafka::Acknowledged;
use crate::spool::{LaneKey, Mark, Row};

/// Proof that a report is kept: every in-sync replica has it (at least `min.insync.replicas` of them), or the spool has
/// fsynced it. Only a delivery report or an fsync creates one, and a 2xx requires one.
#[derive(Debug)]
pub struct Promised(Kept);

/// The place that keeps a report, and the report's position on the topic if known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) by: KeptBy,
    /// Its partition and offset on the topic that it was sent to; `None` if the spool or the rejected topic has it.
    pub(super) position: Option<Acknowledged>,
}

/// The place that keeps a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeptBy {
    Kafka,
    Spool,
}

/// Why a report is not promised to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// An in-flight limit is reached, or librdkafka's queue is full.
    Overloaded,
    /// The topic does not exist.
    NoTopic,
    /// Neither Kafka nor the spool can take it now.
    NoRoom,
    /// Kafka rejects the record for its size, form or timestamp, on the rejected topic too, and there is no spool.
    Rejected,
    /// Neither Kafka nor the spool had it at the deadline. The record may still arrive.
    Deadline,
}

/// The answer to a sender.
pub(super) type Reply = Result<Kept, PublishError>;

/// A report in memory.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) record: Arc<Record>,
    pub(super) sender: Arc<Sender>,
    /// Held until the fate is known or the report is only in the spool.
    share: Share,
    /// If it is redirected: the spool's row that keeps it until the rejected topic has it.
    pub(super) origin: Option<(LaneKey, u64)>,
    /// Whether its row is in the inbox.
    pub(super) is_in_inbox: bool,
    is_redirected: bool,
}

/// A report's share of a memory limit; released when dropped.
#[derive(Debug)]
enum Share {
    /// A share of the in-flight limits.
    Limits(#[expect(dead_code, reason = "it is only held")] Permit),
    /// A share of its lane's memory for reports read back from the spool.
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
    /// The answer, and the report if it has left the lane: the sender's thread allocated it, and frees it faster than
    /// another thread.
    Answered(Reply, Option<(Arc<Record>, Share)>),
    /// The deadline passed first: the sender was told 503.
    TimedOut,
    /// The sender has disconnected.
    Gone,
}

impl Promised {
    pub(super) fn by(kept: Kept) -> Self {
        Self(kept)
    }

    /// Returns whether the spool keeps it until Kafka has it.
    pub fn is_spooled(&self) -> bool {
        self.0.by == KeptBy::Spool
    }

    /// Returns its partition and offset on the topic that it was sent to; `None` if the spool or the rejected topic has
    /// it.
    pub fn position(&self) -> Option<Acknowledged> {
        self.0.position
    }
}

impl Kept {
    pub(super) const BY_SPOOL: Self = Self {
        by: KeptBy::Spool,
        position: None,
    };
}

impl Pending {
    /// Creates a report whose sender waits on this thread's runtime.
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

    /// Creates a report from a row of the spool.
    pub(super) fn read_back(row: Row, room: &Arc<ReadBackBytes>, metrics: &Metrics) -> Self {
        let share = Share::ReadBack(room.take(row.record.footprint()));
        let state = match row.mark {
            Some(Mark::TimedOut) => {
                metrics.reports_unsure.inc();
                State::TimedOut
            }
            Some(Mark::SenderGone) => State::Gone,
            Some(Mark::Quarantined) | None => State::Answered(Ok(Kept::BY_SPOOL), None),
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

    /// Turns it into a report for the rejected topic. `origin` is the row that keeps it until that topic has it.
    pub(super) fn redirect(self, reason: &'static str, origin: Option<(LaneKey, u64)>) -> Self {
        Self {
            record: Arc::new(rejected_by_kafka(&self.record, reason)),
            origin,
            is_in_inbox: false,
            is_redirected: true,
            ..self
        }
    }

    pub(super) fn is_redirected(&self) -> bool {
        self.is_redirected
    }

    /// Returns whether its sender waits for an answer.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(*self.sender.state.lock(), State::Waiting(_))
    }

    /// Tells the sender that the spool has the report, which stays in memory. Returns the mark for its row.
    pub(super) fn kept(&self) -> Option<Mark> {
        let mut mark = None;
        self.sender
            .reply(Ok(Kept::BY_SPOOL), None, |fate| mark = mark_of(fate));
        mark
    }

    /// Ends the report when Kafka has it.
    pub(super) fn delivered(self, position: Acknowledged, metrics: &Metrics) {
        let kept = Kept {
            by: KeptBy::Kafka,
            position: (!self.is_redirected).then_some(position),
        };
        self.finish(Ok(kept), metrics, |fate| {
            metrics.report_finished(fate);
        });
    }

    /// Ends the report in memory when only the spool keeps it. Returns the mark for its row.
    pub(super) fn spooled(self, metrics: &Metrics) -> Option<Mark> {
        let mut mark = None;
        self.finish(Ok(Kept::BY_SPOOL), metrics, |fate| mark = mark_of(fate));
        mark
    }

    /// Ends the report without keeping it.
    pub(super) fn failed(self, why: PublishError, metrics: &Metrics) {
        self.finish(Err(why), metrics, |_| {
            metrics.report_finished(ReportFate::Failed);
        });
    }

    /// Ends the report before it was admitted. It has no fate.
    pub(super) fn shed(self, metrics: &Metrics) {
        self.finish(Err(PublishError::Overloaded), metrics, |_| ());
    }

    /// Answers the sender and ends the report. The fate is counted before the sender sees the answer.
    fn finish(self, answer: Reply, metrics: &Metrics, count: impl FnOnce(ReportFate)) {
        let Self {
            sender,
            record,
            share,
            ..
        } = self;
        sender.reply(answer, Some((record, share)), |fate| {
            if fate == ReportFate::DeliveredLate {
                metrics.reports_unsure.dec();
            }
            count(fate);
        });
    }
}

/// Returns the mark for the row of a report that will have this fate when Kafka has it.
fn mark_of(fate: ReportFate) -> Option<Mark> {
    match fate {
        ReportFate::DeliveredLate => Some(Mark::TimedOut),
        ReportFate::SenderGone => Some(Mark::SenderGone),
        ReportFate::Delivered | ReportFate::Failed => None,
    }
}

impl Sender {
    fn new(state: State) -> Arc<Self> {
        let replies = matches!(state, State::Waiting(_)).then(Replies::current);
        Arc::new(Self {
            state: Mutex::new(state),
            replies: replies.flatten(),
        })
    }

    /// Waits for the answer. When the wait ends without one, returns [`PublishError::Deadline`].
    pub(super) async fn answer(&self) -> Reply {
        poll_fn(|context| match &mut *self.state.lock() {
            State::Waiting(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            State::Answered(answer, report) => {
                drop(report.take());
                Poll::Ready(*answer)
            }
            State::TimedOut | State::Gone => Poll::Ready(Err(PublishError::Deadline)),
        })
        .await
    }

    /// Answers the sender if it still waits. First calls `count` with the fate that the report has if it was delivered,
    /// under the lock, so that the sender does not see the answer earlier.
    fn reply(
        &self,
        answer: Reply,
        report: Option<(Arc<Record>, Share)>,
        count: impl FnOnce(ReportFate),
    ) {
        let mut state = self.state.lock();
        let (fate, waker) = match &mut *state {
            State::Waiting(waker) => (ReportFate::Delivered, waker.take()),
            State::Answered(..) => (ReportFate::Delivered, None),
            State::TimedOut => (ReportFate::DeliveredLate, None),
            State::Gone => (ReportFate::SenderGone, None),
        };
        count(fate);
        if matches!(*state, State::Waiting(_)) {
            *state = State::Answered(answer, report);
        }
        drop(state);
        match (waker, &self.replies) {
            (Some(waker), Some(replies)) => replies.add(waker),
            (Some(waker), None) => waker.wake(),
            (None, _) => {}
        }
    }

    /// Ends the wait at the deadline. Returns `false` if there was an answer already.
    pub(super) fn time_out(&self, metrics: &Metrics) -> bool {
        self.stop_waiting(State::TimedOut, || {
            metrics.reports_unsure.inc();
        })
    }

    /// Ends the wait when the sender has disconnected.
    pub(super) fn hang_up(&self) {
        self.stop_waiting(State::Gone, || ());
    }

    /// Ends the wait if there is no answer yet, and returns whether that was so. Calls `count` before the report can
    /// get a fate.
    fn stop_waiting(&self, end: State, count: impl FnOnce()) -> bool {
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

    const POSITION: Acknowledged = Acknowledged {
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

    #[test]
    fn a_report_that_is_spooled_and_read_back_keeps_its_fate() {
        for (end, mark, fate) in [
            ("answered", None, "delivered"),
            ("refused", Some(Mark::TimedOut), "delivered_late"),
            ("gone", Some(Mark::SenderGone), "sender_gone"),
        ] {
            let metrics = Metrics::new();
            let report = pending();
            let record = Arc::clone(&report.record);
            match end {
                "refused" => assert!(report.sender.time_out(&metrics)),
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
            read_back.delivered(POSITION, &metrics);
            assert_eq!(fates(&metrics), [format!("{{fate=\"{fate}\"}} 1")]);
            assert_eq!(metrics.reports_unsure.get(), 0);
        }
    }

    #[tokio::test]
    async fn the_first_answer_wins() {
        let metrics = Metrics::new();
        let report = pending();
        let sender = Arc::clone(&report.sender);
        assert_eq!(report.kept(), None);
        assert!(!sender.time_out(&metrics));
        sender.hang_up();
        assert_eq!(sender.answer().await, Ok(Kept::BY_SPOOL));
        report.failed(PublishError::NoRoom, &metrics);
        assert_eq!(sender.answer().await, Ok(Kept::BY_SPOOL));
    }

    #[tokio::test]
    async fn only_a_report_on_its_own_topic_has_a_position() {
        let metrics = Metrics::new();
        for (is_redirected, position) in [(false, Some(POSITION)), (true, None)] {
            let report = pending();
            let sender = Arc::clone(&report.sender);
            let report = if is_redirected {
                report.redirect("record-too-large", None)
            } else {
                report
            };
            report.delivered(POSITION, &metrics);
            let kept = Kept {
                by: KeptBy::Kafka,
                position,
            };
            assert_eq!(sender.answer().await, Ok(kept));
        }
    }
}
