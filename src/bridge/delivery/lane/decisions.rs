//! What a lane decides, one case at a time. `tests.rs` shows that no promise breaks whatever happens;
//! this, that a lane neither stands still nor takes a detour.

use super::*;

/// Takes in a report that goes to the producer at once.
fn send(lane: &mut Lane<u32>, rider: u32) -> Number {
    let (number, step) = lane.admit(rider);
    assert_eq!(step, Step::Send);
    lane.handed_over(number, 1);
    number
}

/// A lane of a spool that drains: report 1 was acknowledged, report 2 is in flight and being written.
fn draining() -> Lane<u32> {
    let mut lane = Lane::new(true);
    send(&mut lane, 1);
    send(&mut lane, 2);
    assert_eq!(lane.stall(1), [1, 2]);
    assert!(!lane.is_proven());
    assert!(lane.acknowledged(1).is_some());
    assert!(lane.is_proven() && !lane.is_direct());
    lane
}

/// Report 1 is unfit for the topic: it was never sent, because Kafka has just refused one of its size.
fn elsewhere(hedged: bool) -> Lane<u32> {
    let mut lane = Lane::new(hedged);
    assert_eq!(lane.admit(1), (1, Step::Send));
    assert_eq!(lane.failed(1, None, true), Failure::Unfit);
    lane
}

fn to_send(number: Number, is_probe: bool) -> Next {
    Next::Send { number, is_probe }
}

#[test]
fn after_trouble_new_reports_go_to_the_spool_or_wait_where_there_is_none() {
    for (hedged, kept, step) in [
        (true, Failure::Write, Step::Write),
        (false, Failure::Known, Step::Hold),
    ] {
        let mut lane = Lane::new(hedged);
        assert!(lane.is_direct());
        send(&mut lane, 1);
        assert_eq!(lane.failed(1, Some(1), false), kept);
        assert!(!lane.is_direct());
        assert_eq!(lane.admit(2), (2, step));
    }
    assert_eq!(Lane::behind().admit(1), (1, Step::Write));
}

#[test]
fn a_stalled_lane_has_everything_written_and_leaves_it_in_flight() {
    let mut lane = Lane::new(true);
    for rider in 1..=3 {
        send(&mut lane, rider);
    }
    assert_eq!(lane.stall(2), [1, 2, 3]);
    assert_eq!(lane.in_flight(), 3);
    assert_eq!(lane.admit(4), (4, Step::Write));
}

#[test]
fn a_report_that_was_not_handed_over_yet_stalls_its_lane_too() {
    let mut lane = Lane::new(true);
    assert_eq!(lane.admit(1), (1, Step::Send));
    assert_eq!(lane.stall(1), [1]);
    assert!(!lane.is_direct());
}

#[test]
fn without_a_spool_nothing_stalls() {
    let mut lane = Lane::new(false);
    send(&mut lane, 1);
    assert!(lane.stall(1).is_empty());
    assert!(lane.is_direct());
}

#[test]
fn what_is_being_written_or_was_answered_stalls_nothing() {
    let mut lane = draining();
    assert!(lane.stall(2).is_empty());
    assert_eq!(lane.written(2), Written::Stays);
    assert!(lane.stall(2).is_empty());
    assert!(lane.is_proven());
}

/// It had no room in the spool, and waited behind others.
#[test]
fn a_report_that_is_still_due_is_written_and_one_in_flight_is_trouble() {
    let mut lane = draining();
    assert_eq!(lane.admit(3), (3, Step::Write));
    assert_eq!(lane.not_written(3), None);
    assert_eq!(lane.stall(3), [3]);
    assert!(lane.is_proven());
    assert_eq!(lane.not_written(3), None);
    lane.handed_over(3, 1);
    assert_eq!(lane.stall(3), [3]);
    assert!(!lane.is_proven());
}

#[test]
fn a_probe_goes_alone_and_the_others_after_its_acknowledgement_within_the_window() {
    let mut lane = Lane::new(false);
    send(&mut lane, 1);
    assert_eq!(lane.failed(1, Some(1), false), Failure::Known);
    for rider in 2..=4 {
        lane.admit(rider);
    }
    assert_eq!(lane.next(2), to_send(1, true));
    lane.handed_over(1, 1);
    assert_eq!(lane.next(2), Next::Wait);
    assert!(lane.acknowledged(1).is_some());
    for number in [2, 3] {
        assert_eq!(lane.next(2), to_send(number, false));
        lane.handed_over(number, 1);
    }
    assert_eq!(lane.next(2), Next::Wait);
    assert!(lane.acknowledged(2).is_some());
    assert_eq!(lane.next(2), to_send(4, false));
    lane.handed_over(4, 1);
    assert!(!lane.is_direct());
    assert!(lane.acknowledged(3).is_some());
    assert_eq!(lane.next(2), Next::Wait);
    assert!(lane.is_direct());
}

