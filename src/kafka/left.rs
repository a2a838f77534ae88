//! What is still to be read of a partition, and what the partition's ends mean for that.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::ends::Ends;
use super::offset_range::OffsetRange;
use super::read_error::ReadError;
use super::waiting::Waiting;

/// How long a partition may be silent before Kafka is asked for its ends, and asked again.
const QUIET: Duration = Duration::from_secs(10);
/// How soon Kafka is asked again if something is amiss, and how long a transaction is waited for without a word.
const SOON: Duration = Duration::from_secs(3);
/// How soon Kafka is asked again for an offset that does not exist yet.
const SHORTLY: Duration = Duration::from_secs(1);
/// How long records that exist may not come before their partition is assigned again.
const STALLED: Duration = Duration::from_secs(20);
/// How long a partition may end too early: the high watermark of a new leader lags.
const SHRUNK: Duration = Duration::from_secs(30);
/// How long a range waits for a transaction. Kafka's `transaction.max.timeout.ms` is 15 minutes by default.
const LONGEST: Duration = Duration::from_mins(20);
/// How often a line is repeated.
const AGAIN: Duration = Duration::from_mins(1);

/// What is still to be read, by partition.
pub(super) type Remaining = BTreeMap<u32, Left>;

/// What is still to be read of a partition.
#[derive(Clone)]
pub(super) struct Left {
    first: u64,
    pub(super) next: u64,
    end: u64,
    /// The partition has had all offsets before this one.
    known: u64,
    /// Kafka has said, since `next` was reached, that no transaction is open before `end`.
    is_confirmed: bool,
    /// librdkafka has come to the last stable offset, and to nothing since.
    is_at_end: bool,
    /// librdkafka may have stopped fetching.
    is_suspect: bool,
    /// The last stable offset behind `next`, and since when it has stood there.
    lag: Option<(u64, Instant)>,
    trouble: Option<Trouble>,
    /// When Kafka is asked next for the ends; `None` if a record has come since the last look.
    ask_at: Option<Instant>,
}

#[derive(Clone)]
struct Trouble {
    kind: Kind,
    since: Instant,
    said: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A transaction is open from this offset.
    Open(u64),
    /// The partition does not have the next offset yet.
    Ahead,
    /// The partition ends before an offset that it has had.
    Shrunk,
}

/// What a reader is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Nothing,
    /// Go back to `next`: the end counts if librdkafka comes to it once more.
    Confirmed,
    /// Assign the partitions again.
    Stalled,
    /// Go on behind these offsets, which Kafka has deleted.
    Deleted(OffsetRange),
    Waiting(Waiting),
}

impl Left {
    /// `known`: the partition has had all offsets before this one.
    pub(super) fn new(range: &OffsetRange, known: u64, now: Instant) -> Self {
        Self {
            first: range.first,
            next: range.first,
            end: range.end,
            known,
            is_confirmed: false,
            is_at_end: false,
            is_suspect: false,
            lag: None,
            trouble: None,
            ask_at: Some(now + SOON),
        }
    }

    /// Notes that the record of an offset has come. Returns whether it is in the range.
    pub(super) fn took(&mut self, offset: u64) -> bool {
        self.next = offset.saturating_add(1);
        self.known = self.known.max(self.next);
        (self.is_confirmed, self.is_at_end, self.is_suspect) = (false, false, false);
        (self.lag, self.trouble, self.ask_at) = (None, None, None);
        offset < self.end
    }

    /// Whether everything was read.
    pub(super) fn is_over(&self) -> bool {
        self.next >= self.end
    }

    /// Notes that librdkafka has come to the last stable offset. Between the last record and the end of a range there
    /// can be marks of transactions and aborted records, which no reader is given: then only Kafka's word ends it. A
    /// leader that has just been elected can end its log too early, so that its word counts once it was asked where
    /// the log ends. Returns whether the range has ended.
    pub(super) fn reached_end(&mut self, now: Instant) -> bool {
        self.is_at_end = true;
        if !self.is_confirmed && (self.is_finite() || self.known == 0) {
            self.ask_at = Some(now);
        }
        self.is_confirmed
    }

    /// Notes that librdkafka has stopped to fetch this partition or another one.
    pub(super) fn suspect(&mut self, now: Instant) {
        self.is_suspect = true;
        self.ask_at = Some(now);
    }

    /// Notes that librdkafka fetches from `next` again.
    pub(super) fn assigned(&mut self, now: Instant) {
        (self.is_at_end, self.is_suspect) = (false, false);
        self.lag = self.lag.map(|(stable, _)| (stable, now));
    }

