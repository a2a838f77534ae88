//! Tests of the reading progress with a simulated clock.

use super::*;

/// The progress on a partition, and a clock.
struct Watch {
    progress: PartitionProgress,
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
            progress: PartitionProgress::new(&range, known, start),
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
        self.progress.reached_end(self.now())
    }

    /// Returns whether a query is due, and counts it as sent.
    fn is_due(&mut self) -> bool {
        let now = self.now();
        let is_due = self.progress.due_since(now).is_some();
        if is_due {
            self.progress.queried(now);
        }
        is_due
    }

    /// Returns the action that follows from these ends at `seconds`.
    fn at(&mut self, seconds: u64, [first, stable, end]: [u64; 3]) -> Action {
        self.evaluate(seconds, [first, stable, end])
            .expect("no error")
    }

    fn evaluate(&mut self, seconds: u64, ends: [u64; 3]) -> Result<Action, ReadError> {
        self.evaluate_while(true, seconds, ends)
    }

    /// The same while librdkafka's queue holds records of other partitions.
    fn busy(&mut self, seconds: u64, ends: [u64; 3]) -> Action {
        self.evaluate_while(false, seconds, ends).expect("no error")
    }

    fn evaluate_while(
        &mut self,
        is_queue_empty: bool,
        seconds: u64,
        [first, stable, end]: [u64; 3],
    ) -> Result<Action, ReadError> {
        self.seconds = seconds;
        let ends = Ends { first, stable, end };
        self.is_due();
        self.progress
            .evaluate("events", 2, ends, is_queue_empty, self.now())
    }

    /// Records that the leader does not answer at `seconds`.
    fn leaderless(&mut self, seconds: u64) -> Result<Action, ReadError> {
        self.seconds = seconds;
        self.is_due();
        self.progress.leaderless("events", 2, self.now())
    }
}

fn transaction(from: u64) -> Action {
    Action::Report(Waiting::Transaction {
        topic: "events".to_owned(),
        partition: 2,
        from,
    })
}

#[test]
fn a_range_finishes_when_the_end_is_reached_again_after_its_confirmation() {
    let mut run = Watch::run(0, 50);
    run.progress.advance(48);
    assert!(!run.reached_end());
    assert!(run.is_due());
    assert_eq!(run.at(0, [0, 50, 50]), Action::Seek);
    assert!(run.reached_end());
}

#[test]
fn an_old_confirmation_does_not_finish_a_range() {
    let mut run = Watch::run(0, 50);
    assert!(!run.reached_end());
    assert_eq!(run.at(0, [0, 50, 50]), Action::Seek);
    run.seconds = 3;
    assert!(!run.reached_end());
    assert!(run.is_due());
    assert_eq!(run.at(3, [0, 50, 50]), Action::Seek);
    // The confirmation is valid for longer each time.
    run.seconds = 8;
    assert!(run.reached_end());
}

#[test]
fn a_too_early_end_of_a_new_leader_does_not_finish_a_range() {
    let mut run = Watch::run(0, 50);
    run.progress.advance(39);
    assert!(!run.reached_end());
    for seconds in [0, 3, 29] {
        assert_eq!(run.at(seconds, [0, 40, 40]), Action::Nothing);
        assert!(!run.reached_end());
    }
    // The end that librdkafka reached was too early.
    assert_eq!(run.at(31, [0, 50, 50]), Action::Reassign);
}

#[test]
fn a_truncated_range_is_an_error_after_half_a_minute() {
    let mut run = Watch::run(0, 50);
    run.progress.advance(39);
    assert_eq!(run.at(0, [0, 40, 40]), Action::Nothing);
    let error = run.evaluate(30, [0, 40, 40]).expect_err("an error");
    assert_eq!(
        error.to_string(),
        "events partition 2 ends at offset 40, before offset 49, which existed earlier: the topic was \
         recreated, or Kafka lost records in an unclean leader election"
    );
    let mut tail = Watch::tail(0);
    tail.progress.advance(39);
    assert_eq!(tail.at(1, [0, 1, 1]), Action::Nothing);
    let error = tail
        .evaluate(31, [0, 7, 7])
        .expect_err("an error")
        .to_string();
    assert!(
        error.starts_with(
            "events partition 2 ends at offset 7, before offset 39, which was read earlier:"
        ),
        "{error}"
    );
}

