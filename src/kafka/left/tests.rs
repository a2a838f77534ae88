//! What the ends of a partition mean, second by second.

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

    /// Whether Kafka is asked now.
    fn is_due(&mut self) -> bool {
        let now = self.now();
        let is_due = self.left.due_since(now).is_some();
        if is_due {
            self.left.asked(now);
        }
        is_due
    }

    /// What the ends mean that second.
    fn at(&mut self, seconds: u64, [first, stable, end]: [u64; 3]) -> Finding {
        self.judge(seconds, [first, stable, end]).expect("no error")
    }

    fn judge(&mut self, seconds: u64, ends: [u64; 3]) -> Result<Finding, ReadError> {
        self.judge_while(true, seconds, ends)
    }

    /// The same while records of other partitions come.
    fn busy(&mut self, seconds: u64, ends: [u64; 3]) -> Finding {
        self.judge_while(false, seconds, ends).expect("no error")
    }

    fn judge_while(
        &mut self,
        is_dry: bool,
        seconds: u64,
        [first, stable, end]: [u64; 3],
    ) -> Result<Finding, ReadError> {
        self.seconds = seconds;
        let ends = Ends { first, stable, end };
        self.is_due();
        self.left.judge("events", 2, ends, is_dry, self.now())
    }

    /// Notes that the leader does not answer that second.
    fn leaderless(&mut self, seconds: u64) -> Result<Finding, ReadError> {
        self.seconds = seconds;
        self.is_due();
        self.left.leaderless("events", 2, self.now())
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
fn an_end_that_was_confirmed_long_ago_ends_no_range() {
    let mut run = Watch::run(0, 50);
    assert!(!run.reached_end());
    assert_eq!(run.at(0, [0, 50, 50]), Finding::Confirmed);
    run.seconds = 3;
    assert!(!run.reached_end());
    assert!(run.is_due());
    assert_eq!(run.at(3, [0, 50, 50]), Finding::Confirmed);
    // Those that take as long each time end too.
    run.seconds = 8;
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
        "events partition 2 ends at offset 40, before offset 49, which existed earlier: the topic was \
         recreated, or Kafka lost records in an unclean leader election"
    );
    let mut tail = Watch::tail(0);
    tail.left.took(39);
    assert_eq!(tail.at(1, [0, 1, 1]), Finding::Nothing);
    let error = tail.judge(31, [0, 7, 7]).expect_err("an error").to_string();
    assert!(
        error.starts_with(
            "events partition 2 ends at offset 7, before offset 39, which was read earlier:"
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
        error.contains("for 20 minutes on events partition 2 from offset 10:"),
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
fn an_answer_that_is_older_than_the_last_record_is_of_no_account() {
    let mut tail = Watch::tail(0);
    assert!(!tail.reached_end());
    assert!(tail.is_due());
    tail.left.took(0);
    let ends = Ends {
        first: 0,
        stable: 0,
        end: 0,
    };
    let finding = tail.left.judge("events", 2, ends, true, tail.now());
    assert_eq!(finding.expect("no error"), Finding::Nothing);
    assert!(tail.left.is_there());
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

#[test]
fn a_silent_leader_is_said_each_minute_and_an_error_of_a_range_after_20() {
    let waiting = Finding::Waiting(Waiting::Leader {
        topic: "events".to_owned(),
        partition: 2,
    });
    for mut watch in [Watch::run(0, 50), Watch::tail(0)] {
        let mut at = |seconds| watch.leaderless(seconds).expect("no error");
        assert_eq!(at(5), Finding::Nothing);
        assert_eq!(at(14), Finding::Nothing);
        assert_eq!(at(15), waiting);
        assert_eq!(at(74), Finding::Nothing);
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
fn a_leader_that_answers_or_a_record_ends_the_wait_for_one() {
    let mut run = Watch::run(0, 50);
    run.leaderless(0).expect("no error");
    assert_eq!(run.at(10, [0, 50, 50]), Finding::Nothing);
    assert_eq!(run.leaderless(20).expect("no error"), Finding::Nothing);
    run.left.took(0);
    assert_eq!(run.leaderless(40).expect("no error"), Finding::Nothing);
    assert_eq!(run.leaderless(49).expect("no error"), Finding::Nothing);
}

#[test]
fn a_wait_for_a_transaction_goes_on_while_a_leader_is_elected() {
    let mut run = Watch::run(0, 50);
    run.left.took(9);
    assert_eq!(run.at(0, [0, 10, 60]), Finding::Nothing);
    run.leaderless(600).expect("no error");
    assert!(run.judge(1200, [0, 10, 60]).is_err());
}

#[test]
fn each_partition_is_asked_in_turn_although_one_has_no_leader() {
    let start = Instant::now();
    let range = |partition| OffsetRange {
        partition,
        first: 0,
        end: 50,
    };
    let new = |partition| (partition, Left::new(&range(partition), 50, start));
    let mut remaining: Remaining = [0, 1, 2].map(new).into();
    let mut asked = Vec::new();
    let mut now = start + SOON;
    for _ in 0..5 {
        let partition = ask_next(&mut remaining, now).expect("one is due");
        asked.push(partition);
        let left = remaining.get_mut(&partition).expect("its state");
        if partition == 0 {
            now += Duration::from_secs(10);
            left.leaderless("events", 0, now).expect("no error");
        } else {
            left.reached_end(now);
        }
        for left in remaining.values_mut() {
            left.suspect(now);
        }
    }
    assert_eq!(asked, [0, 1, 2, 0, 1]);
    let due = remaining.values_mut().map(|left| left.due_since(now));
    assert_eq!(due.flatten().count(), 3);
}

fn batch(reason: &str) -> Finding {
    Finding::Stuck(Waiting::Batch {
        topic: "events".to_owned(),
        partition: 2,
        offset: 10,
        reason: reason.to_owned(),
    })
}

#[test]
fn a_batch_that_can_not_be_fetched_is_said_each_minute_and_an_error_of_a_range_after_20() {
    for end in [50, OffsetRange::ENDLESS] {
        let mut watch = Watch::of(10, end, 20);
        assert_eq!(watch.at(0, [0, 20, 50]), Finding::Nothing);
        let mut found = Vec::new();
        for seconds in (20..1220).step_by(20) {
            watch.left.failed("BadMessage");
            found.push(watch.at(seconds, [0, 20, 50]));
            watch.left.assigned(watch.now());
        }
        assert_eq!(found[0], Finding::Stalled);
        assert_eq!(found[1], batch("BadMessage"));
        assert_eq!(found[2], Finding::Stalled);
        let said = found.iter().filter(|found| **found == batch("BadMessage"));
        assert_eq!(said.count(), 20);
        let last = watch.judge(1220, [0, 20, 50]);
        if end == OffsetRange::ENDLESS {
            assert_eq!(last.expect("no error"), Finding::Stalled);
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
fn a_batch_that_can_not_be_fetched_is_found_although_records_are_written_behind_it() {
    let mut tail = Watch::of(10, OffsetRange::ENDLESS, 20);
    assert_eq!(tail.at(0, [0, 20, 20]), Finding::Nothing);
    assert_eq!(tail.at(10, [0, 30, 30]), Finding::Nothing);
    assert_eq!(tail.at(20, [0, 40, 40]), Finding::Stalled);
    tail.left.assigned(tail.now());
    tail.left.failed("BadMessage");
    assert_eq!(tail.at(30, [0, 50, 50]), Finding::Nothing);
    assert_eq!(tail.at(40, [0, 60, 60]), batch("BadMessage"));
}

#[test]
fn aborted_records_that_are_fetched_to_their_end_are_not_stalled() {
    let mut tail = Watch::tail(10);
    for turn in 0..10 {
        tail.at(turn * 100, [0, 20 + turn, 20 + turn]);
        tail.reached_end();
        let found = tail.at(turn * 100 + 90, [0, 21 + turn, 21 + turn]);
        assert_eq!(found, Finding::Nothing);
    }
}

#[test]
fn a_record_or_the_end_of_the_partition_ends_the_wait_for_a_batch() {
    let mut tail = Watch::tail(10);
    for seconds in [0, 20] {
        tail.at(seconds, [0, 20, 20]);
        tail.left.failed("BadMessage");
        tail.left.assigned(tail.now());
    }
    tail.left.took(10);
    tail.at(30, [0, 20, 20]);
    tail.at(40, [0, 20, 20]);
    assert_eq!(tail.at(60, [0, 20, 20]), Finding::Stalled);
    tail.left.assigned(tail.now());
    tail.reached_end();
    tail.at(81, [0, 30, 30]);
    tail.at(82, [0, 30, 30]);
    assert_eq!(tail.at(102, [0, 30, 30]), Finding::Stalled);
}

#[test]
fn records_that_wait_behind_those_of_other_partitions_are_neither_stalled_nor_deleted() {
    let mut run = Watch::run(10, 50);
    for seconds in [0, 20, 40, 2000] {
        assert_eq!(run.busy(seconds, [0, 50, 50]), Finding::Nothing);
        assert_eq!(run.busy(seconds, [30, 50, 50]), Finding::Nothing);
    }
    assert_eq!(run.at(2001, [0, 50, 50]), Finding::Stalled);
    // An error of librdkafka comes behind the records that it has fetched before.
    run.left.suspect(run.now());
    let gone = OffsetRange {
        partition: 2,
        first: 10,
        end: 30,
    };
    assert_eq!(run.busy(2002, [30, 50, 50]), Finding::Deleted(gone));
}

#[test]
fn an_open_transaction_is_counted_while_other_partitions_are_busy() {
    let mut run = Watch::run(0, 50);
    run.left.took(9);
    assert_eq!(run.busy(0, [0, 10, 60]), Finding::Nothing);
    assert_eq!(run.busy(3, [0, 10, 60]), transaction(10));
    assert!(run.judge_while(false, 1200, [0, 10, 60]).is_err());
}