    /// Whether librdkafka can fetch from `next`.
    pub(super) fn is_there(&self) -> bool {
        let kind = self.trouble.as_ref().map(|trouble| trouble.kind);
        !matches!(kind, Some(Kind::Ahead | Kind::Shrunk))
    }

    /// Whether Kafka is to be asked for the ends of the partition now; then it is asked.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = *self.ask_at.get_or_insert(now + QUIET) <= now;
        if is_due {
            self.ask_at = Some(now + SOON);
        }
        is_due
    }

    /// Returns what the ends of the partition mean.
    ///
    /// # Errors
    /// If the range can't be read to its end.
    pub(super) fn judge(
        &mut self,
        topic: &str,
        partition: u32,
        ends: Ends,
        now: Instant,
    ) -> Result<Finding, ReadError> {
        self.ask_at = Some(now + QUIET);
        if self.next < ends.first {
            return Ok(Finding::Deleted(self.pass_over(partition, ends.first)));
        }
        let was_there = self.is_there();
        let kind = self.kind(ends);
        let since = self.trouble_since(kind, now);
        let lasts = now.saturating_duration_since(since);
        match kind {
            Some(Kind::Shrunk) => return self.shrunk(topic, partition, ends.end, lasts, now),
            Some(Kind::Ahead) => return Ok(self.ahead(partition, ends.end, now)),
            _ => self.known = self.known.max(ends.end),
        }
        if !was_there || self.is_suspect || self.is_stalled(ends.stable, now) {
            return Ok(Finding::Stalled);
        }
        match kind {
            Some(Kind::Open(from)) => self.open(topic, partition, from, lasts, now),
            _ => Ok(self.confirm(ends.stable)),
        }
    }

    fn is_finite(&self) -> bool {
        self.end != OffsetRange::ENDLESS
    }

    fn pass_over(&mut self, partition: u32, first: u64) -> OffsetRange {
        let gone = OffsetRange {
            partition,
            first: self.next,
            end: first.min(self.end),
        };
        self.next = gone.end;
        self.known = self.known.max(self.next);
        self.is_confirmed = false;
        gone
    }

    fn kind(&self, ends: Ends) -> Option<Kind> {
        if ends.end < self.known {
            Some(Kind::Shrunk)
        } else if ends.end < self.next {
            Some(Kind::Ahead)
        } else if ends.stable < ends.end.min(self.end) {
            Some(Kind::Open(ends.stable))
        } else {
            None
        }
    }

    fn trouble_since(&mut self, kind: Option<Kind>, now: Instant) -> Instant {
        let before = self.trouble.take();
        self.trouble = kind.map(|kind| {
            let fresh = Trouble {
                kind,
                since: now,
                said: None,
            };
            before.filter(|before| before.kind == kind).unwrap_or(fresh)
        });
        self.trouble.as_ref().map_or(now, |trouble| trouble.since)
    }

    fn shrunk(
        &mut self,
        topic: &str,
        partition: u32,
        end: u64,
        lasts: Duration,
        now: Instant,
    ) -> Result<Finding, ReadError> {
        if lasts < SHRUNK {
            self.ask_at = Some(now + SOON);
            return Ok(Finding::Nothing);
        }
        let was_read = self.first < self.next && end < self.next;
        let (known, seen) = if was_read {
            (self.next, "read")
        } else {
            (self.known, "there")
        };
        Err(ReadError::Shrunk {
            topic: topic.to_owned(),
            partition,
            end,
            offset: known.saturating_sub(1),
            seen,
        })
    }

    fn ahead(&mut self, partition: u32, end: u64, now: Instant) -> Finding {
        self.ask_at = Some(now + SHORTLY);
        let waiting = Waiting::Offset {
            partition,
            end,
            next: self.next,
        };
        self.say(now, waiting)
    }

    fn open(
        &mut self,
        topic: &str,
        partition: u32,
        from: u64,
        lasts: Duration,
        now: Instant,
    ) -> Result<Finding, ReadError> {
        self.ask_at = Some(now + SOON);
        let topic = topic.to_owned();
        if lasts >= LONGEST && self.is_finite() {
            return Err(ReadError::Transaction {
                topic,
                partition,
                from,
            });
        }
        if lasts < SOON {
            return Ok(Finding::Nothing);
        }
        let waiting = Waiting::Transaction {
            topic,
            partition,
            from,
        };
        Ok(self.say(now, waiting))
    }

    fn say(&mut self, now: Instant, waiting: Waiting) -> Finding {
        let is_due = |said| now.saturating_duration_since(said) >= AGAIN;
        match &mut self.trouble {
            Some(Trouble { said, .. }) if said.is_none_or(is_due) => {
                *said = Some(now);
                Finding::Waiting(waiting)
            }
            _ => Finding::Nothing,
        }
    }

    /// Whether records before the last stable offset should have come by now, or the offset itself been reached.
    fn is_stalled(&mut self, stable: u64, now: Instant) -> bool {
        match self.lag {
            _ if self.next >= stable => {
                self.lag = None;
                false
            }
            Some((lag, since)) if lag == stable => {
                !self.is_at_end && now.saturating_duration_since(since) >= STALLED
            }
            // librdkafka may have come to an earlier end only.
            _ => {
                self.lag = Some((stable, now));
                self.is_at_end &= self.is_finite();
                false
            }
        }
    }

    fn confirm(&mut self, stable: u64) -> Finding {
        if self.is_finite() && self.is_at_end && !self.is_confirmed && self.end <= stable {
            (self.is_confirmed, self.is_at_end) = (true, false);
            Finding::Confirmed
        } else {
            Finding::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A partition that is watched, and a clock.
    struct Watch {
        left: Left,
        start: Instant,
        seconds: u64,
    }

    impl Watch {
        fn of(first: u64, end: u64, known: u64) -> Self {
            let start = Instant::now();
            let range = OffsetRange {
                partition: 2,
                first,
                end,
            };
            Self {
                left: Left::new(&range, known, start),
                start,
                seconds: 0,
            }
        }

        fn run(first: u64, end: u64) -> Self {
            Self::of(first, end, end)
        }

        fn tail(first: u64) -> Self {
            Self::of(first, OffsetRange::ENDLESS, 0)
        }

        fn now(&self) -> Instant {
            self.start + Duration::from_secs(self.seconds)
        }

        fn reached_end(&mut self) -> bool {
            self.left.reached_end(self.now())
        }

        fn is_due(&mut self) -> bool {
            self.left.is_due(self.now())
        }

        /// What the ends mean that second.
        fn at(&mut self, seconds: u64, [first, stable, end]: [u64; 3]) -> Finding {
            self.judge(seconds, [first, stable, end]).expect("no error")
        }

        fn judge(&mut self, seconds: u64, ends: [u64; 3]) -> Result<Finding, ReadError> {
            self.seconds = seconds;
            let [first, stable, end] = ends;
            let ends = Ends { first, stable, end };
            self.left.judge("events", 2, ends, self.now())
        }
    }

    fn transaction(from: u64) -> Finding {
        Finding::Waiting(Waiting::Transaction {
            topic: "events".to_owned(),
            partition: 2,
            from,
        })
    }

    #[test]
    fn the_marks_at_the_end_of_a_range_end_it_once_the_end_was_confirmed_and_come_to_again() {
        let mut run = Watch::run(0, 50);
        run.left.took(48);
        assert!(!run.reached_end());
        assert!(run.is_due());
        assert_eq!(run.at(0, [0, 50, 50]), Finding::Confirmed);
        assert!(run.reached_end());
    }

    #[test]
    fn an_end_that_a_new_leader_puts_too_early_ends_no_range() {
        let mut run = Watch::run(0, 50);
        run.left.took(39);
        assert!(!run.reached_end());
        for seconds in [0, 3, 29] {
            assert_eq!(run.at(seconds, [0, 40, 40]), Finding::Nothing);
            assert!(!run.reached_end());
        }
        // The watch begins again, and what librdkafka came to was not the end.
        assert_eq!(run.at(31, [0, 50, 50]), Finding::Stalled);
    }

    #[test]
    fn a_range_that_was_cut_off_is_an_error_after_half_a_minute() {
        let mut run = Watch::run(0, 50);
        run.left.took(39);
        assert_eq!(run.at(0, [0, 40, 40]), Finding::Nothing);
        let error = run.judge(30, [0, 40, 40]).expect_err("an error");
        assert_eq!(
            error.to_string(),
            "events partition 2 ends at offset 40, before offset 49 that was there already: the topic was \
             made again, or Kafka has lost records in an unclean leader election"
        );
        let mut tail = Watch::tail(0);
        tail.left.took(39);
        assert_eq!(tail.at(1, [0, 1, 1]), Finding::Nothing);
        let error = tail.judge(31, [0, 7, 7]).expect_err("an error").to_string();
        assert!(
            error.starts_with(
                "events partition 2 ends at offset 7, before offset 39 that was read already:"
            ),
            "{error}"
        );
    }

    #[test]
    fn an_open_transaction_is_said_each_minute_and_an_error_after_20() {
        let mut run = Watch::run(0, 50);
        run.left.took(9);
        assert!(!run.reached_end());
        assert_eq!(run.at(0, [0, 10, 60]), Finding::Nothing);
        assert_eq!(run.at(3, [0, 10, 60]), transaction(10));
        assert_eq!(run.at(62, [0, 10, 60]), Finding::Nothing);
        assert_eq!(run.at(63, [0, 10, 60]), transaction(10));
        assert_eq!(run.at(1199, [0, 10, 60]), transaction(10));
        let error = run.judge(1200, [0, 10, 60]).expect_err("an error");
        let error = error.to_string();
        assert!(error.contains("find-hanging"), "{error}");
        assert!(
            error.contains("for 20 minutes, on events partition 2 from offset 10:"),
            "{error}"
        );
    }

    #[test]
    fn a_transaction_that_ends_lets_the_range_end() {
        let mut run = Watch::run(0, 50);
        run.left.took(9);
        assert!(!run.reached_end());
        assert_eq!(run.at(0, [0, 10, 50]), Finding::Nothing);
        assert_eq!(run.at(3, [0, 10, 50]), transaction(10));
        // Aborted: no record comes.
        assert_eq!(run.at(6, [0, 50, 50]), Finding::Confirmed);
        assert!(run.reached_end());
        // One behind the range is of no account.
        let mut run = Watch::run(0, 50);
        assert!(!run.reached_end());
        assert_eq!(run.at(0, [0, 50, 60]), Finding::Confirmed);
    }

    #[test]
    fn a_tail_waits_for_a_transaction_without_a_limit() {
        let mut tail = Watch::tail(10);
        assert!(!tail.reached_end());
        assert!(tail.is_due());
        assert_eq!(tail.at(0, [0, 10, 10]), Finding::Nothing);
        assert_eq!(tail.at(10, [0, 10, 11]), Finding::Nothing);
        assert_eq!(tail.at(13, [0, 10, 11]), transaction(10));
        assert_eq!(tail.at(4000, [0, 10, 11]), transaction(10));
        // Another one is waited for anew.
        assert_eq!(tail.at(4001, [0, 12, 13]), Finding::Nothing);
        assert_eq!(tail.at(4004, [0, 12, 13]), transaction(12));
    }

    #[test]
    fn kafka_is_asked_after_ten_silent_seconds_and_not_while_records_come() {
        let mut tail = Watch::tail(10);
        assert_eq!(tail.at(0, [0, 10, 10]), Finding::Nothing);
        tail.seconds = 9;
        assert!(!tail.is_due());
        tail.seconds = 10;
        assert!(tail.is_due() && !tail.is_due());
        tail.left.took(10);
        tail.seconds = 20;
        assert!(!tail.is_due());
        tail.seconds = 30;
        assert!(tail.is_due());
    }

    #[test]
    fn an_offset_that_does_not_exist_yet_is_waited_for_and_then_fetched() {
        let mut tail = Watch::tail(3);
        tail.left.suspect(tail.now());
        assert!(tail.is_due());
        let waiting = Waiting::Offset {
            partition: 2,
            end: 1,
            next: 3,
        };
        assert_eq!(
            waiting.to_string(),
            "partition 2 ends at offset 1: waiting for offset 3"
        );
        assert_eq!(tail.at(0, [0, 1, 1]), Finding::Waiting(waiting));
        assert!(!tail.left.is_there());
        assert_eq!(tail.at(1, [0, 2, 2]), Finding::Nothing);
        assert_eq!(tail.at(2, [0, 3, 3]), Finding::Stalled);
        assert!(tail.left.is_there());
    }

    #[test]
    fn what_kafka_has_deleted_is_passed_over_within_the_range() {
        let gone = |first, end| {
            Finding::Deleted(OffsetRange {
                partition: 2,
                first,
                end,
            })
        };
        let mut run = Watch::run(10, 50);
        assert_eq!(run.at(0, [30, 60, 60]), gone(10, 30));
        assert!(!run.left.is_over());
        assert_eq!(run.at(0, [55, 60, 60]), gone(30, 50));
        assert!(run.left.is_over());
    }

    #[test]
    fn a_partition_whose_records_do_not_come_is_assigned_again() {
        let mut tail = Watch::tail(10);
        assert_eq!(tail.at(0, [0, 20, 20]), Finding::Nothing);
        assert_eq!(tail.at(10, [0, 20, 20]), Finding::Nothing);
        assert_eq!(tail.at(20, [0, 20, 20]), Finding::Stalled);
        tail.left.assigned(tail.now());
        assert_eq!(tail.at(30, [0, 20, 20]), Finding::Nothing);
        // They were marks of transactions only.
        assert!(!tail.reached_end());
        assert_eq!(tail.at(50, [0, 20, 20]), Finding::Nothing);
        assert_eq!(tail.at(500, [0, 20, 20]), Finding::Nothing);
    }
}
