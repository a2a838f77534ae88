//! The decisions of a lane, one case at a time. `tests.rs` checks that no sequence of events breaks a promise. These
//! tests check that a lane makes progress and takes no unnecessary steps.

use super::*;

const SPOOL: Policy = Policy {
    has_spool: true,
    redirects: true,
};
const NO_SPOOL: Policy = Policy {
    has_spool: false,
    redirects: true,
};
const REASON: RejectionCode = "record-too-large";

impl Lane<u32> {
    /// Returns the effects of an input.
    fn after(&mut self, input: Input<u32>) -> Vec<Effect<u32>> {
        let mut effects = Effects::new();
        self.handle(input, &mut effects);
        effects.into()
    }

    /// Admits a report whose number is the report itself.
    fn admitted(&mut self, report: u32) -> Vec<Effect<u32>> {
        self.after(Input::Admit {
            number: report.into(),
            report,
            must_write: false,
        })
    }

    fn mark_sent(&mut self, number: Number) {
        let generation = 1;
        assert_eq!(self.after(Input::Sent { number, generation }), []);
    }

    /// Admits a report that is sent at once.
    fn send(&mut self, report: u32) {
        let number = report.into();
        assert_eq!(self.admitted(report), [Effect::Send(number)]);
        self.handle(
            Input::Sent {
                number,
                generation: 1,
            },
            &mut Effects::new(),
        );
    }

    fn fails(&mut self, number: Number, rejection: Option<RejectionCode>) -> Vec<Effect<u32>> {
        self.after(Input::Failed {
            number,
            generation: Some(1),
            rejection,
            is_awaited: true,
        })
    }

    fn acknowledge(&mut self, number: Number) {
        let effects = self.after(Input::Acknowledged(number));
        assert!(
            matches!(*effects, [Effect::Delivered { .. }]),
            "{effects:?}"
        );
    }

    fn send_next_of(&mut self, window: usize) -> Vec<Effect<u32>> {
        self.after(Input::SendNext { window })
    }
}

/// A lane that recovers: report 1 was acknowledged, report 2 is in flight and being written.
fn recovering() -> Lane<u32> {
    let mut lane = Lane::new(SPOOL);
    lane.send(1);
    lane.send(2);
    let writes = [Effect::Write(1), Effect::Write(2)];
    assert_eq!(lane.after(Input::Spill(1)), writes);
    assert_eq!(lane.mode(), Mode::Spooling);
    lane.acknowledge(1);
    assert_eq!(lane.mode(), Mode::Recovering);
    lane
}

#[test]
fn after_a_failure_new_reports_go_to_the_spool_or_wait_without_one() {
    for (policy, kept, admitted) in [
        (SPOOL, vec![Effect::Write(1)], vec![Effect::Write(2)]),
        (NO_SPOOL, vec![], vec![]),
    ] {
        let mut lane = Lane::new(policy);
        lane.send(1);
        assert_eq!(lane.fails(1, None), kept);
        assert_eq!(lane.mode(), Mode::Spooling);
        assert_eq!(lane.admitted(2), admitted);
    }
}

#[test]
fn a_spill_writes_all_reports_and_leaves_them_in_flight() {
    let mut lane = Lane::new(SPOOL);
    for report in 1..=3 {
        lane.send(report);
    }
    let writes = [1, 2, 3].map(Effect::Write);
    assert_eq!(lane.after(Input::Spill(2)), writes);
    assert_eq!(lane.in_flight(), 3);
    assert_eq!(lane.admitted(4), [Effect::Write(4)]);
}

#[test]
fn a_report_that_is_not_sent_yet_spills_too() {
    let mut lane = Lane::new(SPOOL);
    assert_eq!(lane.admitted(1), [Effect::Send(1)]);
    assert_eq!(lane.after(Input::Spill(1)), [Effect::Write(1)]);
    assert_eq!(lane.mode(), Mode::Spooling);
}

#[test]
fn a_report_that_is_being_written_does_not_spill_again() {
    let mut lane = recovering();
    assert_eq!(lane.after(Input::Spill(2)), []);
    assert_eq!(lane.after(Input::Written(2)), [Effect::Kept(2)]);
    assert_eq!(lane.after(Input::Spill(2)), []);
    assert_eq!(lane.mode(), Mode::Recovering);
}

#[test]
fn only_a_report_in_flight_changes_the_mode_when_it_spills() {
    let mut lane = recovering();
    let not_written = |lane: &mut Lane<u32>| {
        let number = 3;
        let is_awaited = true;
        lane.after(Input::WriteError { number, is_awaited })
    };
    assert_eq!(lane.admitted(3), [Effect::Write(3)]);
    assert_eq!(not_written(&mut lane), []);
    assert_eq!(lane.after(Input::Spill(3)), [Effect::Write(3)]);
    assert_eq!(lane.mode(), Mode::Recovering);
    assert_eq!(not_written(&mut lane), []);
    lane.mark_sent(3);
    assert_eq!(lane.after(Input::Spill(3)), [Effect::Write(3)]);
    assert_eq!(lane.mode(), Mode::Spooling);
}