#[test]
fn an_open_transaction_is_reported_each_minute_and_an_error_after_20() {
    let mut run = Watch::run(0, 50);
    run.progress.advance(9);
    assert!(!run.reached_end());
    assert_eq!(run.at(0, [0, 10, 60]), Action::Nothing);
    assert_eq!(run.at(3, [0, 10, 60]), transaction(10));
    assert_eq!(run.at(62, [0, 10, 60]), Action::Nothing);
    assert_eq!(run.at(63, [0, 10, 60]), transaction(10));
    assert_eq!(run.at(1199, [0, 10, 60]), transaction(10));
    let error = run.evaluate(1200, [0, 10, 60]).expect_err("an error");
    let error = error.to_string();
    assert!(error.contains("find-hanging"), "{error}");
    assert!(
        error.contains("for 20 minutes on events partition 2 from offset 10:"),
        "{error}"
    );
}

#[test]
fn a_range_finishes_when_the_open_transaction_ends() {
    let mut run = Watch::run(0, 50);
    run.progress.advance(9);
    assert!(!run.reached_end());
    assert_eq!(run.at(0, [0, 10, 50]), Action::Nothing);
    assert_eq!(run.at(3, [0, 10, 50]), transaction(10));
    // The transaction was aborted, so no record comes.
    assert_eq!(run.at(6, [0, 50, 50]), Action::Seek);
    assert!(run.reached_end());
    // A transaction after the range is ignored.
    let mut run = Watch::run(0, 50);
    assert!(!run.reached_end());
    assert_eq!(run.at(0, [0, 50, 60]), Action::Seek);
}

#[test]
fn a_tail_waits_for_a_transaction_without_a_limit() {
    let mut tail = Watch::tail(10);
    assert!(!tail.reached_end());
    assert!(tail.is_due());
    assert_eq!(tail.at(0, [0, 10, 10]), Action::Nothing);
    assert_eq!(tail.at(10, [0, 10, 11]), Action::Nothing);
    assert_eq!(tail.at(13, [0, 10, 11]), transaction(10));
    assert_eq!(tail.at(4000, [0, 10, 11]), transaction(10));
    // The wait for another transaction starts anew.
    assert_eq!(tail.at(4001, [0, 12, 13]), Action::Nothing);
    assert_eq!(tail.at(4004, [0, 12, 13]), transaction(12));
}

#[test]
fn the_ends_are_queried_after_ten_silent_seconds_only() {
    let mut tail = Watch::tail(10);
    assert_eq!(tail.at(0, [0, 10, 10]), Action::Nothing);
    tail.seconds = 9;
    assert!(!tail.is_due());
    tail.seconds = 10;
    assert!(tail.is_due() && !tail.is_due());
    tail.progress.advance(10);
    tail.seconds = 20;
    assert!(!tail.is_due());
    tail.seconds = 30;
    assert!(tail.is_due());
}

#[test]
fn an_answer_older_than_the_last_record_is_ignored() {
    let mut tail = Watch::tail(0);
    assert!(!tail.reached_end());
    assert!(tail.is_due());
    tail.progress.advance(0);
    let ends = Ends {
        first: 0,
        stable: 0,
        end: 0,
    };
    let finding = tail.progress.evaluate("events", 2, ends, true, tail.now());
    assert_eq!(finding.expect("no error"), Action::Nothing);
    assert!(tail.progress.is_fetchable());
}

#[test]
fn a_tail_waits_for_a_future_offset_and_then_fetches_it() {
    let mut tail = Watch::tail(3);
    tail.progress.suspect(tail.now());
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
    assert_eq!(tail.at(0, [0, 1, 1]), Action::Report(waiting));
    assert!(!tail.progress.is_fetchable());
    assert_eq!(tail.at(1, [0, 2, 2]), Action::Nothing);
    assert_eq!(tail.at(2, [0, 3, 3]), Action::Reassign);
    assert!(tail.progress.is_fetchable());
}

#[test]
fn deleted_offsets_of_the_range_are_skipped() {
    let deleted = |first, end| {
        Action::Skip(OffsetRange {
            partition: 2,
            first,
            end,
        })
    };
    let mut run = Watch::run(10, 50);
    assert_eq!(run.at(0, [30, 60, 60]), deleted(10, 30));
    assert!(!run.progress.is_finished());
    assert_eq!(run.at(0, [55, 60, 60]), deleted(30, 50));
    assert!(run.progress.is_finished());
}

