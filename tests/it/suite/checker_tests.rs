//! The checker finds the violation of each promise.

use std::time::{Duration, Instant};

use koobridge::contract::event_id;

use super::checker::{Checker, Excused};
use super::evidence::{Evidence, Landed};
use super::load::Told;
use crate::support::bridge::CHANNEL;

fn told(status: &'static str, code: u16) -> Told {
    let sent = Instant::now();
    Told {
        message_id: "m".to_owned(),
        status,
        big: false,
        sent,
        answered: sent,
        code: Some(code),
    }
}

fn landed(status: &str) -> Landed {
    Landed {
        message_id: "m".to_owned(),
        status: status.to_owned(),
        event_id: event_id(CHANNEL, "m", status).to_string(),
    }
}

fn check(told: &[Told], events: Vec<Landed>) {
    let evidence = Evidence {
        events,
        rejected: Vec::new(),
        spooled: Vec::new(),
    };
    let excused = Excused {
        refusals: true,
        ..Excused::NOTHING
    };
    Checker::new(told, excused, &evidence).check();
}

#[test]
fn kept_reports_pass() {
    check(
        &[told("delivered", 200), told("read", 503)],
        vec![landed("delivered"), landed("read")],
    );
}

#[test]
#[should_panic(expected = "1 reports answered 2xx and lost")]
fn a_lost_report_is_found() {
    check(
        &[told("delivered", 200), told("read", 200)],
        vec![landed("read")],
    );
}

#[test]
#[should_panic(expected = "1 reports answered 503 and never delivered")]
fn a_failure_is_found() {
    check(&[told("read", 503)], vec![]);
}

#[test]
#[should_panic(expected = "1 reports answered neither 200 nor 503")]
fn an_odd_answer_is_found() {
    check(&[told("read", 500)], vec![landed("read")]);
}

#[test]
#[should_panic(expected = "1 reports answered too late or never")]
fn a_late_answer_is_found() {
    let mut late = told("read", 200);
    late.answered += Duration::from_secs(8);
    check(&[late], vec![landed("read")]);
}

#[test]
#[should_panic(expected = "1 reports more than once on the topic")]
fn a_repeat_is_found() {
    check(&[told("read", 200)], vec![landed("read"), landed("read")]);
}

#[test]
#[should_panic(expected = "1 reports of which `read` stands before `delivered`")]
fn a_wrong_order_is_found() {
    check(
        &[told("delivered", 200), told("read", 200)],
        vec![landed("read"), landed("delivered")],
    );
}

#[test]
#[should_panic(expected = "1 reports with a wrong id")]
fn a_wrong_id_is_found() {
    let mut wrong = landed("read");
    wrong.event_id = landed("delivered").event_id;
    check(&[told("read", 200)], vec![wrong]);
}

#[test]
#[should_panic(expected = "1 reports that no sender sent")]
fn a_stranger_is_found() {
    check(&[told("read", 200)], vec![landed("read"), landed("failed")]);
}