#[test]
fn a_probe_is_sent_alone_and_the_others_after_its_acknowledgement() {
    let mut lane = Lane::new(NO_SPOOL);
    lane.send(1);
    assert_eq!(lane.fails(1, None), []);
    for report in 2..=4 {
        assert_eq!(lane.admitted(report), []);
    }
    assert!(lane.next_is_probe());
    assert_eq!(lane.send_next_of(2), [Effect::Send(1)]);
    lane.mark_sent(1);
    assert!(!lane.next_is_probe());
    assert_eq!(lane.send_next_of(2), []);
    lane.acknowledge(1);
    for number in [2, 3] {
        assert!(!lane.next_is_probe());
        assert_eq!(lane.send_next_of(2), [Effect::Send(number)]);
        lane.mark_sent(number);
    }
    assert_eq!(lane.send_next_of(2), []);
    lane.acknowledge(2);
    assert_eq!(lane.send_next_of(2), [Effect::Send(4)]);
    lane.mark_sent(4);
    assert_eq!(lane.mode(), Mode::Recovering);
    lane.acknowledge(3);
    assert_eq!(lane.send_next_of(2), []);
    assert_eq!(lane.mode(), Mode::Direct);
}

#[test]
fn a_backlog_is_read_in_order_and_by_one_read_at_a_time() {
    let mut lane = Lane::with_backlog(SPOOL, 5);
    assert!(lane.mode() == Mode::Spooling && !lane.is_idle());
    let read_back = |from, is_probe| [Effect::ReadBack { from, is_probe }];
    assert_eq!(lane.send_next_of(10), read_back(5, true));
    assert_eq!(lane.send_next_of(10), []);
    // The read failed and is repeated.
    assert_eq!(lane.after(Input::NotReadBack), []);
    assert_eq!(lane.send_next_of(10), read_back(5, true));
    let rows = |reports, to, is_last| Input::ReadBack {
        reports,
        to: Some(to),
        is_last,
    };
    assert_eq!(lane.after(rows(vec![(5, 50), (7, 70)], 7, false)), []);
    assert_eq!(lane.send_next_of(10), [Effect::Send(5)]);
    lane.mark_sent(5);
    let delivered = Effect::Delivered {
        number: 5,
        report: 50,
        is_written: true,
    };
    assert_eq!(lane.after(Input::Acknowledged(5)), [delivered]);
    assert_eq!(lane.send_next_of(10), [Effect::Send(7)]);
    lane.mark_sent(7);
    assert_eq!(lane.send_next_of(10), read_back(8, false));
    assert_eq!(lane.after(rows(vec![(9, 90)], 9, true)), []);
    assert_eq!(lane.send_next_of(10), [Effect::Send(9)]);
    assert_eq!(lane.admitted(10), [Effect::Write(10)]);
}

#[test]
fn a_failed_report_is_sent_before_the_backlog() {
    let mut lane = Lane::new(SPOOL);
    lane.send(1);
    assert_eq!(lane.fails(1, None), [Effect::Write(1)]);
    assert_eq!(lane.admitted(2), [Effect::Write(2)]);
    let spooled = Effect::Spooled {
        number: 2,
        report: 2,
        is_quarantined: false,
    };
    assert_eq!(lane.after(Input::Written(2)), [spooled]);
    assert_eq!(lane.send_next_of(10), [Effect::Send(1)]);
}

#[test]
fn a_suspect_is_sent_alone_and_redirected_if_it_is_rejected_again() {
    let mut lane = Lane::new(NO_SPOOL);
    lane.send(1);
    lane.send(2);
    assert_eq!(lane.fails(1, Some(REASON)), []);
    assert_eq!(lane.admitted(3), []);
    assert_eq!(lane.send_next_of(10), []);
    lane.acknowledge(2);
    assert_eq!(lane.send_next_of(10), [Effect::Send(1)]);
    lane.mark_sent(1);
    assert!(lane.is_sent_alone(1));
    assert_eq!(lane.send_next_of(10), []);
    let redirect = Effect::Rejected {
        number: 1,
        report: 1,
        reason: REASON,
        is_written: false,
    };
    assert_eq!(lane.fails(1, Some(REASON)), [redirect]);
    assert_eq!(lane.send_next_of(10), [Effect::Send(3)]);
}

#[test]
fn a_rejected_record_that_is_not_redirected_is_quarantined_when_it_is_written() {
    let rejected = |lane: &mut Lane<u32>| {
        assert_eq!(lane.admitted(1), [Effect::Send(1)]);
        lane.after(Input::Failed {
            number: 1,
            generation: None,
            rejection: Some(REASON),
            is_awaited: true,
        })
    };
    let policy = Policy {
        has_spool: true,
        redirects: false,
    };
    let mut lane = Lane::new(policy);
    assert_eq!(rejected(&mut lane), [Effect::Write(1)]);
    assert_eq!(lane.send_next_of(10), []);
    let quarantined = Effect::Spooled {
        number: 1,
        report: 1,
        is_quarantined: true,
    };
    assert_eq!(lane.after(Input::Written(1)), [quarantined]);
    assert!(lane.is_idle());

    let has_spool = false;
    let mut lane = Lane::new(Policy {
        has_spool,
        ..policy
    });
    assert!(matches!(*rejected(&mut lane), [Effect::Rejected { .. }]));
}