#[test]
fn a_partition_whose_records_do_not_come_is_assigned_again() {
    let mut tail = Watch::tail(10);
    assert_eq!(tail.at(0, [0, 20, 20]), Action::Nothing);
    assert_eq!(tail.at(10, [0, 20, 20]), Action::Nothing);
    assert_eq!(tail.at(20, [0, 20, 20]), Action::Reassign);
    tail.progress.assigned(tail.now());
    assert_eq!(tail.at(30, [0, 20, 20]), Action::Nothing);
    // The offsets held only transaction markers.
    assert!(!tail.reached_end());
    assert_eq!(tail.at(50, [0, 20, 20]), Action::Nothing);
    assert_eq!(tail.at(500, [0, 20, 20]), Action::Nothing);
}

#[test]
fn a_silent_leader_is_reported_each_minute_and_an_error_of_a_range_after_20() {
    let waiting = Action::Report(Waiting::Leader {
        topic: "events".to_owned(),
        partition: 2,
    });
    for mut watch in [Watch::run(0, 50), Watch::tail(0)] {
        let mut at = |seconds| watch.leaderless(seconds).expect("no error");
        assert_eq!(at(5), Action::Nothing);
        assert_eq!(at(14), Action::Nothing);
        assert_eq!(at(15), waiting);
        assert_eq!(at(74), Action::Nothing);
        assert_eq!(at(75), waiting);
        assert_eq!(at(1204), waiting);
    }
    let mut run = Watch::run(0, 50);
    run.leaderless(5).expect("no error");
    let error = run.leaderless(1205).expect_err("an error").to_string();
    assert!(
        error.starts_with("no leader of events partition 2 has answered for 20 minutes:"),
        "{error}"
    );
    assert!(error.contains("advertised.listeners"), "{error}");
    let mut tail = Watch::tail(0);
    tail.leaderless(5).expect("no error");
    assert_eq!(tail.leaderless(9999).expect("no error"), waiting);
}

#[test]
fn an_answer_or_a_record_ends_the_wait_for_a_leader() {
    let mut run = Watch::run(0, 50);
    run.leaderless(0).expect("no error");
    assert_eq!(run.at(10, [0, 50, 50]), Action::Nothing);
    assert_eq!(run.leaderless(20).expect("no error"), Action::Nothing);
    run.progress.advance(0);
    assert_eq!(run.leaderless(40).expect("no error"), Action::Nothing);
    assert_eq!(run.leaderless(49).expect("no error"), Action::Nothing);
}

#[test]
fn a_wait_for_a_transaction_continues_during_an_election() {
    let mut run = Watch::run(0, 50);
    run.progress.advance(9);
    assert_eq!(run.at(0, [0, 10, 60]), Action::Nothing);
    run.leaderless(600).expect("no error");
    assert!(run.evaluate(1200, [0, 10, 60]).is_err());
}

#[test]
fn each_partition_is_queried_in_turn_although_one_has_no_leader() {
    let start = Instant::now();
    let range = |partition| OffsetRange {
        partition,
        first: 0,
        end: 50,
    };
    let new = |partition| {
        (
            partition,
            PartitionProgress::new(&range(partition), 50, start),
        )
    };
    let mut remaining: Remaining = [0, 1, 2].map(new).into();
    let mut asked = Vec::new();
    let mut now = start + RECHECK;
    for _ in 0..5 {
        let partition = next_due(&mut remaining, now).expect("one is due");
        asked.push(partition);
        let progress = remaining.get_mut(&partition).expect("its state");
        if partition == 0 {
            now += Duration::from_secs(10);
            progress.leaderless("events", 0, now).expect("no error");
        } else {
            progress.reached_end(now);
        }
        for progress in remaining.values_mut() {
            progress.suspect(now);
        }
    }
    assert_eq!(asked, [0, 1, 2, 0, 1]);
    let due = remaining
        .values_mut()
        .map(|progress| progress.due_since(now));
    assert_eq!(due.flatten().count(), 3);
}

fn batch(reason: &str) -> Action {
    Action::ReassignAndReport(Waiting::Batch {
        topic: "events".to_owned(),
        partition: 2,
        offset: 10,
        reason: reason.to_owned(),
    })
}

