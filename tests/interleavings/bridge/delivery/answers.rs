//! Scenarios of pending reports and of reply batches.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::thread;

use shuttle::future;

use super::limits::{InFlight, InFlightLimits};
use super::pending::{Kept, KeptBy, Pending, PublishError};
use super::replies::Replies;
use crate::bridge::metrics::Metrics;
use crate::contract::Record;
use crate::kafka::POSITION;

fn limits() -> Arc<InFlightLimits> {
    Arc::new(InFlightLimits::new(InFlight {
        reports: 3,
        bytes: 1 << 20,
    }))
}

fn pending(limits: &Arc<InFlightLimits>) -> Pending {
    let record = Record {
        key: None,
        headers: Vec::new(),
        value: Vec::new(),
        timestamp: 0,
    };
    Pending::new(record, limits.report(1).expect("a permit"))
}

/// Starts to wake senders in batches.
pub(super) fn wake_in_batches() {
    let mut batches = Box::pin(Replies::wake_in_batches());
    // After the first poll, new reports use the reply batch of this run.
    let polled = batches
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    future::spawn(batches);
}

pub(super) fn each_sender_wakes() {
    wake_in_batches();
    let (limits, metrics) = (limits(), Metrics::new());
    let reports = [(); 3].map(|()| pending(&limits));
    let senders = reports.each_ref().map(|report| {
        let sender = Arc::clone(&report.sender);
        future::spawn(async move { sender.answer().await })
    });
    let threads = reports.map(|report| {
        let metrics = Arc::clone(&metrics);
        thread::spawn(move || report.delivered(POSITION, &metrics))
    });
    for sender in senders {
        let answer = future::block_on(sender).expect("an answer");
        assert_eq!(answer.map(|kept| kept.by), Ok(KeptBy::Kafka));
    }
    for thread in threads {
        thread.join().expect("a thread");
    }
}

pub(super) fn the_first_end_counts() {
    wake_in_batches();
    let (limits, metrics) = (limits(), Metrics::new());
    let report = pending(&limits);
    let sender = Arc::clone(&report.sender);
    let (waiting, counting) = (Arc::clone(&sender), Arc::clone(&metrics));
    let deadline = thread::spawn(move || waiting.time_out(&counting));
    let leaving = Arc::clone(&sender);
    let hang_up = thread::spawn(move || leaving.hang_up());
    let counting = Arc::clone(&metrics);
    let keepers = thread::spawn(move || {
        let mark = report.kept();
        report.delivered(POSITION, &counting);
        mark
    });
    let is_timed_out = deadline.join().expect("a deadline");
    hang_up.join().expect("a hang-up");
    let mark = keepers.join().expect("an answer");
    let answer = future::block_on(sender.answer());
    let fate = match (is_timed_out, answer) {
        (true, Err(PublishError::Deadline)) => "delivered_late",
        (false, Err(PublishError::Deadline)) => "sender_gone",
        (false, Ok(Kept::BY_SPOOL)) => "delivered",
        other => panic!("{other:?}"),
    };
    assert_eq!(metrics.fates(), [(fate, 1)]);
    assert_eq!(mark.is_none(), fate == "delivered");
    assert_eq!(metrics.reports_unsure.get(), 0);
    assert_eq!(limits.in_flight().reports, 0);
}

pub(super) fn each_answer_is_counted() {
    wake_in_batches();
    let (limits, metrics) = (limits(), Metrics::new());
    let report = pending(&limits);
    let sender = Arc::clone(&report.sender);
    let counting = Arc::clone(&metrics);
    let kafka = thread::spawn(move || report.delivered(POSITION, &counting));
    let answer = future::block_on(pin!(sender.answer()));
    assert_eq!(answer.map(|kept| kept.by), Ok(KeptBy::Kafka));
    assert_eq!(metrics.fates(), [("delivered", 1)]);
    assert_eq!(limits.in_flight().reports, 0);
    kafka.join().expect("an acknowledgement");
}