#[test]
fn a_redirected_report_is_written_and_sent_at_once() {
    let mut lane = Lane::new(SPOOL);
    let admit = Input::Admit {
        number: 1,
        report: 1,
        must_write: true,
    };
    assert_eq!(lane.after(admit), [Effect::Write(1), Effect::Send(1)]);
}

#[test]
fn a_paused_lane_sends_nothing_and_resumes_with_a_probe() {
    let mut lane = recovering();
    assert_eq!(lane.admitted(3), [Effect::Write(3)]);
    lane.after(Input::Pause);
    assert_eq!(lane.send_next_of(10), []);
    lane.acknowledge(2);
    lane.after(Input::Pause);
    lane.after(Input::Resume);
    assert!(lane.next_is_probe());
    assert_eq!(lane.send_next_of(10), [Effect::Send(3)]);
}

#[test]
fn an_unwritten_report_is_dropped_unless_it_can_still_be_delivered() {
    let not_written = |lane: &mut Lane<u32>, number, is_awaited| {
        lane.after(Input::WriteError { number, is_awaited })
    };
    let mut spooling = Lane::with_backlog(SPOOL, 1);
    assert_eq!(spooling.admitted(2), [Effect::Write(2)]);
    assert_eq!(not_written(&mut spooling, 2, true), [Effect::Drop(2)]);

    let mut recovering = recovering();
    assert_eq!(not_written(&mut recovering, 2, true), [], "it is in flight");
    assert_eq!(recovering.admitted(3), [Effect::Write(3)]);
    assert_eq!(not_written(&mut recovering, 3, true), [], "it is awaited");
    assert_eq!(not_written(&mut recovering, 3, false), [Effect::Drop(3)]);
}

#[test]
fn a_given_up_report_is_dropped_unless_it_is_in_flight_or_being_written() {
    let mut lane = recovering();
    assert_eq!(lane.after(Input::GiveUp(2)), [], "it is in flight");
    assert_eq!(lane.admitted(3), [Effect::Write(3)]);
    assert_eq!(lane.after(Input::GiveUp(3)), [], "it is being written");

    let mut paused = Lane::new(NO_SPOOL);
    paused.send(1);
    assert_eq!(paused.after(Input::GiveUp(1)), [], "it is in flight");
    paused.after(Input::Pause);
    assert_eq!(paused.admitted(2), []);
    assert_eq!(paused.after(Input::GiveUp(2)), [Effect::Drop(2)]);
    assert_eq!(paused.report(2), None);
}

#[test]
fn an_adopted_report_is_sent_before_new_ones() {
    let mut lane = Lane::new(SPOOL);
    let report = 30;
    assert_eq!(lane.after(Input::Adopt { number: 3, report }), []);
    assert_eq!(lane.admitted(5), [Effect::Write(5)]);
    assert_eq!(lane.send_next_of(10), [Effect::Send(3)]);
}

#[test]
fn a_failure_of_an_earlier_producer_does_not_fail_a_report() {
    let failed = |generation| Input::Failed {
        number: 1,
        generation: Some(generation),
        rejection: None,
        is_awaited: true,
    };
    for (generation, effects, mode) in [
        (1, vec![], Mode::Direct),
        (2, vec![Effect::Write(1)], Mode::Spooling),
        // A later producer fails the reports of earlier ones too.
        (3, vec![Effect::Write(1)], Mode::Spooling),
    ] {
        let mut lane = Lane::new(SPOOL);
        assert_eq!(lane.admitted(1), [Effect::Send(1)]);
        let sent = Input::Sent {
            number: 1,
            generation: 2,
        };
        assert_eq!(lane.after(sent), []);
        assert!(lane.is_in_flight(1, 2) && !lane.is_in_flight(1, 1) && !lane.is_in_flight(1, 3));
        assert_eq!(lane.in_flight_of(generation).is_empty(), generation == 1);
        assert_eq!(lane.after(failed(generation)), effects, "{generation}");
        assert_eq!(lane.mode(), mode, "{generation}");
    }
}

#[test]
fn reports_that_are_only_in_memory_are_counted() {
    let mut lane = recovering();
    assert_eq!(lane.admitted(3), [Effect::Write(3)]);
    assert_eq!(lane.count_unwritten(), 2);
    assert_eq!(lane.after(Input::Written(2)), [Effect::Kept(2)]);
    assert_eq!(lane.count_unwritten(), 1);
}

#[test]
fn a_rejected_record_is_not_read_back_while_its_row_is_being_deleted() {
    let mut lane = recovering();
    assert_eq!(lane.admitted(3), [Effect::Write(3)]);
    let rejected = lane.after(Input::Failed {
        number: 3,
        generation: None,
        rejection: Some(REASON),
        is_awaited: true,
    });
    assert!(
        matches!(*rejected, [Effect::Rejected { .. }]),
        "{rejected:?}"
    );
    assert!(!lane.is_new(3) && lane.is_new(4));
}