#[test]
fn an_unfetchable_batch_is_reported_each_minute_and_an_error_of_a_range_after_20() {
    for end in [50, OffsetRange::ENDLESS] {
        let mut watch = Watch::of(10, end, 20);
        assert_eq!(watch.at(0, [0, 20, 50]), Action::Nothing);
        let mut found = Vec::new();
        for seconds in (20..1220).step_by(20) {
            watch.progress.note_error("BadMessage");
            found.push(watch.at(seconds, [0, 20, 50]));
            watch.progress.assigned(watch.now());
        }
        assert_eq!(found[0], Action::Reassign);
        assert_eq!(found[1], batch("BadMessage"));
        assert_eq!(found[2], Action::Reassign);
        let said = found.iter().filter(|found| **found == batch("BadMessage"));
        assert_eq!(said.count(), 20);
        let last = watch.evaluate(1220, [0, 20, 50]);
        if end == OffsetRange::ENDLESS {
            assert_eq!(last.expect("no error"), Action::Reassign);
            continue;
        }
        let error = last.expect_err("an error").to_string();
        assert!(
            error.starts_with(
                "fetching records of events partition 2 from offset 10 has failed for 20 minutes \
                 (BadMessage):"
            ),
            "{error}"
        );
    }
}

#[test]
fn an_unfetchable_batch_is_detected_although_new_records_are_written() {
    let mut tail = Watch::of(10, OffsetRange::ENDLESS, 20);
    assert_eq!(tail.at(0, [0, 20, 20]), Action::Nothing);
    assert_eq!(tail.at(10, [0, 30, 30]), Action::Nothing);
    assert_eq!(tail.at(20, [0, 40, 40]), Action::Reassign);
    tail.progress.assigned(tail.now());
    tail.progress.note_error("BadMessage");
    assert_eq!(tail.at(30, [0, 50, 50]), Action::Nothing);
    assert_eq!(tail.at(40, [0, 60, 60]), batch("BadMessage"));
}

#[test]
fn aborted_records_that_are_fetched_to_their_end_are_not_stalled() {
    let mut tail = Watch::tail(10);
    for turn in 0..10 {
        tail.at(turn * 100, [0, 20 + turn, 20 + turn]);
        tail.reached_end();
        let found = tail.at(turn * 100 + 90, [0, 21 + turn, 21 + turn]);
        assert_eq!(found, Action::Nothing);
    }
}

#[test]
fn a_record_or_the_end_of_the_partition_ends_the_wait_for_a_batch() {
    let mut tail = Watch::tail(10);
    for seconds in [0, 20] {
        tail.at(seconds, [0, 20, 20]);
        tail.progress.note_error("BadMessage");
        tail.progress.assigned(tail.now());
    }
    tail.progress.advance(10);
    tail.at(30, [0, 20, 20]);
    tail.at(40, [0, 20, 20]);
    assert_eq!(tail.at(60, [0, 20, 20]), Action::Reassign);
    tail.progress.assigned(tail.now());
    tail.reached_end();
    tail.at(81, [0, 30, 30]);
    tail.at(82, [0, 30, 30]);
    assert_eq!(tail.at(102, [0, 30, 30]), Action::Reassign);
}

#[test]
fn records_queued_behind_other_partitions_are_neither_stalled_nor_deleted() {
    let mut run = Watch::run(10, 50);
    for seconds in [0, 20, 40, 2000] {
        assert_eq!(run.busy(seconds, [0, 50, 50]), Action::Nothing);
        assert_eq!(run.busy(seconds, [30, 50, 50]), Action::Nothing);
    }
    assert_eq!(run.at(2001, [0, 50, 50]), Action::Reassign);
    // librdkafka reports an error after the records that it has fetched before.
    run.progress.suspect(run.now());
    let deleted = OffsetRange {
        partition: 2,
        first: 10,
        end: 30,
    };
    assert_eq!(run.busy(2002, [30, 50, 50]), Action::Skip(deleted));
}

#[test]
fn an_open_transaction_is_timed_while_other_partitions_are_busy() {
    let mut run = Watch::run(0, 50);
    run.progress.advance(9);
    assert_eq!(run.busy(0, [0, 10, 60]), Action::Nothing);
    assert_eq!(run.busy(3, [0, 10, 60]), transaction(10));
    assert!(run.evaluate_while(false, 1200, [0, 10, 60]).is_err());
}
