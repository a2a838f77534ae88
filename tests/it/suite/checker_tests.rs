//! The checker finds the violation of each promise.

use std::time::{Duration, Instant};

use koobridge::contract::event_id;

use super::checker::{Checker, Tolerated};
use super::evidence::{Evidence, LocatedReport};
use super::load::SentReport;
use crate::support::bridge::CHANNEL;

fn sent_report(status: &'static str, code: u16) -> SentReport {
    let sent = Instant::now();
    SentReport {
        message_id: "m".to_owned(),
        status,
        big: false,
        sent,
        answered: sent,
        code: Some(code),
    }
}

fn located(status: &str) -> LocatedReport {
    LocatedReport {
        message_id: "m".to_owned(),
        status: status.to_owned(),
        event_id: event_id(CHANNEL, "m", status).to_string(),
    }
}

fn check(reports: &[SentReport], events: Vec<LocatedReport>) {
    let evidence = Evidence {
        events,
        rejected: Vec::new(),
        spooled: Vec::new(),
    };
    let tolerated = Tolerated {
        refusals: true,
        ..Tolerated::NOTHING
    };
    Checker::new(reports, tolerated, &evidence).check();
}

#[test]
fn kept_reports_pass() {
    check(
        &[sent_report("delivered", 200), sent_report("read", 503)],
        vec![located("delivered"), located("read")],
    );
}

#[test]
#[should_panic(expected = "1 reports answered 2xx and lost")]
fn a_lost_report_is_found() {
    check(
        &[sent_report("delivered", 200), sent_report("read", 200)],
        vec![located("read")],
    );
}

#[test]
#[should_panic(expected = "1 reports answered 503 and never delivered")]
fn a_failure_is_found() {
    check(&[sent_report("read", 503)], vec![]);
}

#[test]
#[should_panic(expected = "1 reports answered neither 200 nor 503")]
fn an_odd_answer_is_found() {
    check(&[sent_report("read", 500)], vec![located("read")]);
}

#[test]
#[should_panic(expected = "1 reports answered too late or never")]
fn a_late_answer_is_found() {
    let mut late = sent_report("read", 200);
    late.answered += Duration::from_secs(8);
    check(&[late], vec![located("read")]);
}

#[test]
#[should_panic(expected = "1 reports more than once on the topic")]
fn a_repeat_is_found() {
    check(
        &[sent_report("read", 200)],
        vec![located("read"), located("read")],
    );
}

#[test]
#[should_panic(expected = "1 reports of which `read` stands before `delivered`")]
fn a_wrong_order_is_found() {
    check(
        &[sent_report("delivered", 200), sent_report("read", 200)],
        vec![located("read"), located("delivered")],
    );
}

#[test]
#[should_panic(expected = "1 reports with a wrong id")]
fn a_wrong_id_is_found() {
    let mut wrong = located("read");
    wrong.event_id = located("delivered").event_id;
    check(&[sent_report("read", 200)], vec![wrong]);
}

#[test]
#[should_panic(expected = "1 reports that no sender sent")]
fn an_unsent_report_is_found() {
    check(
        &[sent_report("read", 200)],
        vec![located("read"), located("failed")],
    );
}