#[test]
fn what_an_earlier_run_left_is_read_from_its_first_number_on_and_once_at_a_time() {
    let mut lane = Lane::restored(5, 9);
    assert!(!lane.is_direct() && !lane.is_proven() && !lane.is_idle());
    assert_eq!(lane.next(10), Next::Read(5));
    assert_eq!(lane.next(10), Next::Wait);
    // The disk could not be read: again.
    lane.not_read();
    assert_eq!(lane.next(10), Next::Read(5));
    assert!(lane.read(vec![(5, 50), (7, 70)], false).is_empty());
    assert_eq!(lane.next(10), to_send(5, true));
    lane.handed_over(5, 1);
    let done = Done {
        rider: 50,
        strike: true,
    };
    assert_eq!(lane.acknowledged(5), Some(done));
    assert_eq!(lane.next(10), to_send(7, false));
    lane.handed_over(7, 1);
    assert_eq!(lane.next(10), Next::Read(8));
    assert!(lane.read(vec![(9, 90)], true).is_empty());
    assert_eq!(lane.next(10), to_send(9, false));
    assert_eq!(lane.admit(100), (10, Step::Write));
}

#[test]
fn what_came_back_goes_before_what_is_read() {
    let mut lane = Lane::new(true);
    send(&mut lane, 1);
    assert_eq!(lane.failed(1, Some(1), false), Failure::Write);
    assert_eq!(lane.admit(2), (2, Step::Write));
    assert_eq!(lane.written(2), Written::Rests(2));
    assert_eq!(lane.next(10), to_send(1, true));
}

#[test]
fn what_may_be_unfit_is_sent_alone() {
    let mut lane = Lane::new(false);
    for rider in 1..=2 {
        send(&mut lane, rider);
    }
    assert_eq!(lane.failed(1, Some(1), true), Failure::Known);
    lane.admit(3);
    assert_eq!(lane.next(10), Next::Wait);
    assert!(lane.acknowledged(2).is_some());
    assert_eq!(lane.next(10), to_send(1, false));
    lane.handed_over(1, 1);
    assert_eq!(lane.next(10), Next::Wait);
    assert_eq!(lane.failed(1, Some(1), true), Failure::Unfit);
    assert_eq!(lane.next(10), to_send(3, false));
}

#[test]
fn a_halted_lane_hands_nothing_over_and_begins_with_a_probe() {
    let mut lane = draining();
    assert_eq!(lane.admit(3), (3, Step::Write));
    lane.halt();
    assert_eq!(lane.next(10), Next::Wait);
    assert!(lane.acknowledged(2).is_some());
    lane.halt();
    lane.resume();
    assert_eq!(lane.next(10), to_send(3, true));
}

#[test]
fn what_the_spool_cannot_take_is_given_back_unless_something_else_keeps_it() {
    let mut behind = Lane::behind();
    assert_eq!(behind.admit(1), (1, Step::Write));
    assert_eq!(behind.not_written(1), Some(1));
    assert!(behind.is_idle());

    let mut elsewhere = elsewhere(true);
    assert_eq!(elsewhere.unwritten(), [1]);
    assert_eq!(elsewhere.not_written(1), None);

    let mut draining = draining();
    assert_eq!(draining.not_written(2), None, "it is in flight");
    assert_eq!(draining.admit(3), (3, Step::Write));
    assert_eq!(draining.not_written(3), None, "its sender waits");
    assert_eq!(draining.sender_gone(3), Some(&mut 3));
    assert_eq!(draining.not_written(3), Some(3));
}

#[test]
fn a_sender_is_told_503_once_and_what_nothing_keeps_is_given_back() {
    let mut lane = draining();
    assert_eq!(lane.give_up(2), Ok(None), "it is in flight");
    assert_eq!(lane.give_up(2), Err(()));
    assert_eq!(lane.admit(3), (3, Step::Write));
    assert_eq!(lane.give_up(3), Ok(None), "it is being written");
    assert_eq!(elsewhere(false).give_up(1), Ok(None));

    let mut held = Lane::new(false);
    send(&mut held, 1);
    assert_eq!(held.give_up(1), Ok(None), "it is in flight alone");
    held.halt();
    assert_eq!(held.admit(2), (2, Step::Hold));
    assert_eq!(held.give_up(2), Ok(Some(2)));
    assert_eq!(held.rider(2), None);
}

#[test]
fn a_lane_is_clear_where_nothing_is_due_or_in_flight_or_on_disk() {
    let mut lane = Lane::new(false);
    assert!(lane.is_clear() && lane.is_idle());
    send(&mut lane, 1);
    assert!(!lane.is_clear());
    assert_eq!(lane.failed(1, Some(1), false), Failure::Known);
    assert!(!lane.is_clear());
    assert_eq!(lane.withdraw(1), Some(1));
    assert!(lane.is_clear());
    assert!(!Lane::<u32>::restored(1, 1).is_clear());
    let elsewhere = elsewhere(true);
    assert!(elsewhere.is_clear() && !elsewhere.is_idle());
}

#[test]
fn it_knows_what_only_the_memory_holds_and_what_is_in_flight() {
    let mut lane = draining();
    assert_eq!(lane.admit(3), (3, Step::Write));
    assert_eq!(lane.count_unwritten(), 2);
    assert_eq!(lane.written(2), Written::Stays);
    assert_eq!(lane.count_unwritten(), 1);
    assert_eq!(lane.flying().collect::<Vec<_>>(), [&2]);
    assert_eq!(lane.rider_mut(2), Some(&mut 2));
    assert_eq!(lane.ledger(1), [2]);
    assert!(lane.ledger(2).is_empty());
}
